"""
INV5: every close is explained: its code, a goodbye before it, and a cause in the schedule; and what must end does.
"""

from __future__ import annotations

from typing import Final

import attrs

from tests.simulation.history import Entry
from tests.simulation.schedule import Profile
from tests.simulation.world import World

_ASKED: Final = {
    1000: {"bye"},
    4000: {"broken", "ws.refresh"},
    4001: {"bad", "none"},
    4003: {"other"},
    4010: {"other"},
    4022: {"broken", "unknown", "flood", "stop"},
    4101: {"expired"},
    4103: {"elsewhere"},
    4300: {"crash"},
    4310: {"forged"},
    4329: {"flood"},
}
"""What a client may have asked for, by the code that it leads to."""

_MOMENT: Final = 0.01


@attrs.define
class _Fate:
    """
    What is known about one socket.
    """

    number: int
    node: int
    who: int
    began: float
    asked: set[str] = attrs.field(factory=set[str])
    until: float = 1e12
    welcomed: float | None = None
    said: int | None = None
    """The code of its goodbye."""
    ended: str = ""
    stalled: bool = False
    stalled_until: float = 0.0
    is_mute: bool = False
    is_over: bool = False
    revoked: bool = False
    must_end: tuple[float, str] | None = None
    """Until when, and why."""

    def read_badly(self, at: float) -> bool:
        """
        Tell whether its client does not read, or has not until now.
        """
        return self.stalled or self.is_mute or at - self.stalled_until < _MOMENT


@attrs.define
class _Causes:
    """
    What has happened so far.
    """

    profile: Profile
    fates: dict[int, _Fate] = attrs.field(factory=dict[int, _Fate])
    revoked: set[int] = attrs.field(factory=set[int])
    down: set[int] = attrs.field(factory=set[int])
    troubled: bool = False

    def explains(self, fate: _Fate, code: float, at: float) -> bool:
        """
        Tell whether the schedule has a cause for this code.
        """
        settings = self.profile.settings
        skew = settings.expiry_skew_seconds
        few = settings.sessions_per_identity < self.profile.devices
        causes = {
            4009: few and settings.session_limit == "replace_oldest",
            4010: fate.revoked or fate.who in self.revoked,
            4029: few and settings.session_limit == "reject_new",
            4101: at >= fate.until + (skew if fate.welcomed is not None else 0.0) - _MOMENT,
            4200: fate.node in self.down,
            4201: settings.max_age_seconds is not None and at - fate.began >= settings.max_age_seconds - _MOMENT,
            4208: fate.read_badly(at),
            4213: fate.read_badly(at),
            4302: self.troubled,
            4303: self.troubled,
            4304: self.troubled,
            4300: self.troubled or at - fate.began >= settings.auth_seconds,
        }
        return causes.get(int(code), False) or bool(_ASKED.get(int(code), set()) & fate.asked)


def every_close_explained(world: World) -> None:
    """
    Hold the invariant, and collect the codes that were met.
    """
    causes = _Causes(world.profile)
    for entry in world.history.entries:
        _take_in(causes, entry)
        fate = causes.fates.get(entry.socket)
        if fate is not None:
            _follow(causes, fate, entry, world)
    for fate in causes.fates.values():
        assert fate.is_over, f"INV5: socket {fate.number} is served for ever"
        assert fate.ended, f"INV5: a close that was swallowed: socket {fate.number} said {fate.said}"
        assert fate.must_end is None, f"INV5: socket {fate.number} should have ended: {fate.must_end}"


def _take_in(causes: _Causes, entry: Entry) -> None:
    """
    Note what concerns more than one socket.
    """
    if entry.kind == "connect":
        causes.fates[entry.socket] = _Fate(entry.socket, entry.node, entry.who, entry.at)
    elif entry.kind == "revoking":
        causes.revoked.add(entry.who)
    elif entry.kind == "drain":
        causes.down.add(entry.node)
    elif entry.kind == "up":
        causes.down.discard(entry.node)
    elif entry.kind == "trouble":
        causes.troubled = True
    _ends_are_due(causes, entry)


def _ends_are_due(causes: _Causes, entry: Entry) -> None:
    """
    Note which sockets have to end now, and hold that those that had to are over.
    """
    settings = causes.profile.settings
    for fate in causes.fates.values():
        if fate.welcomed is None or fate.ended or fate.node != entry.node:
            continue
        if entry.kind == "revoke" and fate.who == entry.who:
            _must_end(fate, entry.at + settings.close_seconds, "its user was revoked")
        elif entry.kind == "drain":
            _must_end(fate, entry.at + settings.drain_seconds, "its node was drained")
    for fate in causes.fates.values():
        if fate.must_end is not None:
            assert entry.at <= fate.must_end[0] + _MOMENT, f"INV5: socket {fate.number} goes on: {fate.must_end[1]}"


def _must_end(fate: _Fate, by: float, why: str) -> None:
    if not fate.ended and (fate.must_end is None or by < fate.must_end[0]):
        fate.must_end = by, why


def _follow(causes: _Causes, fate: _Fate, entry: Entry, world: World) -> None:
    """
    Note what concerns one socket, and hold how it ends.
    """
    match entry.kind:
        case "asked":
            fate.asked.add(entry.id)
        case "authority":
            fate.until = entry.number
        case "revoke_session":
            fate.revoked = True
            _must_end(fate, entry.at + causes.profile.settings.close_seconds, "it was revoked")
        case "stall":
            fate.stalled = True
        case "mute":
            fate.is_mute = True
        case "read_again":
            fate.stalled, fate.stalled_until = False, entry.at
        case "wrote":
            _writes(causes, fate, entry, world)
        case _:
            _finishes(causes, fate, entry)


def _finishes(causes: _Causes, fate: _Fate, entry: Entry) -> None:
    """
    Hold that a socket may end like this.
    """
    match entry.kind:
        case "closed":
            assert not fate.ended, f"INV5: closed after it had ended ({fate.ended}): {entry}"
            assert fate.said == entry.number, f"INV5: a close without its goodbye: {entry}"
            _ends(fate, "closed")
        case "refused":
            assert entry.number == 503, f"INV5: refused with another status: {entry}"
            assert fate.node in causes.down, f"INV5: refused without a cause: {entry}"
            _ends(fate, "refused")
        case "aborted":
            assert fate.read_badly(entry.at), f"INV5: dropped without a word: {entry}"
            _ends(fate, "aborted")
        case "left":
            _ends(fate, "left")
        case "over":
            fate.is_over = True
            assert fate.ended, f"INV5: a close that was swallowed: socket {fate.number} said {fate.said}"
        case _:
            pass


def _writes(causes: _Causes, fate: _Fate, entry: Entry, world: World) -> None:
    assert fate.said is None, f"INV5: something after goodbye: {entry}"
    if entry.frame["type"] == "ws.welcome":
        fate.welcomed = entry.at
    elif entry.frame["type"] == "ws.goodbye":
        fate.said = entry.frame["code"]
        world.closes.add(entry.frame["code"])
        assert causes.explains(fate, entry.frame["code"], entry.at), f"INV5: no cause for {fate.said}: {entry}"


def _ends(fate: _Fate, how: str) -> None:
    fate.ended, fate.must_end = how, None
