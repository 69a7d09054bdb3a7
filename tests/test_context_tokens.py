"""
A context crosses to another process as a signed token that expires, and nothing else passes as one.
"""

from __future__ import annotations

import base64
import importlib
import json
import pickle
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import identities, ids, json_objects
from ws_isolation import IdPolicy, UserExecutionContext, errors
from ws_isolation.context import is_intact
from ws_isolation.context_tokens import LEEWAY_SECONDS, MAX_BYTES, MAX_SECONDS, ContextTokens
from ws_isolation.testing import FakeClock, make_context

SECRET = b"s" * 32
OLD = b"o" * 32
LIBRARY: Any = jwt
"""Its types are unknown where ``cryptography`` is not installed."""
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ é"


def tokens(clock: FakeClock | None = None, **options: Any) -> ContextTokens:
    """Return what both processes have."""
    return ContextTokens({"k1": SECRET}, clock=FakeClock() if clock is None else clock, **options)


def parts(token: str, /) -> list[dict[str, Any]]:
    """Return header and body of a token, as anybody can read them."""
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def signed(body: dict[str, Any], header: dict[str, Any] | None = None, key: bytes | None = None) -> str:
    """Return a token that is signed with the derived key, which only a defect of ours could do."""
    inner = tokens()._keys["k1"] if key is None else key
    headers = {"typ": "ws-isolation-context+jwt", "kid": "k1"} if header is None else header
    return str(LIBRARY.encode(body, inner, algorithm="HS256", headers=headers))


def body_of(context: UserExecutionContext | None = None) -> dict[str, Any]:
    """Return a body as it is signed."""
    return parts(tokens().export_context(make_context() if context is None else context))[1]


