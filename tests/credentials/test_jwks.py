"""
Keys that come and go where their issuer publishes them: how long they count, and how often anybody asks.
"""

from __future__ import annotations

import asyncio
import http.server
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.credentials.tokens import (
    ED,
    OTHER_RSA,
    P256,
    P384,
    P521,
    RSA,
    SECRET,
    SHORT_RSA,
    checking,
    jwk,
    packed,
    published,
    signed,
)
from ws_isolation import errors
from ws_isolation.credentials.jwks import Jwks, KeysUnavailableError
from ws_isolation.credentials.jwks_rules import MOST_BYTES, KeySet, MalformedKeysError, keys_in
from ws_isolation.credentials.jwt_keys import Key, key_of_jwk
from ws_isolation.testing import FakeClock

URL: Final = "https://login.example.com/keys"
RS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})


def key(name: str | None, algorithm: str = "RS256") -> Key:
    """
    Return a key that nothing is signed with.
    """
    return Key(frozenset({algorithm}), name, name)


# What is read of a set.


@pytest.mark.parametrize(
    ("pair", "algorithms"),
    [
        (RSA, RS),
        (P256, frozenset({"ES256"})),
        (P384, frozenset({"ES384"})),
        (P521, frozenset({"ES512"})),
        (ED, frozenset({"EdDSA"})),
    ],
)
def test_kinds(pair: Any, algorithms: frozenset[str]) -> None:
    """
    A published key is good for the algorithms of its kind, or for the one that it names.
    """
    made = key_of_jwk(jwk(pair))
    one = key_of_jwk(jwk(pair, None, alg=min(algorithms), use="sig", key_ops=["verify"]))

    assert made is not None
    assert one is not None
    assert ("k1", algorithms) == (made.key_id, made.algorithms)
    assert (None, frozenset({min(algorithms)})) == (one.key_id, one.algorithms)


@pytest.mark.requirement("WS-04")
@pytest.mark.parametrize(
    "members",
    [
        {},
        {"kty": "oct", "k": packed(SECRET), "alg": "HS256"},
        {"kty": "EC", "crv": "secp256k1"},
        {"kty": ["RSA"]},
        {"kty": "OKP", "crv": "X25519", "x": packed(bytes(32))},
        jwk(RSA, use="enc"),
        jwk(RSA) | {"key_ops": ["encrypt"]},
        jwk(RSA) | {"key_ops": "verify"},
        jwk(RSA) | {"d": "AQAB"},
        jwk(RSA, alg="HS256"),
        jwk(RSA, alg="ES256"),
        jwk(RSA, alg=["RS256"]),
        jwk(RSA, ""),
        jwk(RSA, "x" * 256),
        jwk(RSA) | {"kid": 7},
        jwk(RSA) | {"n": "AQAB"},
        jwk(RSA) | {"n": 7},
        jwk(RSA) | {"e": None},
        jwk(SHORT_RSA),
        jwk(P256) | {"x": packed(bytes(32))},
        jwk(P256) | {"x": "AA"},
    ],
)
def test_keys_that_do_not_count(members: dict[str, Any]) -> None:
    """
    Secrets, private keys, keys for encryption, weak and broken ones are passed over, and the set is read all the same.
    """
    assert None is key_of_jwk(members)
    assert ["k1"] == [one.key_id for one in keys_in(published(members, jwk(P521)))]
    with pytest.raises(MalformedKeysError, match="no public key"):
        keys_in(published(members))


