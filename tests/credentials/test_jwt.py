"""
Tokens: what was signed with a pinned algorithm, for this service and for now, and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import importlib
import json
import pickle
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.credentials.tokens import (
    AUDIENCE,
    ED,
    ISSUER,
    K256,
    KEYS,
    OTHER_RSA,
    P256,
    P384,
    RSA,
    SECRET,
    SHORT_RSA,
    bearing,
    checking,
    claims,
    packed,
    pem,
    private_pem,
    signed,
    verifier,
)
from tests.openings import handshake
from ws_isolation import Handshake, UserExecutionContext, errors
from ws_isolation.credentials.jwt import MAX_BYTES, Claims, JwtAuthenticate
from ws_isolation.credentials.jwt_claims import Rules
from ws_isolation.credentials.jwt_keys import ALGORITHMS, Key, StaticKeys
from ws_isolation.testing import FakeClock

NOW = FakeClock().unix()
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ é"


def verified(token: str, check: JwtAuthenticate | None = None, /) -> Claims:
    """Return what the check makes of a token."""
    return asyncio.run((check or checking()).verify(token))


def refused(token: str, check: JwtAuthenticate | None = None, /) -> str:
    """Return why a token does not count. Never because it was valid once, and never with anything of it."""
    with pytest.raises(errors.UnauthenticatedError) as caught:
        verified(token, check)
    assert caught.value.__cause__ is None
    assert len(str(caught.value)) <= 300
    assert not {part for part in token.split(".") if len(part) > 12 and part in str(caught.value)}
    return str(caught.value)


@pytest.mark.scenario("S53")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_algorithm(algorithm: str) -> None:
    """What is signed with the pinned algorithm counts: subject, thread of the query, and an end."""
    context = await checking(verifier(algorithm), algorithms=[algorithm])(
        bearing(signed(algorithm=algorithm), "thread=t")
    )

    assert context is not None
    assert ("alice", None, "t", {}) == (context.user_id, context.tenant_id, context.thread_id, context.claims)
    assert datetime.fromtimestamp(NOW + 300 + 30, UTC) == context.expires_at


@pytest.mark.scenario("S53")
async def test_no_token() -> None:
    """Without a token, or with two that differ, nobody is let in."""
    two = handshake(("authorization", f"Bearer {signed()}"), subprotocols=("bearer.other",))
    for shaken in (handshake(), two):
        with pytest.raises(errors.UnauthenticatedError, match="no bearer token, or several"):
            await checking()(shaken)


@pytest.mark.requirement("WS-04")
@given(st.data())
def test_any_change_is_refused(data: st.DataObject) -> None:
    """Whatever character is changed, put in or taken out, the token is refused."""
    token = signed()
    at = data.draw(st.integers(0, len(token) - 1))
    put = data.draw(st.sampled_from(ALPHABET))
    how = data.draw(st.sampled_from(["change", "insert", "delete", "cut", "repeat"]))
    changed = {
        "change": token[:at] + put + token[at + 1 :],
        "insert": token[:at] + put + token[at:],
        "delete": token[:at] + token[at + 1 :],
        "cut": token[:at],
        "repeat": token + token[at:],
    }[how]

    # One or two signs of padding stand for nothing, and PyJWT passes over them: the signed text is the same.
    if changed.rstrip("=") != token:
        refused(changed)


@pytest.mark.requirement("WS-04")
@given(st.text(max_size=200) | st.lists(st.binary(max_size=60).map(packed), max_size=4).map(".".join))
def test_anything_else_is_refused(text: str) -> None:
    """No text at all does anything but be refused."""
    refused(text)


@pytest.mark.requirement("WS-04")
@given(
    header=st.fixed_dictionaries(
        {},
        optional={
            "alg": st.sampled_from([*ALGORITHMS, "none", "None", "NONE", "", "hs256", 1, None]),
            "kid": st.none() | st.text(max_size=8) | st.integers(),
            "typ": st.sampled_from(["JWT", "at+jwt", 1]),
            "crit": st.sampled_from([[], ["exp"], ["b64"], None]),
            "b64": st.booleans(),
            "jwk": st.just({"kty": "oct", "k": packed(SECRET)}),
            "jku": st.just("https://evil.example/keys"),
        },
    ),
    key=st.sampled_from([b"", b"f" * 64, pem(RSA).encode(), pem(P256).encode()]),
)
def test_forged(header: dict[str, Any], key: bytes) -> None:
    """Without the key no header makes a token count: no ``none``, no public key as a secret, no key of its own."""
    head = f"{packed(header)}.{packed(claims())}"
    name = {"HS384": "sha384", "HS512": "sha512"}.get(header.get("alg", ""), "sha256")
    mac = packed(hmac.new(key, head.encode(), getattr(hashlib, name)).digest()) if key else ""
    for check in (checking(), checking(pem(RSA), algorithms=["RS256"]), checking(pem(P256), algorithms=["ES256"])):
        refused(f"{head}.{mac}", check)


@pytest.mark.requirement("WS-04")
def test_confused_algorithms() -> None:
    """A token of another algorithm than the pinned ones is refused, also if the key would fit, and it is said which."""
    assert "the token says HS384, and pinned are HS256" == refused(signed(algorithm="HS384"))
    assert "the token says RS512" in refused(signed(algorithm="RS512"), checking(pem(RSA), algorithms=["RS256"]))
    unsigned = f"{packed({'alg': 'none'})}.{packed(claims())}."
    assert "the token says another algorithm, or none" in refused(unsigned)
    assert "another algorithm" in refused(f"{packed({'alg': 'canary-canary-canary'})}.{packed(claims())}.")
    both = checking(pem(RSA), algorithms=["RS256", "PS256"])
    assert "alice" == verified(signed(algorithm="PS256"), both).subject


def test_critical_members() -> None:
    """What a header declares critical is not known, so the token does not count (RFC 7515 §4.1.11)."""
    head = f"{packed({'alg': 'HS256', 'crit': ['exp']})}.{packed(claims())}"

    assert "critical" in refused(f"{head}.{packed(b'x')}")


@pytest.mark.requirement("WS-04")
@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"aud": "other"}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"aud": ["other", 1, None]}, "another audience"),
        ({"aud": {AUDIENCE: 1}}, "another audience"),
        ({"iss": "https://login.example.com/"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"iss": [ISSUER]}, "another issuer"),
        ({"exp": None}, "no exp"),
        ({"exp": "tomorrow"}, "exp is no number"),
        ({"exp": True}, "exp is no number"),
        ({"nbf": NOW + 31}, "not valid yet (nbf)"),
        ({"nbf": [1]}, "nbf is no number"),
        ({"iat": NOW + 31}, "not valid yet (iat)"),
        ({"sub": 7}, "sub is no text"),
    ],
)
def test_claims_that_do_not_hold(changed: dict[str, Any], problem: str) -> None:
    """Whom a token is for, of whom, from when and until when has to be said, and has to fit."""
    assert problem in refused(signed(claims(**changed)))


@given(
    audience=st.sampled_from([AUDIENCE, ["other", AUDIENCE], [AUDIENCE]]),
    begins=st.integers(-1_000, 30),
    ends=st.floats(-29.9, 1e300),
)
def test_claims_that_hold(audience: Any, begins: int, ends: float) -> None:
    """One of several audiences is enough; clocks may differ by the leeway; the end is the token's, and that leeway."""
    body = claims(aud=audience, nbf=NOW + begins, iat=NOW + begins, exp=NOW + ends)

    made = verified(signed(body))

    assert ("alice", body) == (made.subject, made.members)
    assert "Claims(6 of them)" == repr(made)
    assert min(NOW + ends + 30, datetime(9999, 12, 31, tzinfo=UTC).timestamp()) == pytest.approx(
        made.expires_at.timestamp(), abs=0.001
    )


