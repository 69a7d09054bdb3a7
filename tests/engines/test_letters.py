"""
What stands on the bus is believed only with the right signature, for the right stream, in the right form.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.events.samples import SAMPLES
from tests.shell import note
from ws_isolation import errors
from ws_isolation.backplanes.redis import versions
from ws_isolation.backplanes.redis.letters import Letters, RefusedError, Signal
from ws_isolation.events import Envelope, Event
from ws_isolation.ids import new_uuid7
from ws_isolation.keys import Identity
from ws_isolation.stream import NIL_ID, Draft

ALICE: Final = Identity("acme", "alice")
BOB: Final = Identity("acme", "bob")
OLD: Final = b"o" * 32
NEW: Final = b"n" * 70
EPOCH: Final = "e" * 40
TIME: Final = "2026-11-22T21:09:00.123456Z"


def letters(*keys: bytes, event_bytes: int = 65_536) -> Letters:
    """
    Return the post of a node.
    """
    return Letters("node", keys or (NEW,), event_bytes)


def letter(event: Event | None = None, owner: Identity = ALICE, seq: int = 7, sender: Letters | None = None) -> bytes:
    """
    Return an event of Alice's stream as the script writes it.
    """
    draft = Draft(event=event or note(), owner=owner, id=new_uuid7(), time=TIME)
    prev = NIL_ID if draft.parts.durable else ""
    place = json.dumps({"v": 1, "n": "other", "e": EPOCH, "s": seq, "p": prev}, separators=(",", ":"))
    seal = (sender or letters()).sign(ALICE, draft)
    return b"\n".join((place.encode(), seal, f"{draft.parts.head}{seq}{draft.parts.tail}".encode()))


@pytest.mark.parametrize("name", SAMPLES)
def test_what_was_written_is_read(name: str) -> None:
    """
    Each event comes out as it went in: event, place, owner and text.
    """
    written = letter(SAMPLES[name])

    read = letters().read(ALICE, written)

    assert SAMPLES[name] == read.event
    assert (ALICE, EPOCH, 7) == (read.owner, read.epoch, read.seq)
    assert written.endswith(read.text.encode())
    assert len(read.text.encode()) == read.size


def test_the_owner_is_kept() -> None:
    """
    An event of another owner keeps that owner: the last hop finds out.
    """
    assert BOB == letters().read(ALICE, letter(owner=BOB)).owner


def test_the_signature_is_hmac() -> None:
    """
    The signature is HMAC-SHA256, with a long key as well as with a short one.
    """
    for key in (OLD, NEW, b"k" * 64):
        signal = Signal("replaced", "c")
        said = json.loads(letters(key).say(ALICE, signal))
        message = b"\n".join((b"ws_isolation bus signal v1", ALICE.key.encode(), b"replaced", b"c"))
        assert hmac.new(key, message, hashlib.sha256).hexdigest() == said["m"]


@pytest.mark.requirement("WS-22")
def test_keys_rotate() -> None:
    """
    The first key signs and each is believed; one that was taken out is not.
    """
    written = letter(sender=letters(OLD))

    assert 7 == letters(NEW, OLD).read(ALICE, written).seq
    assert 7 == letters(OLD, NEW).read(ALICE, letter(sender=letters(NEW, OLD))).seq
    with pytest.raises(RefusedError, match="wrong signature"):
        letters(NEW).read(ALICE, written)


def _part(number: int, old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(written: bytes) -> bytes:
        lines = written.split(b"\n")
        assert old in lines[number]
        lines[number] = lines[number].replace(old, new)
        return b"\n".join(lines)

    return change


FORGERIES: Final[dict[str, tuple[Callable[[bytes], bytes], str]]] = {
    "nothing": (lambda _: b"", "not of this form"),
    "a pickle": (lambda _: b"\x80\x04\x95\n.\n.", "not of this form"),
    "two lines": (lambda written: written.rpartition(b"\n")[0], "not three lines"),
    "huge": (lambda written: written + b" " * 70_000, "too large"),
    "a huge signal": (lambda _: b"{" + b" " * 2_000, "too large"),
    "another version": (_part(0, b'"v":1', b'"v":2'), "another version"),
    "a version that leaves ours out": (_part(0, b'"v":1', b'"v":2,"r":2'), "another version"),
    "two versions on": (_part(0, b'"v":1', b'"v":3,"r":1'), "another version"),
    "before the first version": (_part(0, b'"v":1', b'"v":0,"r":0'), "another version"),
    "no such version": (_part(0, b'"v":1', b'"v":2,"r":"1"'), "not of this form"),
    "another place": (_part(0, b'"s":7', b'"s":8'), "its place is not in it"),
    "a place below 0": (_part(0, b'"s":7', b'"s":-7'), "its place is not in it"),
    "a piece as a durable event": (_part(0, NIL_ID.encode(), b""), "its place is another"),
    "another payload": (_part(2, b'"value":1', b'"value":2'), "wrong signature"),
    "another owner": (_part(1, b'"alice"', b'"bob"'), "wrong signature"),
    "another tenant": (_part(1, b'"acme"', b"null"), "wrong signature"),
    "no such owner": (_part(1, b'"alice"', b'"\\ud800"'), "not of this form"),
    "no signature": (_part(1, b'"m":"', b'"m":"\xc3\xa9'), "wrong signature"),
    "the place moved": (_part(1, b'"h":', b'"h":1'), "its place is not in it"),
}


@pytest.mark.scenario("S22")
@pytest.mark.parametrize(
    "change",
    [
        _part(0, b'"v":1', b'"v":2,"r":1'),
        _part(0, b'"v":1', b'"v":1,"x":{"y":1}'),
        _part(0, b'"}', b'","z":[1]}'),
        _part(1, b'"h":', b'"x":1,"h":'),
    ],
)
def test_a_neighbour_is_read(change: Callable[[bytes], bytes]) -> None:
    """
    The next version is read where it says that ours can, and what it says besides is passed over.
    """
    read = letters().hear(ALICE, change(letter()))

    assert isinstance(read, Envelope)
    assert note() == read.event


@pytest.mark.parametrize(
    ("written", "least", "is_read"),
    [
        (4, None, False),
        (5, None, True),
        (6, None, True),
        (7, None, False),
        (7, 6, True),
        (7, 1, True),
        (7, 7, False),
        (8, 1, False),
    ],
)
def test_versions(monkeypatch: pytest.MonkeyPatch, written: int, least: int | None, *, is_read: bool) -> None:
    """
    A release in the middle reads its own version, the one before, and the next where that says so.
    """
    monkeypatch.setattr(versions, "VERSION", 6)
    monkeypatch.setattr(versions, "OLDEST", 5)
    monkeypatch.setattr(versions, "_NEWEST", 7)

    assert is_read is versions.is_readable(written, least)


@pytest.mark.requirement("WS-22")
@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_refused(name: str) -> None:
    """
    Whatever was changed, cut or made up is refused, with a reason that repeats nothing of it.
    """
    forge, problem = FORGERIES[name]

    with pytest.raises(RefusedError, match=problem) as caught:
        letters().hear(ALICE, forge(letter()))

    assert "alice" not in str(caught.value)


@pytest.mark.requirement("WS-22", "P1")
def test_a_letter_belongs_to_its_stream() -> None:
    """
    A letter that was copied to another user's channel is refused, events and signals alike.
    """
    post = letters()
    for written in (letter(), post.say(ALICE, Signal("revoked"))):
        post.hear(ALICE, written)
        with pytest.raises(RefusedError, match="wrong signature"):
            post.hear(BOB, written)


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P1")
def test_an_unsigned_bus_believes_everybody() -> None:
    """
    Without keys, whoever can write to the engine speaks as anybody's agent: what the signature is there for.
    """
    attacker = Letters("attacker", (), 65_536)
    forged = letter(note("send your password"), sender=attacker)

    believed = Letters("node", (), 65_536).read(ALICE, forged)

    assert isinstance(believed, Envelope)
    with pytest.raises(RefusedError, match="wrong signature"):
        letters().read(ALICE, forged)


@pytest.mark.requirement("WS-22")
def test_a_signed_frame_is_still_checked() -> None:
    """
    A frame that holds no event of this version is refused though its signature is right.
    """
    draft: Any = Draft(event=note(), owner=ALICE, id=new_uuid7(), time=TIME)
    other = letter().replace(b'"type":"custom"', b'"type":"nobody"')

    class _Parts:
        head = draft.parts.head.replace('"type":"custom"', '"type":"nobody"')
        tail = draft.parts.tail

    class _Draft:
        owner = ALICE
        parts = _Parts

    place = other.split(b"\n")[0]
    seal = letters().sign(ALICE, _Draft)  # type: ignore[arg-type]  # what a later version may write
    with pytest.raises(RefusedError, match="no event of this version"):
        letters().read(ALICE, b"\n".join((place, seal, f"{_Parts.head}7{_Parts.tail}".encode())))


def test_signals() -> None:
    """
    Signals come out as they went in; changed ones, and those of another version, are refused.
    """
    post = letters()
    for signal in (Signal("revoked"), Signal("replaced", "connection")):
        said = post.say(ALICE, signal)
        assert signal == post.hear(ALICE, said)
        with pytest.raises(RefusedError, match="wrong signature"):
            post.hear(ALICE, said.replace(b'"i":"', b'"i":"x'))
        with pytest.raises(RefusedError, match="another version"):
            post.hear(ALICE, said.replace(b'"v":1', b'"v":3'))
        assert signal == post.hear(ALICE, said.replace(b'"v":1', b'"v":2,"r":1,"x":0'))


@pytest.mark.parametrize("keys", [(b"short",), ("text" * 8,), (OLD,) * 9])
def test_keys_are_checked(keys: Any) -> None:
    """
    A key that is short or no bytes is refused, and so are too many.
    """
    with pytest.raises(errors.SettingsError, match="32"):
        Letters("node", keys, 65_536)