@pytest.mark.scenario("S10")
@given(
    identity=identities(),
    thread=st.none() | ids(),
    run=st.none() | ids(),
    expires=st.none() | st.datetimes(datetime(2030, 1, 1), datetime(2400, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    claims=json_objects(),
    requests=st.lists(ids(), max_size=3),
)
def test_comes_back_the_same(
    *,
    identity: tuple[str | None, str],
    thread: str | None,
    run: str | None,
    expires: datetime | None,
    claims: dict[str, Any],
    requests: list[str],
) -> None:
    """Identity, ids, depth, parent, expiry and claims are those that left, in a genuine context of its own."""
    tenant, user = identity
    context = make_context(user, tenant_id=tenant, thread_id=thread, run_id=run, expires_at=expires, claims=claims)
    for request in requests:
        context = context.child(request_id=request)
    made = tokens().import_context(tokens().export_context(context, claims=claims))

    assert context.log_form() == made.log_form()
    assert context.claims == made.claims
    assert made is not context
    assert type(made) is UserExecutionContext


@pytest.mark.scenario("S10")
@pytest.mark.requirement("P1")
def test_depth_is_kept() -> None:
    """Contexts that go from process to process do not begin at depth 0 again, so agents stop somewhere."""
    context = make_context()
    for _ in range(16):
        context = tokens().import_context(tokens().export_context(context.child()))

    assert 16 == context.depth
    with pytest.raises(errors.InvalidContextError, match="depth"):
        context.child()


@pytest.mark.scenario("S10")
def test_only_named_claims() -> None:
    """No claim travels unless it is named; one that is not there is an error, as is a str for a list of names."""
    context = make_context(claims={"role": "admin", "card": "4111"})
    token = tokens().export_context(context, claims=["role"])

    assert "card" not in str(parts(token))
    assert {"role": "admin"} == tokens().import_context(token).claims
    assert {} == tokens().import_context(tokens().export_context(context)).claims
    with pytest.raises(errors.InvalidContextError, match="there is no 'rôle'"):
        tokens().export_context(context, claims=["rôle"])
    with pytest.raises(errors.UsageError, match="collection of names"):
        tokens().export_context(context, claims="role")


@pytest.mark.requirement("P6")
def test_only_genuine_contexts() -> None:
    """What the gate refuses is not exported either."""
    for value in (None, object(), {"user_id": "alice"}):
        with pytest.raises(errors.ContextTypeError, match="export_context"):
            tokens().export_context(value)  # type: ignore[arg-type]
    edited = make_context()
    object.__setattr__(edited, "user_id", "bob")
    with pytest.raises(errors.ContextIntegrityError):
        tokens().export_context(edited)


@pytest.mark.requirement("WS-22")
@given(st.data())
def test_any_change_is_refused(data: st.DataObject) -> None:
    """Whatever character is changed, put in or taken out, the token is refused."""
    token = tokens().export_context(make_context(claims={"role": "user"}), claims=["role"])
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

    if changed != token:
        with pytest.raises(errors.UnauthenticatedError) as caught:
            tokens().import_context(changed)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        assert "context token" in str(caught.value)


@pytest.mark.requirement("WS-22")
@given(st.text() | st.binary() | st.none() | st.from_regex(r"[A-Za-z0-9_-]{0,40}(\.[A-Za-z0-9_-]{0,40}){0,3}"))
def test_anything_else_is_refused(value: object) -> None:
    """What is no token at all is refused in the same way, whatever it is."""
    with pytest.raises(errors.UnauthenticatedError):
        tokens().import_context(value)  # type: ignore[arg-type]


def test_last_character_of_the_signature() -> None:
    """A signature has one spelling: the bits that base64 leaves over are no way to a second token."""
    token = tokens().export_context(make_context())
    others = [token[:-1] + last for last in ALPHABET if last.isalnum() and last.isascii() and last != token[-1]]

    signature = base64.urlsafe_b64decode(token.rpartition(".")[2] + "=")
    loose = [one for one in others if base64.b64decode(one.rpartition(".")[2] + "=", b"-_") == signature]
    assert loose  # the control: read loosely, some of them are the same signature
    for one in others:
        with pytest.raises(errors.UnauthenticatedError):
            tokens().import_context(one)


@pytest.mark.requirement("WS-22")
def test_unsigned_and_foreign_algorithms() -> None:
    """An unsigned token, and one by another algorithm with the right key, are refused."""
    body = body_of()
    header = {"typ": "ws-isolation-context+jwt", "kid": "k1"}
    key = tokens()._keys["k1"]

    assert tokens().import_context(signed(body)).user_id == "alice"  # the control: what is signed rightly passes
    unsigned = LIBRARY.encode(body, None, algorithm="none", headers=header)
    for token in (
        unsigned,
        unsigned.rstrip("."),
        LIBRARY.encode(body, key * 2, algorithm="HS512", headers=header),
        LIBRARY.encode(body, key * 2, algorithm="HS384", headers=header),
    ):
        with pytest.raises(errors.UnauthenticatedError):
            tokens().import_context(token)


def _trusting(token: str) -> UserExecutionContext:
    """Import a token as one does who reads JWTs and verifies nothing."""
    return UserExecutionContext(**{name: parts(token)[1]["ctx"][name] for name in ("user_id", "request_id")})


@pytest.mark.requirement("P1")
def test_control_no_signature() -> None:
    """The control: whoever does not verify is told by the queue who the user is; the exporter's signature tells it."""
    header, body, signature = tokens().export_context(make_context("alice")).split(".")
    forged = base64.urlsafe_b64decode(body + "==").replace(b'"alice"', b'"bob"')
    token = ".".join([header, base64.urlsafe_b64encode(forged).decode().rstrip("="), signature])

    assert "bob" == _trusting(token).user_id
    with pytest.raises(errors.UnauthenticatedError):
        tokens().import_context(token)


def test_control_pickle() -> None:
    """The control: what a pickle can be made to bring is no context to any gate, and a token brings a genuine one."""
    kind = pickle.dumps(UserExecutionContext, 2)[2:-1]
    unpickled = pickle.loads(b"\x80\x02" + kind + b")\x81.")

    assert type(unpickled) is UserExecutionContext
    with pytest.raises(errors.ContextIntegrityError):
        tokens().export_context(unpickled)
    assert is_intact(tokens().import_context(tokens().export_context(make_context())))


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "JWT", "kid": "k1"},
        {"kid": "k1"},
        {"typ": "ws-isolation-context+jwt"},
        {"typ": "ws-isolation-context+jwt", "kid": "k2"},
        {"typ": "ws-isolation-context+jwt", "kid": "../../etc/passwd"},
        {"typ": "ws-isolation-context+jwt", "kid": "k1", "jku": "https://evil.example"},
    ],
)
def test_header_is_exact(header: dict[str, Any]) -> None:
    """Another type, another key's name or a member more in the header: refused, although the signature is right."""
    with pytest.raises(errors.UnauthenticatedError):
        tokens().import_context(signed(body_of(), header))