@pytest.mark.scenario("S53")
@pytest.mark.requirement("WS-09")
@given(st.floats(0, 1e6))
def test_expired(ago: float) -> None:
    """What counted once is told apart: its client gets a new one. Not where it never counted here."""
    body = claims(exp=NOW - 30 - ago)

    with pytest.raises(errors.ExpiredError, match=r"expired [0-9]+ s ago"):
        verified(signed(body))
    refused(signed(body, key=b"f" * 64))
    refused(signed(body | {"aud": "other"}))


def test_no_object() -> None:
    """Signed text that is no JSON object says nothing."""
    for text in (b"[]", b"", b"\xff", b"null", b"[" * 5_000):
        head = f"{packed({'alg': 'HS256'})}.{packed(text)}"
        mac = packed(hmac.new(SECRET, head.encode(), hashlib.sha256).digest())
        assert "no JSON object" in refused(f"{head}.{mac}")


def test_too_large() -> None:
    """A token has a size, and three parts."""
    assert "at most 16,384" in refused("x" * (MAX_BYTES + 1))
    assert "three parts" in refused("a.b")
    assert "three parts" in refused("a.b.c.d")
    assert "alice" == verified(signed(claims(more="x" * 8_000))).subject


async def test_waived() -> None:
    """None waives audience or issuer, and only that; several of each may be named."""
    body = claims(aud=None, iss=None)
    check = checking(audience=None, issuer=None)

    assert "alice" == (await check.verify(signed(body))).subject
    assert "alice" == (await checking(audience=["a", AUDIENCE], issuer=["b", ISSUER]).verify(signed())).subject
    with pytest.raises(errors.UnauthenticatedError, match="audience"):
        await checking(issuer=None).verify(signed(body))