@pytest.mark.requirement("WS-28")
@given(st.binary(max_size=40) | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_no_set(text: bytes) -> None:
    """
    What is no key set raises, and the error says nothing of it.
    """
    with pytest.raises(MalformedKeysError, match=r"^the key set (has|is) "):
        keys_in(text)


def test_bounds_of_a_set() -> None:
    """
    A set has a size and a number of keys.
    """
    for text in (b" " * (MOST_BYTES + 1), published(), published(*[jwk(RSA)] * 65), b'{"keys":{}}', b'{"keys":[7]}'):
        with pytest.raises(MalformedKeysError):
            keys_in(text)
    assert 64 == len(keys_in(published(*[jwk(P256)] * 64)))


# When it is asked for.


def test_names() -> None:
    """
    A name stands for one key; without a name there must be one alone; two of a name are none.
    """
    made = KeySet(max_age=100, retry_seconds=10)
    made.asked(0)
    made.take([key("a"), key("b"), key("c"), key("c"), key(None, "ES256")], 0)

    def found(name: str | None, algorithm: str = "RS256") -> list[str | None]:
        return [one.key_id for one in made.find(name, algorithm, 1).keys]

    assert [["a"], [], [], [], [], [None], []] == [
        found("a"), found("c"), found("x"), found(None), found("a", "ES256"), found(None, "ES256"), found("", "ES256"),
    ]  # fmt: skip


class Rotations(RuleBasedStateMachine):
    """
    An issuer that takes keys in and out, fails and comes back, and strangers that name whatever they like.
    """

    set_type: type[KeySet] = KeySet

    def __init__(self) -> None:
        super().__init__()
        self.set = self.set_type(max_age=100, retry_seconds=10)
        self.now = 0.0
        self.published = {"a"}
        self.gone: dict[str, float] = {}
        self.asked: list[float] = []
        self.is_up = True

    @rule(seconds=st.floats(0, 40))
    def passes(self, seconds: float) -> None:
        """
        Time passes.
        """
        self.now += seconds

    @rule(name=st.sampled_from("abc"))
    def rotates(self, name: str) -> None:
        """
        A key comes or goes.
        """
        if name in self.published:
            self.published.remove(name)
            self.gone[name] = self.now
        else:
            self.published.add(name)
            self.gone.pop(name, None)

    @rule()
    def fails(self) -> None:
        """
        The issuer stops answering, or answers again.
        """
        self.is_up = not self.is_up

    @rule(name=st.sampled_from("abcdefgh"))
    def comes(self, name: str) -> None:
        """
        A token names a key.
        """
        answer = self.set.find(name, "RS256", self.now)
        if answer.ask:
            self.asked.append(self.now)
            self.set.asked(self.now)
            if self.is_up:
                self.set.take([key(one) for one in self.published], self.now)
            again = self.set.find(name, "RS256", self.now)
            assert not again.ask
            if self.is_up:
                assert (name in self.published) == bool(again.keys)
        if name in self.gone:
            assert not answer.keys or self.now - self.gone[name] < 100

    @invariant()
    def seldom(self) -> None:
        """
        However many strangers come, the issuer is asked at most every 10 seconds.
        """
        assert all(later - sooner >= 10 for sooner, later in zip(self.asked, self.asked[1:], strict=False))


TestRotations = pytest.mark.requirement("WS-10")(Rotations.TestCase)


class KeepsForEver(KeySet):
    """
    Believes a set however old it is.
    """

    def find(self, key_id: str | None, algorithm: str, now: float, /) -> Any:
        """
        Look as if no time had passed.
        """
        fresh = super().find(key_id, algorithm, min(now, self._seen or 0.0))
        return attrs.evolve(super().find(key_id, algorithm, now), keys=fresh.keys)


class AsksAlways(KeySet):
    """
    Asks for every name that it does not know.
    """

    def asked(self, now: float, /) -> None:
        """
        Note nothing.
        """


@pytest.mark.parametrize(("broken", "steps"), [(KeepsForEver, "rotation"), (AsksAlways, "strangers")])
def test_broken_variants_are_caught(broken: type[KeySet], steps: str) -> None:
    """
    Keys that count for ever, and strangers who make the issuer busy, are noticed.
    """
    machine = type("Broken", (Rotations,), {"set_type": broken})()
    with pytest.raises(AssertionError):
        if steps == "rotation":
            machine.comes("a")
            machine.rotates("a")
            machine.fails()
            for _ in range(3):
                machine.passes(40)
            machine.comes("a")
        else:
            machine.comes("x")
            machine.seldom()


# The shell.


@attrs.define
class Issuer:
    """
    Publishes keys, as often as it is asked, and waits or fails if told to.
    """

    keys: list[dict[str, Any]] = attrs.field(factory=lambda: [jwk(RSA, "one")])
    asked: int = 0
    error: Exception | None = None
    gate: asyncio.Event | None = None

    async def fetch(self, url: str) -> bytes:
        """
        Answer.
        """
        assert url == URL
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return published(*self.keys)


def names(found: Any) -> list[str | None]:
    """
    Return the names of the keys.
    """
    return [one.key_id for one in found]


async def test_rotation() -> None:
    """
    A new key counts from its first token on, and one that was taken out for at most the age of a set.
    """
    clock, issuer = FakeClock(), Issuer()
    source = Jwks(URL, fetch=issuer.fetch, clock=clock)

    assert ["one"] == names(await source.find("one", "RS256"))
    issuer.keys = [jwk(OTHER_RSA, "two")]
    await clock.advance(29)
    assert [] == names(await source.find("two", "RS256"))
    with pytest.raises(errors.UnauthenticatedError, match="names no key"):
        await checking(source, algorithms=["RS256"]).verify(signed(algorithm="RS256", kid="two"))
    await clock.advance(1)
    assert ["two"] == names(await source.find("two", "RS256"))
    assert [] == names(await source.find("one", "RS256"))
    assert 2 == issuer.asked


async def test_asked_once_for_all() -> None:
    """
    Many who come at once wait for one answer; one of them who leaves takes it from nobody.
    """
    issuer = Issuer(gate=asyncio.Event())
    source = Jwks(URL, fetch=issuer.fetch, clock=FakeClock())
    waiting = [asyncio.create_task(source.find("one", "RS256")) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    assert issuer.gate is not None
    issuer.gate.set()
    await asyncio.wait(waiting)

    assert waiting[0].cancelled()
    assert [["one"]] * 49 == [names(task.result()) for task in waiting[1:]]
    assert 1 == issuer.asked


async def test_renewed_beside() -> None:
    """
    A set that is half as old as it may get is renewed without anybody waiting.
    """
    clock, issuer = FakeClock(), Issuer()
    source = Jwks(URL, fetch=issuer.fetch, clock=clock)
    await source.find("one", "RS256")
    await clock.advance(300)
    issuer.gate = asyncio.Event()

    assert ["one"] == names(await source.find("one", "RS256"))
    await clock.advance(299)
    assert 2 == issuer.asked
    issuer.gate.set()
    await clock.advance(100)
    assert ["one"] == names(await source.find("one", "RS256"))
    assert 2 == issuer.asked


@pytest.mark.requirement("WS-28")
async def test_issuer_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    """
    While it fails, known keys count as long as they may; then nobody is let in, and nobody is blamed.
    """
    clock, issuer = FakeClock(), Issuer()
    source = Jwks(URL, fetch=issuer.fetch, clock=clock)
    await source.find("one", "RS256")
    issuer.error = OSError("canary")
    await clock.advance(599)
    assert ["one"] == names(await source.find("one", "RS256"))
    await clock.advance(1)
    with pytest.raises(KeysUnavailableError, match="cannot be had now"):
        await source.find("one", "RS256")
    with pytest.raises(KeysUnavailableError):
        await checking(source, algorithms=["RS256"]).verify(signed(algorithm="RS256", kid="one"))
    issuer.error, issuer.keys = None, [{}]
    await clock.advance(30)
    with pytest.raises(KeysUnavailableError):
        await source.find("one", "RS256")

    assert "problem=OSError" in caplog.text
    assert "the key set has no public key" in caplog.text
    assert "canary" not in caplog.text
    assert logging.ERROR == caplog.records[0].levelno


async def test_slow_issuer() -> None:
    """
    An answer that takes too long is none.
    """
    issuer = Issuer(gate=asyncio.Event())
    source = Jwks(URL, fetch=issuer.fetch, fetch_seconds=0.1, clock=FakeClock())

    with pytest.raises(KeysUnavailableError):
        await source.find("one", "RS256")


def test_another_loop() -> None:
    """
    A source may be used in one loop after the other; what was on its way in the first is asked again in the second.
    """
    clock, issuer = FakeClock(), Issuer(gate=asyncio.Event())
    source = Jwks(URL, fetch=issuer.fetch, retry_seconds=1.0, clock=clock)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await source.find("one", "RS256")

    async def once_more() -> list[str | None]:
        issuer.gate = None
        await clock.advance(1)
        return names(await source.find("one", "RS256"))

    asyncio.run(give_up())
    assert ["one"] == asyncio.run(once_more())


@pytest.mark.parametrize(
    ("url", "options", "problem"),
    [
        ("http://login.example.com/keys", {}, "by https"),
        ("http://127.0.0.1.example.com/keys", {}, "by https"),
        ("ftp://login.example.com", {}, "must be https"),
        ("file:///etc/keys", {}, "must be https"),
        ("https:///keys", {}, "must be https"),
        ("https://me:pw@login.example.com/keys", {}, "must be https"),
        ("https://[/keys", {}, "must be https"),
        (URL, {"max_age_seconds": 1}, "max_age_seconds=1"),
        (URL, {"retry_seconds": "1"}, "retry_seconds='1'"),
        (URL, {"fetch_seconds": 61}, "fetch_seconds=61"),
        (URL, {"max_age_seconds": 50}, "half of max_age_seconds"),
    ],
)
def test_settings_that_are_refused(url: str, options: dict[str, Any], problem: str) -> None:
    """
    An address that others could answer for, and bounds that make no sense, are refused when it is made.
    """
    with pytest.raises(errors.SettingsError, match=problem) as caught:
        Jwks(url, **options)
    assert "pw" not in str(caught.value)


# The way of its own to get a set.


@pytest.fixture(name="serving")
def _serving() -> Iterator[Callable[[Callable[[Any], None]], str]]:
    """
    Serve what a function writes, on loopback in a thread; give the address.
    """
    servers: list[http.server.ThreadingHTTPServer] = []

    def serve(write: Callable[[Any], None]) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                write(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/keys"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def answer(handler: Any, body: bytes, status: int = 200, **headers: str) -> None:
    """
    Answer a request.
    """
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def publishes(handler: Any) -> None:
    """
    Answer with a key.
    """
    answer(handler, published(jwk(RSA, "one")))


async def test_fetched(serving: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The set is read over HTTP; what the environment says of proxies is not.
    """
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    source = Jwks(serving(publishes))

    assert ["one"] == names(await source.find("one", "RS256"))


async def test_answers_that_are_none(serving: Callable[..., str], caplog: pytest.LogCaptureFixture) -> None:
    """
    Redirects, errors, too much, and what comes too slowly or not at all: no keys, within the time.
    """
    good = serving(publishes)

    def drips(handler: Any) -> None:
        answer(handler, b"")
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                handler.wfile.write(b" ")
            except OSError:
                return
            time.sleep(0.02)

    ways: list[tuple[Callable[[Any], None], float]] = [
        (lambda handler: answer(handler, b"", 302, Location=good), 20),
        (lambda handler: answer(handler, published(jwk(RSA, "one")), 500), 20),
        (lambda handler: answer(handler, b" " * (MOST_BYTES + 10)), 20),
        (drips, 0.3),
    ]
    began = time.monotonic()
    for way, seconds in ways:
        source = Jwks(serving(way), fetch_seconds=seconds)
        with pytest.raises(KeysUnavailableError):
            await source.find("one", "RS256")

    assert time.monotonic() - began < 20
    assert 2 == caplog.text.count("problem=HTTPError")
    assert 4 == len(caplog.records)
