"""
Identities and their keys: two users never share one, whatever their ids are made of.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.strategies import HOSTILE_IDS, identities, ids
from ws_isolation import IdPolicy, UserExecutionContext
from ws_isolation.keys import Identity, identity_of
from ws_isolation.testing import make_context

Key = Callable[[str | None, str], str]


def real_key(tenant_id: str | None, user_id: str) -> str:
    """
    Return the library's key.
    """
    return Identity(tenant_id, user_id).key


def joined_key(tenant_id: str | None, user_id: str) -> str:
    """
    Return what everybody writes by hand: a broken variant.
    """
    return f"ws:{tenant_id}:{user_id}"


def lossy_key(tenant_id: str | None, user_id: str) -> str:
    """
    Return a key that makes an id fit a store by replacing characters: a broken variant.
    """
    return repr((tenant_id and re.sub(r"\W", "_", tenant_id), re.sub(r"\W", "_", user_id)))


def folded_key(tenant_id: str | None, user_id: str) -> str:
    """
    Return a key that takes letters of either case for the same: a broken variant.
    """
    return repr((tenant_id and tenant_id.lower(), user_id.lower()))


def defaulted_key(tenant_id: str | None, user_id: str) -> str:
    """
    Return a key in which no tenant is a tenant with a name: a broken variant.
    """
    return repr((tenant_id or "0", user_id))


HOSTILE_PAIRS: Final = [
    (("a:b", "a"), ("a", "b:a")),
    (("a", "b"), (None, "a:b")),
    (("None", "a"), (None, "a")),
    (("A", "b"), ("a", "b")),
    (("a", "A"), ("a", "a")),
    (("a.b", "x"), ("a|b", "x")),
    (("0", "a"), (None, "a")),
    (("a", "b"), ("b", "a")),
    (("ab", "c"), ("a", "bc")),
    (("a", "*"), ("*", "a")),
]
"""Two identities each that some way to build keys takes for one."""


def check_key(key: Key, /) -> None:
    """
    Raise AssertionError where *key* gives two identities the same key, or one identity two.
    """
    every = list(itertools.product((None, *HOSTILE_IDS), HOSTILE_IDS))
    keys = {key(*identity) for identity in every}
    assert len(every) == len(keys), "identities share a key"
    for one, two in HOSTILE_PAIRS:
        assert key(*one) != key(*two), f"{one} and {two} share a key"

    @given(identities(), identities())
    @example(("a:b", "c"), ("a", "b:c"))
    def injective(one: tuple[str | None, str], two: tuple[str | None, str]) -> None:
        assert (one == two) == (key(*one) == key(*two)), f"{one} and {two} share a key"

    injective()


@pytest.mark.requirement("I8")
def test_key_is_injective() -> None:
    """
    Two identities have the same key exactly where tenant and user are the same, hostile ids included.
    """
    check_key(real_key)


@pytest.mark.requirement("I8")
@pytest.mark.parametrize("broken", [joined_key, lossy_key, folded_key, defaulted_key])
def test_broken_keys_are_caught(broken: Key) -> None:
    """
    The check sees a key that joins, replaces, folds or defaults ids.
    """
    with pytest.raises(AssertionError, match="share a key"):
        check_key(broken)


@given(identities())
def test_key_fits_every_engine(identity: tuple[str | None, str]) -> None:
    """
    A key is 64 hexadecimal digits and shows nothing of the ids.
    """
    assert re.fullmatch("[0-9a-f]{64}", real_key(*identity))


def test_key_stays() -> None:
    """
    Keys are the same in each process and version: they are names in stores that outlive both.
    """
    assert "8567d010c227974a591beedcfee55809eb187573d19ede097d6483c84b35f563" == real_key(None, "alice")
    assert "846d6c89c2a0945dfc6eaf195a00b4bf2b45d1297aaa9c2ffcabd8d9df0eaa52" == real_key("acme", "alice")


@given(ids(), st.none() | ids(), ids(), ids())
def test_identity_is_tenant_and_user(user_id: str, tenant_id: str | None, one: str, two: str) -> None:
    """
    Thread, run, request, expiry and claims take no part in the identity.
    """
    context = UserExecutionContext(user_id=user_id, tenant_id=tenant_id, thread_id=one, run_id=two)
    other = UserExecutionContext(user_id=user_id, tenant_id=tenant_id, request_id=two, claims={"user_id": one})

    assert identity_of(context) == identity_of(other) == identity_of(context.child()) == Identity(tenant_id, user_id)
    assert hash(identity_of(context)) == hash(identity_of(other))


@pytest.mark.requirement("WS-21")
def test_tenants_are_apart() -> None:
    """
    The same user id in two tenants, and in none, is three identities.
    """
    three = {identity_of(make_context("u", tenant_id=tenant)) for tenant in (None, "t1", "t2")}

    assert 3 == len(three)
    assert 3 == len({identity.key for identity in three})


def test_key_of_other_scripts() -> None:
    """
    Lengths count bytes, so ids of several bytes per character cannot run into each other.
    """
    letters = IdPolicy(unicode_letters=True)
    one = UserExecutionContext(user_id="b", tenant_id="éa", policy=letters)
    two = UserExecutionContext(user_id="ab", tenant_id="é", policy=letters)

    assert identity_of(one).key != identity_of(two).key


def test_identity_is_a_value() -> None:
    """
    An identity cannot be changed, nor its key.
    """
    identity = Identity("acme", "alice")

    for name in ("tenant_id", "user_id", "key"):
        with pytest.raises(AttributeError):
            setattr(identity, name, "mallory")
    assert identity != Identity("acme", "bob")