def test_login_token_is_no_context() -> None:
    """A login token signed with the very same secret is no context token, even with its type, audience and body."""
    body = {**body_of(), "sub": "alice"}
    header = {"typ": "ws-isolation-context+jwt", "kid": "k1"}

    for claims in (body_of(), body):
        with pytest.raises(errors.UnauthenticatedError):
            tokens().import_context(LIBRARY.encode(claims, SECRET, algorithm="HS256", headers=header))
    with pytest.raises(errors.UnauthenticatedError):
        tokens().import_context(signed(body))  # and a member more is none of ours


def test_context_token_is_no_login() -> None:
    """Where logins are verified with the same secret and the least care, a context token is refused."""
    token = tokens(FakeClock(unix=datetime.now(UTC).timestamp())).export_context(make_context())

    with pytest.raises(jwt.InvalidSignatureError):
        LIBRARY.decode(token, SECRET, algorithms=["HS256"], audience="workers")
    assert "sub" not in parts(token)[1]


def test_other_audience() -> None:
    """A token for the reports' workers is none for the mailer's."""
    token = tokens(audience="reports").export_context(make_context())

    assert "alice" == tokens(audience="reports").import_context(token).user_id
    with pytest.raises(errors.UnauthenticatedError):
        tokens(audience="mailer").import_context(token)


def test_rotation() -> None:
    """The first key signs, all verify: a token outlives the rotation, and a key that was taken out verifies nothing."""
    clock = FakeClock()
    before = ContextTokens({"old": OLD}, clock=clock)
    during = ContextTokens({"new": SECRET, "old": OLD}, clock=clock)
    after = ContextTokens({"new": SECRET}, clock=clock)
    old, new = before.export_context(make_context()), during.export_context(make_context())

    assert ["old", "new"] == [parts(token)[0]["kid"] for token in (old, new)]
    assert {"alice"} == {during.import_context(token).user_id for token in (old, new)}
    assert "alice" == after.import_context(new).user_id
    for tokens_, token in ((after, old), (before, new)):
        with pytest.raises(errors.UnauthenticatedError):
            tokens_.import_context(token)
    # The same name for another secret is another key.
    with pytest.raises(errors.UnauthenticatedError):
        ContextTokens({"old": SECRET}, clock=clock).import_context(old)


async def test_expires() -> None:
    """A token is good for its seconds and the leeway of two clocks, and never again."""
    clock = FakeClock()
    both = tokens(clock, seconds=60)
    token = both.export_context(make_context())

    assert 60 == parts(token)[1]["exp"] - parts(token)[1]["iat"]
    await clock.advance(60 + LEEWAY_SECONDS - 1)
    assert "alice" == both.import_context(token).user_id
    await clock.advance(1)
    with pytest.raises(errors.ExpiredError, match="context token has expired"):
        both.import_context(token)


async def test_expires_with_the_context() -> None:
    """A token is never good for longer than the authority of its user, leeway or not."""
    clock = FakeClock()
    both = tokens(clock)
    context = make_context(expires_at=datetime.fromtimestamp(clock.unix(), UTC) + timedelta(seconds=10.5))
    token = both.export_context(context)

    assert 10 == parts(token)[1]["exp"] - parts(token)[1]["iat"]
    await clock.advance(10)
    assert context.expires_at == both.import_context(token).expires_at
    await clock.advance(1)
    with pytest.raises(errors.ExpiredError, match="context in the token has expired"):
        both.import_context(token)
    with pytest.raises(errors.ContextExpiredError):
        both.export_context(context)


def test_clocks_that_differ() -> None:
    """A token from a clock that goes before is taken within the leeway, and refused beyond it."""
    for ahead, is_taken in ((LEEWAY_SECONDS, True), (LEEWAY_SECONDS + 1, False)):
        token = tokens(FakeClock(unix=1_700_000_000.0 + ahead)).export_context(make_context())
        if is_taken:
            assert "alice" == tokens().import_context(token).user_id
        else:
            with pytest.raises(errors.UnauthenticatedError, match="from the future"):
                tokens().import_context(token)


def test_expiry_is_no_matter_of_taste() -> None:
    """A token without expiry, or with a longer one than any exporter may give, is refused although it is signed."""
    body = body_of()
    endless = {key: value for key, value in body.items() if key != "exp"}
    for wrong in (endless, {**body, "exp": body["iat"] + MAX_SECONDS + 1}, {**body, "exp": str(body["exp"])}):
        with pytest.raises(errors.UnauthenticatedError):
            tokens().import_context(signed(wrong))
    assert "alice" == tokens().import_context(signed({**body, "exp": body["iat"] + MAX_SECONDS})).user_id


