"""
What must hold of every history, whatever happened: INV1 to INV6.

Each invariant looks at the log alone, in its order; ``closes`` has the fifth and ``baseline`` the sixth.
"""

from __future__ import annotations

import attrs

from tests.simulation.baseline import at_the_baseline
from tests.simulation.closes import every_close_explained
from tests.simulation.history import Entry
from tests.simulation.world import World
from ws_isolation import Settings


def check(world: World) -> None:
    """
    Hold every invariant.
    """
    nothing_foreign(world)
    in_order(world)
    runs_in_order(world)
    nothing_lost(world)
    no_false_gap(world)
    nothing_after_authority(world)
    every_close_explained(world)
    at_the_baseline(world)


def _is_event(entry: Entry) -> bool:
    return not entry.frame["type"].startswith("ws.")


def nothing_foreign(world: World) -> None:
    """
    INV1: what is written to a socket carries no other user's canary, and no other thread's event where it is narrowed.
    """
    narrowed = world.profile.settings.session_scope == "thread"
    for entry in world.history.entries:
        if entry.kind == "wrote":
            for who, canary in enumerate(world.canaries):
                assert who == entry.who or canary not in entry.text, f"INV1: a foreign event: {entry}"
            thread = entry.frame.get("thread_id")
            own = world.devices[entry.device].thread
            assert not narrowed or thread in {None, own}, f"INV1: an event of another thread: {entry}"


@attrs.define
class _Line:
    """
    How far one socket has got.
    """

    seq: int = -1
    runs: dict[str, int] = attrs.field(factory=dict[str, int])
    texts: dict[str, str] = attrs.field(factory=dict[str, str])


def in_order(world: World) -> None:
    """
    INV2: on each socket places rise, within each run too; pieces of a text are whole; nothing comes twice.

    Places begin anew after a gap, and only there. A device never reads an event twice, over all its sockets,
    while the engine is sound.
    """
    is_sound = not world.history.count("trouble")
    lines: dict[int, _Line] = {}
    got: dict[int, set[str]] = {}
    places: dict[str, float] = {}
    for entry in world.history.entries:
        if entry.kind == "stored":
            places[entry.id] = entry.number
        elif entry.kind == "wrote":
            line = lines.setdefault(entry.socket, _Line())
            _next_on(line, entry, is_sound=is_sound)
            _next_of_run(line, entry)
        elif entry.kind == "read" and "seq" in entry.frame and _is_event(entry):
            event_id, seen = entry.frame["id"], got.setdefault(entry.device, set())
            assert places.get(event_id) == entry.frame["seq"], f"INV2: never sent, or not at this place: {entry}"
            assert event_id not in seen or not is_sound, f"INV2: something twice: {entry}"
            seen.add(event_id)


def _next_on(line: _Line, entry: Entry, *, is_sound: bool) -> None:
    frame = entry.frame
    if frame["type"] == "ws.gap":
        assert not is_sound or frame["reason"] != "divergence", f"INV2: an alarm about a sound engine: {entry}"
        line.seq, line.runs, line.texts = frame["cursor"]["seq"], {}, {}
    elif frame["type"] == "ws.resumed":
        assert frame["cursor"]["seq"] >= line.seq, f"INV2: resumed before what was written: {entry}"
        line.seq = frame["cursor"]["seq"]
    elif "seq" in frame and _is_event(entry):
        assert frame["seq"] > line.seq, f"INV2: places that do not rise: {entry}"
        line.seq = frame["seq"]
    if frame["type"] == "agent_message_delta" and is_sound:
        _whole_text(line, entry)


def no_false_gap(world: World) -> None:
    """
    INV3: while the engine is sound a gap has its cause: more events or time than is kept, or a new engine.
    """
    if world.history.count("trouble"):
        return
    settings = world.profile.settings
    began, count = dict.fromkeys(range(len(world.contexts)), float("inf")), dict.fromkeys(range(len(world.contexts)), 0)
    begins = world.history.entries[0].at
    forgot = world.history.count("up") > len(world.nodes)
    for entry in world.history.entries:
        if entry.kind == "stored":
            began[entry.who], count[entry.who] = min(began[entry.who], entry.at), count[entry.who] + 1
        elif entry.kind == "wrote" and entry.frame["type"] == "ws.gap":
            causes = {
                "epoch_changed": forgot or entry.at - begins > settings.stream_seconds,
                "trimmed": count[entry.who] > settings.window_events
                or entry.at - began[entry.who] > settings.window_seconds,
                "replay_limit": count[entry.who] > settings.replay_events,
            }
            assert causes.get(entry.frame["reason"]), f"INV3: a gap while the engine is sound: {entry}"