async def test_several_keys() -> None:
    """Of several keys any may have signed: the old one goes when its tokens have ended."""
    old, new = b"o" * 32, b"n" * 32
    check = checking([new, old])

    assert "alice" == (await check.verify(signed(key=old))).subject
    assert "alice" == (await check.verify(signed(key=new))).subject
    with pytest.raises(errors.UnauthenticatedError, match="signature"):
        await check.verify(signed(key=b"x" * 32))


def grown(made: Claims, shaken: Handshake) -> UserExecutionContext:
    """Make a context of claims of one's own."""
    return UserExecutionContext(
        user_id=made.members["uid"],
        tenant_id=made.members["org"],
        expires_at=made.expires_at,
        claims={"path": shaken.path},
    )


async def test_own_context() -> None:
    """The application makes the context of the claims, async if it likes, and may refuse."""

    async def slowly(made: Claims, shaken: Handshake) -> UserExecutionContext | None:
        return grown(made, shaken) if made.members["uid"] == "a" else None

    token = signed(claims(sub=None, uid="a", org="acme"))
    first = await checking(context=grown)(bearing(token))
    second = await checking(context=slowly)(bearing(token))

    assert first is not None
    assert second is not None
    assert ("a", "acme", {"path": "/ws"}) == (first.user_id, first.tenant_id, first.claims)
    assert "a" == second.user_id
    assert None is await checking(context=slowly)(bearing(signed(claims(uid="b"))))
    with pytest.raises(errors.UnauthenticatedError, match="no sub"):
        await checking()(bearing(token))
    with pytest.raises(errors.InvalidContextError):
        await checking()(bearing(signed(claims(sub="null"))))


@pytest.mark.requirement("WS-09")
async def test_context_that_outlives_its_token() -> None:
    """A session ends with its token: a context without that end is refused as the defect that it is."""
    ends: list[timedelta | None] = [None, timedelta(seconds=1)]

    def late(made: Claims, _: Handshake) -> UserExecutionContext:
        end = ends.pop()
        return UserExecutionContext(user_id="alice", expires_at=None if end is None else made.expires_at + end)

    def wrong(made: Claims, _: Handshake) -> Any:
        return made.subject

    while ends:
        with pytest.raises(errors.UsageError, match="outlives its token"):
            await checking(context=late)(bearing(signed()))
    # What is no context at all is the gate's to refuse.
    kept: Any = await checking(context=wrong)(bearing(signed()))
    assert "alice" == kept


