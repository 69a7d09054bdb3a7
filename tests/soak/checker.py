"""
What the clients wrote down, against what was sent and what was done to the processes.

Sends to one user follow each other, so what was accepted has one order. Between two events that a
client processed, all that was accepted has come too, or a gap was announced in between.
"""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any, Final

import attrs

from tests.soak.crowd import LAST
from ws_isolation.closing import CODES

NOT_OURS: Final = frozenset({0, 500, 503, 1006, 1012})
"""How a connection ends when a process dies, stops without a drain, or is not yet there."""
AWAY: Final = frozenset({4300, 4302, 4304})
"""What a client is told while the engine does not answer."""
LEAVING: Final = frozenset({500, 503, 1012, 4200})
"""What a client is told by a process that is asked to stop; 500 by uvicorn, to a handshake that was under way then."""
GONE: Final = frozenset({0, 1006})
"""How a connection ends when its process does, or when nobody answers its handshake."""
AFTER_AWAY: Final = 10.0
"""Seconds for which an engine's absence explains a close: a call's own time-out, and the wait before the next line."""
AFTER_LEAVING: Final = 5.0
"""Seconds for which a rolling restart does: its last worker has left when it ends."""
NEVER: Final = float("-inf")
AFTER_GONE: Final = 20.0
"""Seconds for which a kill does: a handshake that nobody answers is given up after 15."""


@attrs.frozen
class Fault:
    """
    Something that was done: ``kill``, ``roll``, ``engine``, ``empty`` or ``failover``; from when to when.

    Times are of the machine's monotonic clock, the same for all processes.
    """

    kind: str
    began: float
    ended: float

    @property
    def is_engine(self) -> bool:
        """
        Whether the engine was away.
        """
        return self.kind not in {"kill", "roll"}

    @property
    def loses(self) -> bool:
        """
        Whether the engine may have lost what it had accepted.
        """
        return self.is_engine


@attrs.define
class Ledger:
    """
    All that was sent: for each user what was tried, and in order what was accepted.
    """

    accepted: dict[str, list[tuple[Any, str]]] = attrs.field(factory=dict[str, list[tuple[Any, str]]])
    """The number of the event, and its id."""
    tried: dict[str, dict[Any, float]] = attrs.field(factory=dict[str, dict[Any, float]])
    """When each send began."""
    refused: Counter[str] = attrs.field(factory=Counter[str])

    def begun(self, user: str, number: Any, when: float) -> None:
        """
        A send begins.
        """
        self.tried.setdefault(user, {}).setdefault(number, when)

    def taken(self, user: str, number: Any, event_id: str) -> None:
        """
        It was accepted.
        """
        self.accepted.setdefault(user, []).append((number, event_id))


@attrs.define
class Verdict:
    """
    What came of a soak. ``bad`` is empty where every promise was kept.
    """

    sessions: int = 0
    events: int = 0
    connects: int = 0
    resumed: int = 0
    repeated: int = 0
    foreign: int = 0
    silent: int = 0
    """Accepted, not received, and not announced as lost."""
    announced: int = 0
    """Accepted, not received, within an announced gap."""
    gaps: Counter[str] = attrs.field(factory=Counter[str])
    closes: Counter[int] = attrs.field(factory=Counter[int])
    latest: dict[int, float] = attrs.field(factory=dict[int, float])
    """By close code, the most seconds between the end of what explains a close and the close."""
    bad: list[str] = attrs.field(factory=list[str])
    back: list[float] = attrs.field(factory=list[float])
    """Seconds from the engine's return to the first event that had waited for it, for each client that one was for."""

    def lines(self) -> list[str]:
        """
        Return it as text.
        """
        names = ("sessions", "connects", "resumed", "events", "repeated", "foreign", "announced", "silent")
        text = [f"{name:12}{getattr(self, name)}" for name in names]
        text += [f"{'gaps':12}{dict(self.gaps)}", f"{'closes':12}{dict(self.closes)}"]
        text.append(f"{'latest':12}" + ", ".join(f"{code}: {late:.1f} s" for code, late in sorted(self.latest.items())))
        if self.back:
            ordered = sorted(self.back)
            within = sum(seconds <= 1 for seconds in ordered) / len(ordered)
            text.append(
                f"{'back after':12}{statistics.median(ordered):.2f} s median, "
                f"{ordered[int(len(ordered) * 0.95)]:.2f} s p95, {ordered[-1]:.2f} s most "
                f"({len(ordered)} clients, {within:.0%} within 1 s)"
            )
        return text + [f"{'BAD':12}{line}" for line in self.bad[:30]]


def check(said: list[dict[str, Any]], ledger: Ledger, faults: list[Fault]) -> Verdict:
    """
    Judge what all clients wrote down.
    """
    verdict = Verdict(sessions=len(said))
    for number, client in enumerate(said):
        name = f"client {number} of {client['user']}"
        verdict.connects += client["connects"]
        verdict.resumed += client["resumed"]
        verdict.repeated += client["repeated"]
        verdict.bad += [f"{name}: {wrong}" for wrong in client["wrong"]]
        if not client["done"]:
            verdict.bad.append(f"{name}: never saw the last event")
        _events(verdict, name, client, ledger)
        _closes(verdict, name, client["log"], faults)
        _gaps(verdict, name, client["log"], faults)
        _back(verdict, client, ledger, faults)
    return verdict