def _next_of_run(line: _Line, entry: Entry) -> None:
    """
    Hold the order within a run.
    """
    if "run_seq" in entry.frame:
        run_id, run_seq = entry.frame["run_id"], entry.frame["run_seq"]
        assert run_seq > line.runs.get(run_id, 0), f"INV2: a run out of order: {entry}"
        line.runs[run_id] = run_seq


def runs_in_order(world: World) -> None:
    """
    INV2: of the events that the engine keeps, those of a run are numbered from 1 on, none twice and none left out.

    The last of them is the one end that a run may have; a run that completes has no tool call open. Where the engine
    lost some, the numbers rise. The error of a run that its sender did not begin, or not in this life, has no number.
    Where an event in doubt may be too old for the window nobody can know: it is taken for stored.
    """
    is_tight = _forgets_doubts(world)
    runs: dict[str, dict[str, Entry]] = {}
    fell_back: set[str] = set()
    of: dict[str, str] = {}
    for entry in world.history.entries:
        if entry.kind == "stored" and entry.run is not None:
            before = runs.setdefault(entry.run, {})
            of[entry.id] = entry.run
            assert not any(one.is_end for one in before.values()), f"INV2: something after the end of a run: {entry}"
            last = max((one.run_seq or 0 for one in before.values()), default=0)
            if entry.run_seq is None:
                assert entry.is_end, f"INV2: no place in its run: {entry}"
            elif is_tight or entry.run in fell_back:
                assert entry.run_seq > last, f"INV2: a place in a run that was given twice: {entry}"
            else:
                assert entry.run_seq == last + 1, f"INV2: not the next place in its run, after {last}: {entry}"
            before[entry.id] = entry
            if entry.text == "agent_completed" and entry.run not in fell_back:
                calls = [one.tool for one in before.values() if one.tool]
                assert all(calls.count(call) == 2 for call in calls), f"INV2: a tool call is open: {entry}"
        elif entry.kind == "lost" and entry.id in of:
            runs[of[entry.id]].pop(entry.id)
            fell_back.add(of[entry.id])
    starts_again = world.history.count("up") > len(world.nodes)  # such a process knows nothing of its runs
    if not is_tight and not starts_again:
        for run_id in runs.keys() - fell_back:
            assert any(one.is_end for one in runs[run_id].values()), f"INV2: a run that never ends: {run_id}"


def _forgets_doubts(world: World) -> bool:
    """
    Tell whether an event may have left the window before anybody could ask for it: a small one, or trouble for long.
    """
    settings = world.profile.settings
    since, longest = float("inf"), 0.0
    for entry in world.history.entries:
        if entry.kind == "trouble":
            since = min(since, entry.at)
        elif entry.kind == "sound":
            since, longest = float("inf"), max(longest, entry.at - since)
    is_small = settings.window_events < Settings().window_events
    return world.profile.is_troubled and (is_small or longest + 2 * settings.tip_seconds > settings.window_seconds)


def _whole_text(line: _Line, entry: Entry) -> None:
    """
    Hold that a socket that got a text from its first piece on gets all of it, joined or not.
    """
    data = entry.frame["data"]
    name = data["message_id"]
    if data["index"] == 0:
        line.texts[name] = ""
    if name in line.texts:
        line.texts[name] += data["delta"]
        if "full_text" in data:
            assert line.texts[name] == data["full_text"], f"INV2: a text with a hole: {entry}"


@attrs.define
class _Account:
    """
    What one device still has to get, by id: epoch and place.
    """

    thread: str | None
    owed: dict[str, tuple[str, float]] | None = None
    """None until it has begun."""

    def gets(self, thread: str | None) -> bool:
        """
        Tell whether events of this thread are for it.
        """
        return self.thread is None or thread in {None, self.thread}

    def owe(self, stored: Entry) -> None:
        """
        Note an event that is for it, once it has begun.
        """
        if self.owed is not None and self.gets(stored.thread):
            self.owed[stored.id] = stored.epoch, stored.number

    def settle(self, event_id: str) -> None:
        """
        Take an event off.
        """
        if self.owed is not None:
            self.owed.pop(event_id, None)


def nothing_lost(world: World) -> None:
    """
    INV3: whatever is in the engine in the end was received, or reported lost, by every client that is connected then.
    """
    narrowed = world.profile.settings.session_scope == "thread"
    accounts = [_Account(device.thread if narrowed else None) for device in world.devices]
    kept: list[dict[str, Entry]] = [{} for _ in world.canaries]
    for entry in world.history.entries:
        if entry.kind == "stored":
            kept[entry.who][entry.id] = entry
            for device in world.devices:
                if device.who == entry.who:
                    accounts[device.number].owe(entry)
        elif entry.kind == "lost":
            kept[entry.who].pop(entry.id, None)
            for account in accounts:
                account.settle(entry.id)
        elif entry.kind == "sent":
            stored = kept[entry.who].get(entry.id)
            assert stored is None or stored.number == entry.number, f"INV3: sent to another place: {entry}"
        elif entry.kind == "read":
            _account_for(
                accounts[entry.device], entry, kept[entry.who], window=world.devices[entry.device].takes_window
            )
        elif entry.kind == "final":
            owed = accounts[entry.device].owed
            assert owed is not None, f"INV3: connected, and was never told where it stands: {entry}"
            assert not owed, f"INV3: lost in silence: {entry}: {owed}"


