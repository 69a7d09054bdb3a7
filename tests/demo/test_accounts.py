"""
The demo's users: tokens become contexts, and nothing else does.
"""

from __future__ import annotations

import pytest

from ws_isolation import Handshake, errors
from ws_isolation.demo.accounts import THREAD, Accounts, Profile
from ws_isolation.handshake import Headers


def _with_token(token: str) -> Handshake:
    return Handshake(headers=Headers([("authorization", f"Bearer {token}")]))


@pytest.mark.scenario("S54")
async def test_token_becomes_its_users_context() -> None:
    """
    Each token gives the context of its own user, with that user's secret in the claims.
    """
    accounts = Accounts(["alice", "bob"])

    for account in accounts:
        context = await accounts.authenticate(_with_token(account.token))

        assert account.user_id == context.user_id
        assert THREAD == context.thread_id
        assert account.profile == context.claims_as(Profile)


@pytest.mark.parametrize("handshake", [Handshake(), _with_token("guessed")])
async def test_no_token_no_context(handshake: Handshake) -> None:
    """
    Without a token that somebody has, there is no context.
    """
    with pytest.raises(errors.UnauthenticatedError):
        await Accounts(["alice"]).authenticate(handshake)


def test_secrets_are_new_and_different() -> None:
    """
    No two accounts share a token or a canary, not even the same user's of two starts.
    """
    accounts = [*Accounts(["alice", "bob"]), *Accounts(["alice"])]

    assert 3 == len({account.token for account in accounts}) == len({account.canary for account in accounts})


def test_a_token_is_not_shown() -> None:
    """
    The representation of an account has no token in it.
    """
    (account,) = Accounts(["alice"])

    assert account.token not in repr(account)


def test_others_canaries() -> None:
    """
    What counts as foreign to a user is everybody's canary but the user's own.
    """
    accounts = Accounts(["alice", "bob", "carol"])

    assert accounts.canaries_but("bob") == (accounts.of("alice").canary, accounts.of("carol").canary)


def test_unknown_user() -> None:
    """
    Asking for a user who does not exist is an error, never a default.
    """
    with pytest.raises(KeyError, match="zoe"):
        Accounts(["alice"]).of("zoe")
