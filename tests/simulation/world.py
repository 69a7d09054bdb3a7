"""
Users with several devices that connect, are cut, stall and come back, on the real factories of one or two nodes.
"""

from __future__ import annotations

import asyncio
import random
import re
import weakref
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, cast

import attrs

from tests.shell import note
from tests.simulation.clients import Device, Socket
from tests.simulation.engine import TroubledEngine
from tests.simulation.history import History
from tests.simulation.loop import LoopClock, VirtualLoop, with_first_step
from tests.simulation.schedule import USERS, Profile
from ws_isolation import Handshake, IsolatedManager, ManagerFactory, Session, UserExecutionContext, errors
from ws_isolation.keys import identity_of
from ws_isolation.serving import serve_opening
from ws_isolation.testing import make_context

_FOR_GOOD: Final = 1e12
_FAILURES: Final[dict[str, type[Exception]]] = {"bad": errors.UnauthenticatedError, "crash": RuntimeError}
TOKEN: Final = re.compile(r"(?P<socket>\d+)-(?P<mode>[a-z]+)-(?P<number>[\d.]+)")


@attrs.define(eq=False)
class Node:
    """
    One process: a factory, and whether it may be used.
    """

    number: int
    factory: ManagerFactory
    is_up: bool = True
    is_draining: bool = False