@pytest.mark.parametrize(
    ("keys", "options", "problem"),
    [
        (SECRET, {"algorithms": []}, "algorithms must be"),
        (SECRET, {"algorithms": "HS256"}, "algorithms must be"),
        (SECRET, {"algorithms": ["none"]}, "algorithms must be"),
        (SECRET, {"algorithms": ["HS256", None]}, "algorithms must be"),
        (SECRET, {"algorithms": ["HS256", "RS256"]}, "must not mix"),
        (SECRET, {"algorithms": ["RS256"]}, "shared secret, for HS algorithms only"),
        (pem(RSA).encode(), {}, "no shared secret but a key of another kind"),
        (b"\n" + private_pem(RSA).encode(), {}, "no shared secret but a key of another kind"),
        (b"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ", {}, "no shared secret but a key of another kind"),
        (b'{"kty":"RSA","n":"0123456789012345678"}', {}, "no shared secret but a key of another kind"),
        (b"s" * 31, {}, "at least 32 bytes"),
        (b"s" * 32, {"algorithms": ["HS256", "HS512"]}, "at least 64 bytes"),
        ("secret" * 10, {}, "bytes .a shared secret. or text"),
        (bytearray(8), {}, "bytes .a shared secret. or text"),
        (pem(RSA), {}, "is RSA, and the algorithms need shared secret"),
        (pem(RSA), {"algorithms": ["ES256"]}, "is RSA, and the algorithms need P-256"),
        (pem(P384), {"algorithms": ["ES256"]}, "is P-384"),
        (pem(ED), {"algorithms": ["RS256", "ES256"]}, "need P-256 and RSA"),
        (pem(SHORT_RSA), {"algorithms": ["RS256"]}, "2,048 bits"),
        (pem(K256), {"algorithms": ["ES256"]}, "no allowed algorithm"),
        (private_pem(RSA), {"algorithms": ["RS256"]}, "no public key"),
        ("-----BEGIN PUBLIC KEY-----\nx", {"algorithms": ["RS256"]}, "no public key"),
        ([], {}, "1 to 8"),
        ([SECRET] * 9, {}, "1 to 8"),
        (SECRET, {"audience": ""}, "audience must be"),
        (SECRET, {"audience": []}, "audience must be"),
        (SECRET, {"issuer": [1]}, "issuer must be"),
        (SECRET, {"issuer": ["x"] * 33}, "issuer must be"),
        (SECRET, {"leeway_seconds": 301}, "leeway_seconds"),
        (SECRET, {"leeway_seconds": -1}, "leeway_seconds"),
        (SECRET, {"leeway_seconds": "1"}, "leeway_seconds"),
    ],
)
def test_settings_that_are_refused(keys: Any, options: dict[str, Any], problem: str) -> None:
    """What would accept a token that it should not is refused when it is made, without the key."""
    with pytest.raises(errors.SettingsError, match=problem) as caught:
        checking(keys, **options)
    assert "ssss" not in str(caught.value)


def test_audience_and_issuer_are_said() -> None:
    """Neither has a default: to waive one is written down."""
    for missing in ("audience", "issuer", "algorithms"):
        options: dict[str, Any] = {"algorithms": ["HS256"], "audience": None, "issuer": None}
        del options[missing]
        with pytest.raises(TypeError, match=missing):
            JwtAuthenticate(SECRET, **options)