def _account_for(account: _Account, entry: Entry, kept: dict[str, Entry], *, window: bool) -> None:
    """
    Take from an account what a frame has brought, or has reported lost.
    """
    frame = entry.frame
    if frame["type"] == "ws.gap" or (
        account.owed is None and frame["type"] == ("ws.resumed" if window else "ws.welcome")
    ):
        # Whatever lies at or before the new place is lost, and was said to be.
        _begin(account, kept, frame["cursor"]["epoch"], frame["cursor"]["seq"])
    elif "seq" in frame and _is_event(entry):
        if account.owed is None:
            _begin(account, kept, entry.epoch, frame["seq"])
        account.settle(frame["id"])


def _begin(account: _Account, kept: dict[str, Entry], epoch: str, seq: int) -> None:
    account.owed = {
        stored.id: (stored.epoch, stored.number)
        for stored in kept.values()
        if stored.epoch == epoch and stored.number > seq and account.gets(stored.thread)
    }


@attrs.define
class _Bars:
    """
    Who is revoked, and where.
    """

    here: dict[tuple[int, int], float] = attrs.field(factory=dict[tuple[int, int], float])
    """By user and node: until when, for the node that was told."""
    everywhere: dict[int, tuple[float, float]] = attrs.field(factory=dict[int, tuple[float, float]])
    """By user: since when at the latest for a node that has to hear of it, and until when."""
    is_troubled: bool = False
    unheard: dict[int, bool] = attrs.field(factory=dict[int, bool])
    """By user: whether nodes may have missed the revocation that goes on."""

    def take(self, entry: Entry, within: float) -> None:
        """
        Note what changes. *within* is how long a node may take that did not hear of it, once it can.
        """
        never = float("inf")
        if entry.kind in {"trouble", "sound"}:
            self.is_troubled = entry.kind == "trouble"
            self.unheard = {who: self.is_troubled or before for who, before in self.unheard.items()}
            late = {who: end for who, (since, end) in self.everywhere.items() if since > entry.at}
            since = never if self.is_troubled else entry.at + within
            self.everywhere |= {who: (since, end) for who, end in late.items()}
        elif entry.kind == "revoke" and entry.node >= 0:
            self.here[entry.who, entry.node] = max(entry.number, self.here.get((entry.who, entry.node), 0.0))
        elif entry.kind == "revoking":
            self.unheard[entry.who] = self.is_troubled
        elif entry.kind == "revoke" and entry.who in self.unheard:
            _, end = self.everywhere.get(entry.who, (0.0, 0.0))
            since = entry.at + (within if self.unheard[entry.who] else 0.0)
            self.everywhere[entry.who] = (never if self.is_troubled else since), max(end, entry.number)
        elif entry.kind == "lift":
            self.everywhere.pop(entry.who, None)
            self.unheard.pop(entry.who, None)  # of a revocation that goes on nobody knows which was first
            self.here = {key: end for key, end in self.here.items() if key[0] != entry.who}

    def hold(self, who: int, node: int, at: float) -> bool:
        """
        Tell whether nothing may go to this user there.
        """
        since, until = self.everywhere.get(who, (0.0, 0.0))
        return at < self.here.get((who, node), 0.0) or since <= at < until


def nothing_after_authority(world: World) -> None:
    """
    INV4: from the moment a revocation is done until it ends, and after expiry, a socket gets goodbye and nothing else.

    Where a node cannot hear the engine, it has until the next look at the tip after that.
    """
    settings = world.profile.settings
    bars, until = _Bars(), dict[int, float]()
    nodes: dict[int, int] = {}
    for entry in world.history.entries:
        bars.take(entry, within=2 * settings.tip_seconds + settings.auth_seconds)
        if entry.kind == "connect":
            nodes[entry.socket] = entry.node
        elif entry.kind == "authority":
            until[entry.socket] = entry.number
        elif entry.kind == "wrote" and entry.frame["type"] != "ws.goodbye":
            assert entry.socket in until, f"INV4: something before its user was authenticated: {entry}"
            barred = bars.hold(entry.who, nodes[entry.socket], entry.at)
            assert not barred, f"INV4: something after the user was revoked: {entry}"
            expired = _is_event(entry) and entry.at > until[entry.socket] + settings.expiry_skew_seconds
            assert not expired, f"INV4: an event after the authority ended: {entry}"