def test_versions() -> None:
    """A token of another version says which, and whom to update."""
    with pytest.raises(errors.UnauthenticatedError, match="version 2: update the worker first"):
        tokens().import_context(signed({**body_of(), "ver": 2, "ctx": {"something": "new"}}))
    with pytest.raises(errors.UnauthenticatedError):
        tokens().import_context(signed({**body_of(), "ctx": {**body_of()["ctx"], "roles": []}}))


def test_size() -> None:
    """The largest context fits, and a text above the bound is refused before anything is read of it."""
    full = "x" * 255
    claims = {f"k{n}": "é" * 400 for n in range(10)}
    context = make_context(full, tenant_id=full, thread_id=full, run_id=full, request_id=full, claims=claims).child(
        request_id="y" * 255
    )
    token = tokens().export_context(context, claims=claims)

    assert MAX_BYTES / 2 < len(token) < MAX_BYTES
    assert claims == tokens().import_context(token).claims
    with pytest.raises(errors.UnauthenticatedError, match="at most 16,384"):
        tokens().import_context("x" * (MAX_BYTES + 1))
    with pytest.raises(errors.InvalidContextError, match="name fewer"):  # six characters each, in JSON
        tokens().export_context(make_context(claims={"a": "\x01" * 8_000}), claims=["a"])
    deep = base64.urlsafe_b64encode(b"[" * 12_000).decode().rstrip("=")
    for token in (f"{deep}.e30.e30", deep):
        with pytest.raises(errors.UnauthenticatedError):
            tokens().import_context(token)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user_id": "null"}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"thread_id": "a b"}, "thread_id"),
        ({"depth": 17, "parent_request_id": "p"}, "depth"),
        ({"depth": -1}, "depth"),
        ({"depth": 1}, "depth"),
        ({"parent_request_id": "p"}, "depth"),
        ({"claims": {"a": "x" * 9_000}}, "claims"),
    ],
)
def test_fields_are_checked_again(change: dict[str, Any], field: str) -> None:
    """The receiving constructor checks each field as if it came from a stranger, and names the one it refuses."""
    body = body_of()
    body["ctx"] |= change
    with pytest.raises(errors.InvalidContextError) as caught:
        tokens().import_context(signed(body))
    assert field == caught.value.field


def test_policy_is_the_receivers() -> None:
    """Ids that the receiving process does not accept are refused there, by name."""
    wide = IdPolicy(unicode_letters=True)
    token = tokens().export_context(make_context("josé", policy=wide))

    assert "josé" == tokens(policy=wide).import_context(token).user_id
    with pytest.raises(errors.InvalidContextError, match="user_id"):
        tokens().import_context(token)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"k": b"short"},
        {"k": "x" * 32},
        {"": SECRET},
        {"k k": SECRET},
        {"k" * 65: SECRET},
        {1: SECRET},
        {f"k{n}": SECRET for n in range(9)},
    ],
)
def test_keys_are_checked(keys: Any) -> None:
    """A key that is short, no bytes or has no fitting name, and none or too many of them, are refused unshown."""
    with pytest.raises(errors.SettingsError) as caught:
        ContextTokens(keys)
    assert "short" not in str(caught.value)
    assert "xxx" not in str(caught.value)


@pytest.mark.parametrize("options", [{"audience": ""}, {"seconds": 0}, {"seconds": MAX_SECONDS + 1}, {"seconds": True}])
def test_bounds_are_checked(options: dict[str, Any]) -> None:
    """An audience without a name, and a token without an end in sight, are refused."""
    with pytest.raises(errors.SettingsError):
        tokens(**options)


def test_holds_its_secrets() -> None:
    """It shows neither secret nor derived key, and cannot be pickled into a queue."""
    both = tokens()
    assert "<context tokens for 'workers', signed with 'k1'>" == repr(both)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="make one in each process"):
            pickle.dumps(both, protocol)


def test_errors_hold_no_token() -> None:
    """Neither text nor pickle of an error holds a piece of the token."""
    token = tokens().export_context(make_context())
    try:
        tokens(audience="others").import_context(token)
    except errors.UnauthenticatedError as error:
        said = str(error).encode() + pickle.dumps(error)
        assert not any(token[at : at + 12].encode() in said for at in range(len(token) - 12))
    else:
        pytest.fail("a token for others was taken")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyJWT, importing the module says what to install."""
    name = "ws_isolation.context_tokens"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jwt", None)

    with pytest.raises(errors.MissingExtraError, match=r"pip install 'ws-isolation\[workers\]'"):
        importlib.import_module(name)