@pytest.mark.requirement("WS-28")
def test_secrets_are_not_shown() -> None:
    """Nothing that holds a key shows it or can be pickled."""
    keys = StaticKeys([SECRET], ["HS256"])
    for holder in (checking(), keys):
        assert "ssss" not in repr(holder)
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(holder)
    assert "<key for HS256, HS384>" == repr(Key(frozenset({"HS384", "HS256"}), SECRET))
    assert "<JwtAuthenticate: HS256>" == repr(checking())


class Careless:
    """A source of keys that hands out what does not fit."""

    async def find(self, key_id: str | None, algorithm: str, /) -> Sequence[Key]:
        """Return a public key for other algorithms, then one that cannot be used, then the right one."""
        right = Key(frozenset({"HS256"}), SECRET)
        return (Key(frozenset({"RS256"}), RSA.public_key()), Key(frozenset({"HS256"}), pem(RSA).encode()), right)


async def test_source_of_ones_own() -> None:
    """A key is used for its own algorithms only, and one that cannot be used is passed over."""
    assert "alice" == (await checking(Careless()).verify(signed())).subject
    with pytest.raises(errors.UnauthenticatedError, match="signature"):
        await checking(Careless()).verify(signed(key=b"x" * 64))


@pytest.mark.parametrize("module", ["jwt", "jwt_keys"])
def test_without_the_library(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyJWT the error says what to install."""
    monkeypatch.setitem(sys.modules, "jwt", None)
    for name in ("jwt", "jwt_keys"):
        monkeypatch.delitem(sys.modules, f"ws_isolation.credentials.{name}", raising=False)
    if module == "jwt":
        keys = ModuleType("ws_isolation.credentials.jwt_keys")
        vars(keys).update({"ALGORITHMS": {}, "SHARED": "", "Key": Key, "KeySource": object, "StaticKeys": StaticKeys})
        monkeypatch.setitem(sys.modules, keys.__name__, keys)

    with pytest.raises(errors.MissingExtraError, match=r"pip install 'ws-isolation\[jwt\]'"):
        importlib.import_module(f"ws_isolation.credentials.{module}")


# Broken variants: a check without a rule, and a token that it lets in.


class AnyKey:
    """The classic: one key, whatever the token says that it is for."""

    async def find(self, key_id: str | None, algorithm: str, /) -> Sequence[Key]:
        """Return what everybody can read of the public key, for all algorithms."""
        return (Key(frozenset(ALGORITHMS), PUBLIC),)


PUBLIC = packed(RSA.public_key().public_numbers().n.to_bytes(256)).encode()


def lets_in(token: str, check: JwtAuthenticate) -> bool:
    """Tell whether the token is believed."""
    try:
        return verified(token, check).subject == "alice"
    except errors.AccessError:
        return False


@pytest.mark.requirement("WS-04")
@pytest.mark.parametrize(
    ("token", "keys", "rules"),
    [
        (signed(key=PUBLIC), AnyKey(), None),
        (signed(claims(aud="other")), None, Rules(frozenset(), frozenset({ISSUER}), 30)),
        (signed(claims(iss="other")), None, Rules(frozenset({AUDIENCE}), frozenset(), 30)),
        (signed(claims(exp=NOW - 3_600)), None, Rules(frozenset(), frozenset(), 1e9)),
        (signed(claims(nbf=NOW + 3_600)), None, Rules(frozenset(), frozenset(), 1e9)),
    ],
)
def test_broken_variants_are_caught(token: str, keys: Any, rules: Rules | None) -> None:
    """Each rule of a check keeps out a token that comes in without it."""
    broken = checking()
    broken._keys = keys or broken._keys
    broken._rules = rules or broken._rules

    assert lets_in(token, broken)
    assert not lets_in(token, checking())


def test_samples_are_what_they_seem() -> None:
    """Each algorithm of the table has a key to sign with, and the other keys are other keys."""
    assert set(ALGORITHMS) == set(KEYS)
    assert OTHER_RSA is not RSA
    assert "alice" == json.loads(json.dumps(claims()))["sub"]