@attrs.define(eq=False)
class World:
    """
    One schedule.
    """

    loop: VirtualLoop
    profile: Profile
    seed: int
    history: History = attrs.field(init=False)
    engine: TroubledEngine = attrs.field(init=False)
    nodes: list[Node] = attrs.field(init=False)
    devices: list[Device] = attrs.field(init=False)
    sockets: list[Socket] = attrs.field(factory=list[Socket])
    tasks: set[asyncio.Task[None]] = attrs.field(factory=set["asyncio.Task[None]"])
    seen: list[weakref.ref[Any]] = attrs.field(factory=list["weakref.ref[Any]"])
    """Everything that belongs to a user, and must be gone in the end."""
    canaries: list[str] = attrs.field(init=False)
    contexts: list[UserExecutionContext] = attrs.field(init=False)
    closes: set[int] = attrs.field(factory=set[int])
    """Codes that were met."""
    left: tuple[int, int] = (-1, -1)
    """Tasks and timers in the end."""

    def __attrs_post_init__(self) -> None:
        clock, settings, each = LoopClock(self.loop), self.profile.settings, self.profile.devices
        self.history = History(clock.unix)
        self.contexts = [make_context(user, tenant_id=tenant, thread_id="t0") for tenant, user in USERS]
        who_is = {identity_of(context).key: who for who, context in enumerate(self.contexts)}
        self.engine = TroubledEngine(settings, clock, self.history, who_is)
        self.nodes = [
            Node(number, ManagerFactory(settings, clock=clock, backplane=cast("Any", self.engine)))
            for number in range(self.profile.nodes)
        ]
        dice = random.Random(f"canaries of {self.seed}")
        self.canaries = [f"{dice.getrandbits(128):032x}" for _ in USERS]
        self.devices = [
            Device(number, number // each, f"t{number % 2}", number % 4 == 1, number % 3 != 2)
            for number in range(each * len(USERS))
        ]
        for node in self.nodes:
            self.history.note("up", node=node.number)

    # What the application does.

    async def authenticate(self, shaken: Handshake) -> UserExecutionContext | None:
        """
        Believe the token: it says which socket it is for, and what becomes of it.
        """
        said = TOKEN.fullmatch(shaken.bearer_token or "")
        if said is None:
            raise errors.UnauthenticatedError
        socket, number = self.sockets[int(said["socket"])], float(said["number"])
        device = socket.device
        who, thread, until = device.who, device.thread, None
        mode = said["mode"]
        if mode in _FAILURES:
            raise _FAILURES[mode]
        if mode == "none":
            return None
        if mode == "forged":
            return object.__new__(UserExecutionContext)
        if mode == "slow":
            await asyncio.sleep(number)
        elif mode in {"short", "expired"}:
            until = self.history.unix() + (number if mode == "short" else -1)
        elif mode == "other":
            who = (who + 1) % len(USERS)
        elif mode == "elsewhere":
            thread = "t9"
        context = self.context(who, thread, until)
        if who == device.who and thread == device.thread:
            socket._note("authority", number=_FOR_GOOD if until is None else until)
        return context

    def context(self, who: int, thread: str, until: float | None = None) -> UserExecutionContext:
        """
        Return a new context of a user.
        """
        tenant, user = USERS[who]
        expires = None if until is None else datetime.fromtimestamp(until, UTC)
        context = make_context(user, tenant_id=tenant, thread_id=thread, expires_at=expires)
        self.seen.append(weakref.ref(context))
        return context

    async def handle(self, session: Session) -> None:
        """
        Do what the client asks for.
        """
        self.seen += [weakref.ref(session), weakref.ref(session._live)]
        async for message in session:
            match message.type:
                case "work":
                    who = self.sockets[int(message.data["socket"])].device.who
                    session.spawn(self.work(session.manager, who, int(message.data["count"])))
                case "bye":
                    return
                case "crash":
                    raise RuntimeError
                case "hang":
                    await asyncio.Event().wait()
                case "stubborn":
                    try:
                        await asyncio.sleep(3_600)
                    finally:
                        await asyncio.sleep(1)
                case _:
                    session.reject(message)

    async def work(self, manager: IsolatedManager, who: int, count: int) -> None:
        """
        Do an agent's work: think, then say something in pieces.
        """
        async with manager.run("agent") as run:
            await run.thinking(self.canaries[who])
            async with run.message() as said:
                for number in range(count):
                    await said.write(f"{self.canaries[who]} {number} ")
                    if number % 2:
                        await asyncio.sleep(0.5)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """
        Start what must be over in the end.
        """
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """
        Start it, and wait until it waits: what comes next in the schedule comes after that.
        """
        begun = asyncio.Event()

        async def noted() -> None:
            await with_first_step(work, begun.set)

        self.start(noted())
        await begun.wait()

    def node_of(self, device: Device) -> Node:
        """
        Return where a device connects.
        """
        return self.nodes[device.number % len(self.nodes)]

    def open_socket(self, device: Device, mode: str = "ok", number: float = 0) -> None:
        """
        Connect, unless it is connected.
        """
        if device.socket is not None and not device.socket.is_over:
            return
        socket = Socket(len(self.sockets), device, self.history, f"{len(self.sockets)}-{mode}-{number:g}")
        self.sockets.append(socket)
        device.socket = socket
        node = self.node_of(device)
        socket._note("connect", node=node.number)
        self.start(self._serve(socket, node))

    async def _serve(self, socket: Socket, node: Node) -> None:
        await serve_opening(socket, node.factory, self.authenticate, self.handle)
        socket._note("over")

    async def send(self, device: Device, node: Node) -> None:
        """
        Send one event to the device's user, in its thread or in none.
        """
        try:
            manager = node.factory.create_manager(self.contexts[device.who])
            delivery = await manager.send(note(self.canaries[device.who]))
        except (ConnectionError, errors.InvalidStateError):
            return  # the engine is down, or the process is: the caller knows
        self.history.note("sent", who=device.who, id=delivery.event_id, number=delivery.seq)

    async def talk(self, device: Device, count: int) -> None:
        """
        Let an agent of the application work for the device's user.
        """
        manager = self.node_of(device).factory.create_manager(self.context(device.who, device.thread))
        try:
            await self.work(manager, device.who, count)
        except (ConnectionError, errors.IsolationError):
            return

    async def labour(self, device: Device, count: int) -> None:
        """
        Let an agent work that goes on where a step of it fails or takes too long.
        """
        manager = self.node_of(device).factory.create_manager(self.context(device.who, device.thread))
        canary = self.canaries[device.who]
        with suppress(ConnectionError, errors.IsolationError):
            async with manager.run("agent") as run:
                for number in range(count):
                    with suppress(ConnectionError, TimeoutError):
                        async with asyncio.timeout(1):
                            await run.thinking(canary)
                            if number % 2:
                                async with run.tool("look", {"at": canary}):
                                    await asyncio.sleep(0.3)
                    await asyncio.sleep(0.7)

    async def restart(self, node: Node) -> None:
        """
        Stop a process and start it again.
        """
        await node.factory.stop()
        if len(self.nodes) == 1:
            self.engine.restart()
        await node.factory.__aenter__()
        node.is_up, node.is_draining = True, False
        self.history.note("up", node=node.number)

    def go_down(self, node: Node, kind: str) -> bool:
        """
        Note that a process goes down; False where it does already.
        """
        if not node.is_up or (kind == "drain" and node.is_draining):
            return False
        node.is_up, node.is_draining = kind == "drain", True
        self.history.note("drain", node=node.number)
        return True

    async def revoke(self, node: Node, who: int, seconds: float, told: asyncio.Event) -> None:
        """
        Revoke a user on one node: there it holds at once, and everywhere when the engine has it.
        """
        until = self.history.unix() + seconds if seconds else None
        moment = None if until is None else datetime.fromtimestamp(until, UTC)
        end = _FOR_GOOD if until is None else until

        def holds_here() -> None:
            self.history.note("revoke", who=who, number=end, node=node.number)
            told.set()

        self.history.note("revoking", who=who)
        try:
            await with_first_step(node.factory.revoke(self.contexts[who], until=moment), holds_here)
        except errors.EngineUnavailableError:
            return  # the caller knows: it holds here, and nobody knows about the others
        self.history.note("revoke", who=who, number=end)

    async def lift(self, who: int) -> None:
        """
        Let a user come back. Where the engine fails, nobody knows.
        """
        self.history.note("lift", who=who)
        for node in self.nodes:
            with suppress(errors.EngineUnavailableError):
                await node.factory.lift(self.contexts[who])
        self.history.note("lift", who=who)

    async def revoke_session(self, device: Device) -> None:
        """
        End the device's session, and nothing else.
        """
        factory = self.node_of(device).factory
        for session in tuple(factory._runtime.sessions):
            if device.socket is not None and session._transport is device.socket:
                device.socket._note("revoke_session")
                await factory.revoke(session)

    async def wait(self, seconds: float) -> None:
        """
        Let time pass, and see that nothing has grown beyond its bounds.
        """
        await asyncio.sleep(seconds)
        settings = self.profile.settings
        for node in self.nodes:
            runtime = node.factory._runtime
            assert len(runtime.streams) <= len(USERS), "INV6: more streams than users"
            assert node.factory.stats().foreign == 0, "INV1: an envelope of somebody else at the last hop"
            for session in runtime.sessions:
                events, size = session.waiting
                assert events <= settings.outbox_events, "INV6: too many events wait"
                assert size <= settings.outbox_bytes, "INV6: too many bytes wait"
        kept = [
            len(topic.stream) for topic in (*self.engine.inner._heard.values(), *self.engine.inner._unheard.values())
        ]
        assert len(kept) <= len(USERS), "INV6: more streams than users in the engine"
        assert max(kept, default=0) <= settings.window_events, "INV6: a window is too large"