def _events(verdict: Verdict, name: str, client: dict[str, Any], ledger: Ledger) -> None:
    user, log = client["user"], client["log"]
    accepted, tried = ledger.accepted.get(user, []), ledger.tried.get(user, {})
    order = {number: (place, event_id) for place, (number, event_id) in enumerate(accepted)}
    ids: dict[Any, str] = {}
    stands = -1
    gaps: list[list[Any]] = []
    for entry in log:
        if entry[0] == "gap":
            gaps.append(entry)
        if entry[0] != "event" or not _is_new(verdict, name, user, entry, ids):
            continue
        number, event_id = entry[2][1], entry[4]
        if number not in tried:
            verdict.bad.append(f"{name}: event {number} was never sent")
        if number not in order:
            continue  # refused, and done all the same: "perhaps done" says as much
        place, right = order[number]
        if event_id != right:
            verdict.bad.append(f"{name}: event {number} has another id than its sender was told")
        if place <= stands:
            verdict.bad.append(f"{name}: event {number} after event {accepted[stands][0]}")
            continue
        _missed(verdict, name, accepted[stands + 1 : place], gaps, f"before {number} at {entry[3]}")
        stands, gaps = place, []
    _missed(verdict, name, accepted[stands + 1 :], gaps, "at the end")


def _is_new(verdict: Verdict, name: str, user: str, entry: list[Any], ids: dict[Any, str]) -> bool:
    (whose, number), event_id = entry[2], entry[4]
    if whose != user:
        verdict.foreign += 1
        verdict.bad.append(f"{name}: foreign event of {whose}")
        return False
    if number in ids:
        if ids[number] != event_id:
            verdict.bad.append(f"{name}: event {number} came with two ids")
        return False  # its id is known: a client drops it
    ids[number] = event_id
    verdict.events += 1
    return True


def _missed(verdict: Verdict, name: str, missed: list[tuple[Any, str]], gaps: list[list[Any]], where: str) -> None:
    if not missed:
        return
    # In one history a gap names how many it covers; over a change of history places are given out anew.
    whole = any(reason == "divergence" or old != new for _, _, reason, old, _, new, _ in gaps)
    room = sum(last - first for _, _, _, _, first, _, last in gaps)
    if gaps and (whole or room >= len(missed)):
        verdict.announced += len(missed)
        return
    verdict.silent += len(missed)
    verdict.bad.append(f"{name}: lost in silence {where}: {[number for number, _ in missed[:5]]}")


def _closes(verdict: Verdict, name: str, log: list[list[Any]], faults: list[Fault]) -> None:
    for kind, when, *rest in log:
        if kind != "close":
            continue
        code = rest[0]
        verdict.closes[code] += 1
        if code not in NOT_OURS and code not in CODES:
            verdict.bad.append(f"{name}: close code {code} is not documented")
            continue
        causes = [fault for fault in faults if fault.began <= when <= fault.ended + explained_for(fault, code)]
        if not causes:
            verdict.bad.append(f"{name}: nothing that was done explains the close with {code}")
            continue
        late = min(max(0.0, when - fault.ended) for fault in causes)
        verdict.latest[code] = max(verdict.latest.get(code, 0.0), late)


def explained_for(fault: Fault, code: int) -> float:
    """
    Return the seconds after its end for which *fault* explains a close with *code*: ``NEVER`` where it does not.
    """
    if fault.is_engine:
        return AFTER_AWAY if code in AWAY else NEVER
    if code in GONE:
        return AFTER_GONE
    return AFTER_LEAVING if fault.kind == "roll" and code in LEAVING else NEVER


def _gaps(verdict: Verdict, name: str, log: list[list[Any]], faults: list[Fault]) -> None:
    before = float("-inf")
    for kind, when, *rest in log:
        if kind != "gap":
            continue
        verdict.gaps[rest[0]] += 1
        if not any(fault.loses and before < fault.ended and fault.began <= when for fault in faults):
            ago = f"{when - before:.3f} s after another" if before > 0 else "the first"
            verdict.bad.append(f"{name}: a gap ({rest[0]}, {ago}) though the engine had lost nothing")
        before = when


def _back(verdict: Verdict, client: dict[str, Any], ledger: Ledger, faults: list[Fault]) -> None:
    tried = ledger.tried.get(client["user"], {})
    for fault in faults:
        if not fault.is_engine:
            continue
        for entry in client["log"]:
            if entry[0] == "close" and fault.began <= entry[1] <= fault.ended + 1:
                break  # it was not there to be served
            if entry[0] == "event" and entry[1] >= fault.ended:
                number = entry[2][1]
                if number != LAST and fault.began <= tried.get(number, 0) <= fault.ended:
                    verdict.back.append(entry[1] - fault.ended)
                break
