"""
Claims: any JSON, copied and frozen, and no part of who the user is.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final, TypedDict, cast

import attrs
import msgspec
import pytest
from hypothesis import given

from tests.strategies import json_objects
from ws_isolation import UserExecutionContext
from ws_isolation.errors import InvalidContextError
from ws_isolation.keys import identity_of

CANARY: Final = "canary-5d41402a"

# The constructor as callers without a type checker see it.
build = cast("Any", UserExecutionContext)


def nested(depth: int, /) -> dict[str, Any]:
    """
    Return a dict in which *depth* dicts stand inside each other.
    """
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def cycle() -> dict[str, Any]:
    """
    Return a dict that holds itself.
    """
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def thawed(value: object, /) -> object:
    """
    Return frozen JSON as dicts and lists, to compare it with what was handed in.
    """
    if isinstance(value, dict):
        return {key: thawed(item) for key, item in cast("dict[str, object]", value).items()}
    if isinstance(value, tuple | list):
        return [thawed(item) for item in cast("tuple[object, ...]", value)]
    return value


@pytest.mark.scenario("S07")
@given(json_objects())
def test_any_keys_and_no_identity(claims: dict[str, object]) -> None:
    """
    Claims may be called like fields; the identity is that of the constructor's own arguments.
    """
    context = build(user_id="alice", tenant_id="acme", claims=claims)

    assert thawed(claims) == thawed(context.claims)
    assert identity_of(UserExecutionContext(user_id="alice", tenant_id="acme")) == identity_of(context)
    assert ("acme", "alice") == (context.tenant_id, context.user_id)


@pytest.mark.scenario("S06")
def test_shares_nothing_with_the_caller() -> None:
    """
    Changing what was handed in, at any level, changes nothing in the context.
    """
    inner: dict[str, Any] = {"roles": ["user"]}
    outer: dict[str, Any] = {"realm": inner, "groups": [inner]}
    contexts = [build(user_id="alice", claims=outer), build(user_id="bob", claims=MappingProxyType(outer))]

    inner["roles"].append("admin")
    inner["new"] = True
    outer["groups"].append("x")
    outer.clear()

    for context in contexts:
        assert {"realm": {"roles": ["user"]}, "groups": [{"roles": ["user"]}]} == thawed(context.claims)


CHANGES: Final[dict[str, Callable[[Any], object]]] = {
    "set": lambda claims: operator.setitem(claims, "a", 1),
    "delete": lambda claims: operator.delitem(claims, "realm"),
    "update": lambda claims: claims.update(a=1),
    "update in place": lambda claims: claims.__ior__({"a": 1}),
    "setdefault": lambda claims: claims.setdefault("a", 1),
    "pop": lambda claims: claims.pop("realm"),
    "popitem": lambda claims: claims.popitem(),
    "clear": lambda claims: claims.clear(),
    "begin again": lambda claims: claims.__init__(realm={}),
    "set inside": lambda claims: operator.setitem(claims["realm"], "roles", ()),
    "set in a list": lambda claims: operator.setitem(claims["realm"]["roles"], 0, "admin"),
    "append to a list": lambda claims: claims["realm"]["roles"].append("admin"),
}
"""Ways to change a mapping, or what is in it."""


@pytest.mark.scenario("S05")
@pytest.mark.parametrize("name", sorted(CHANGES))
def test_cannot_change(name: str) -> None:
    """
    Each way to change claims, at the top or inside, raises and changes nothing.
    """
    context = UserExecutionContext(user_id="alice", claims={"realm": {"roles": ["user"]}})

    with pytest.raises((TypeError, AttributeError)):
        CHANGES[name](context.claims)

    assert {"realm": {"roles": ["user"]}} == thawed(context.claims)


@pytest.mark.scenario("S02")
@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ([1, 2], "must be a mapping, not list"),
        ("text", "must be a mapping, not str"),
        (7, "must be a mapping, not int"),
        (object(), "no JSON value"),
        ({"a": float("nan")}, "(at $.a)"),
        ({"a": [0, float("inf")]}, "(at $.a[1])"),
        ({"a": 2**53}, "(at $.a)"),
        ({1: "a"}, "a key is no str but int"),
        ({"a": {"b": b"bytes"}}, "(at $.a.b)"),
        ({"a": "\ud800"}, "lone surrogate"),
        ({"a": object()}, "(at $.a)"),
        ({"a": "x" * 8_192}, "larger than 8192 bytes"),
        ({"a": "x" * 10_000_000}, "larger than 8192 bytes"),
        ({str(n): n for n in range(2_000)}, "larger than 8192 bytes"),
        (nested(9), "nested too deep"),
        (cycle(), "nested too deep"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_refuses_what_is_no_json(claims: object, problem: str) -> None:
    """
    What JSON cannot say, what is too large or too deep and what holds itself is refused with its path.
    """
    with pytest.raises(InvalidContextError, match="invalid claims") as caught:
        build(user_id="alice", claims=claims)

    assert "claims" == caught.value.field
    assert problem in str(caught.value)


def test_bounds_are_exact() -> None:
    """
    8 levels and 8 KiB pass.
    """
    assert nested(8) == thawed(build(user_id="alice", claims=nested(8)).claims)
    assert 8_000 == len(build(user_id="alice", claims={"a": "x" * 8_000}).claims["a"])


@attrs.frozen
class _AttrsClaims:
    roles: list[str]


@dataclasses.dataclass
class _DataClaims:
    roles: list[str]


class _TypedClaims(TypedDict):
    roles: list[str]


class _StructClaims(msgspec.Struct):
    roles: list[str]


def test_typed() -> None:
    """
    Claims come as the application's own class, of each kind that holds fields.
    """
    context = UserExecutionContext(user_id="alice", claims={"roles": ["admin"]})

    assert ["admin"] == context.claims_as(_AttrsClaims).roles
    assert ["admin"] == context.claims_as(_DataClaims).roles
    assert ["admin"] == context.claims_as(_TypedClaims)["roles"]
    assert ["admin"] == context.claims_as(_StructClaims).roles
    assert {"roles": ["admin"]} == context.claims_as(dict)


def test_typed_claims_are_a_copy() -> None:
    """
    Changing the typed form does not change the context.
    """
    context = UserExecutionContext(user_id="alice", claims={"roles": ["admin"]})

    context.claims_as(_AttrsClaims).roles.append("root")

    assert ["admin"] == context.claims_as(_AttrsClaims).roles


@pytest.mark.scenario("S02")
@pytest.mark.parametrize("roles", ["admin", [1], None])
def test_typed_strictly(roles: object) -> None:
    """
    A claim of another type is refused with its path and what was expected, not coerced.
    """
    context = build(user_id="alice", claims={"roles": roles})

    with pytest.raises(InvalidContextError, match=r"invalid claims: .*\$\.roles"):
        context.claims_as(_AttrsClaims)


@pytest.mark.scenario("S10")
@pytest.mark.requirement("I10")
def test_claims_show_nowhere() -> None:
    """
    Neither ``repr`` nor the log form nor an error about the context carries a claim.
    """
    context = UserExecutionContext(user_id="alice", claims={"token": CANARY, CANARY: 1})

    with pytest.raises(InvalidContextError) as caught:
        context.claims_as(_AttrsClaims)

    assert CANARY not in repr(context)
    assert CANARY not in str(context)
    assert CANARY not in f"{context!r} {context}"
    assert CANARY not in msgspec.json.encode(context.log_form()).decode()
    assert CANARY not in repr(context.child())
    assert CANARY not in str(caught.value)
