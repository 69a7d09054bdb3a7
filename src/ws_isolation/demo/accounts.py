"""
Who may log in to the demo: the part that every application has already.

Each account has a *canary*, a text that stands in each of its events and
nowhere else. Whoever finds it among somebody else's bytes has found a leak.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import Final, final

import attrs

from .. import Handshake, UserExecutionContext, errors

__all__ = ("THREAD", "Account", "Accounts", "Profile")

THREAD: Final = "thread-1"
"""Everybody's thread. Equal on purpose: a thread id says nothing about who owns it."""


@final
@attrs.frozen
class Profile:
    """What the agent knows of a user: the context's claims, as this type."""

    name: str
    canary: str
    invoices: tuple[str, ...]


@final
@attrs.frozen
class Account:
    """One user. Lives as long as the demo."""

    user_id: str
    token: str = attrs.field(repr=False)
    profile: Profile

    @property
    def canary(self) -> str:
        """The text that stands in this user's events and in nobody else's."""
        return self.profile.canary


@final
class Accounts:
    """
    The demo's users and their tokens, new at every start.

    Args:
        user_ids: Who exists.
    """

    def __init__(self, user_ids: Iterable[str], /) -> None:
        self._by_token: dict[str, Account] = {}
        for number, user_id in enumerate(user_ids):
            account = _account(user_id, invoices=2 + number % 3)
            self._by_token[account.token] = account

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_token.values())

    def of(self, user_id: str, /) -> Account:
        """Return the account of *user_id*; a ``KeyError`` where there is none."""
        for account in self:
            if account.user_id == user_id:
                return account
        raise KeyError(user_id)

    def canaries_but(self, user_id: str, /) -> tuple[str, ...]:
        """Return everybody's canary except the one of *user_id*."""
        return tuple(account.canary for account in self if account.user_id != user_id)

    async def authenticate(self, handshake: Handshake, /) -> UserExecutionContext:
        """
        Turn a credential into a context: the one place where identity begins.

        Raises:
            UnauthenticatedError: There is no token, or it is nobody's.
        """
        account = self._by_token.get(handshake.bearer_token or "")
        if account is None:
            detail = "no token, or one that nobody has"
            raise errors.UnauthenticatedError(detail)
        profile = account.profile
        return UserExecutionContext(
            user_id=account.user_id,
            thread_id=THREAD,
            claims={"name": profile.name, "canary": profile.canary, "invoices": profile.invoices},
        )


def _account(user_id: str, *, invoices: int) -> Account:
    initial = user_id[:1].upper()
    profile = Profile(
        name=user_id.capitalize(),
        canary=f"canary-{user_id}-{secrets.token_hex(4)}",
        invoices=tuple(f"{initial}-{secrets.randbelow(900) + 100}" for _ in range(invoices)),
    )
    return Account(user_id, secrets.token_urlsafe(24), profile)
