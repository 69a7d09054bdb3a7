"""
The entrance: one accepted socket that still has to say who it is.

The asyncio shell around :mod:`ws_isolation.admission`: it waits for one message
or for time to pass, and asks. It decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias, cast, final

from . import closing
from .admission import Admission, Admitted, Answered, Ask, Denied, Effect, Heard, Input, Left
from .errors import PeerError, TransportClosedError
from .finishing import finish
from .oplog import report
from .steps import Ended, PeerGone, Ticked

if TYPE_CHECKING:
    from .closing import CloseCode
    from .handshake import Handshake
    from .typing import Clock, Timer, Transport

__all__ = ("Entrance",)

Question: TypeAlias = "Callable[[Handshake], Awaitable[Admitted | Denied]]"


@final
class Entrance:
    """
    A client on its way in. Lives from accept until it was welcomed or told why not.

    Args:
        admission: What decides.
        transport: The accepted socket.
        clock: Where time comes from.
        grace_seconds: How long a cancelled ``receive()`` may take to end.
    """

    __slots__ = ("_admission", "_clock", "_done", "_first", "_grace_seconds", "_timer", "_transport")

    def __init__(self, admission: Admission, transport: Transport, clock: Clock, grace_seconds: float) -> None:
        self._admission = admission
        self._transport = transport
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._timer: Timer | None = None
        self._first: asyncio.Future[Effect] = asyncio.get_running_loop().create_future()
        """What follows from the first frame, or from its absence."""
        self._done = asyncio.Event()

    @property
    def handshake(self) -> Handshake:
        """What the client said, with the credential once it has come."""
        return self._admission.handshake

    async def admit(self, ask: Question, /) -> Admitted | Denied | Left:
        """
        Wait for the credential, ask about it, and return what came of it.

        Args:
            ask: Runs ``authenticate``, within its deadline.

        Cancelling is safe: nothing was made, and the socket is as it was.
        """
        effect: Effect | None = await self._wait()
        if isinstance(effect, Ask):
            # Not read meanwhile: what the client sends after its credential waits for the session.
            effect = self._admission.handle(Answered(await ask(effect.handshake)))
        return cast("Admitted | Denied | Left", effect)

    def close(self, code: CloseCode, /) -> None:
        """Let the client be told *code* instead; harmless once something is decided."""
        self._feed(Ended(code, self._clock.monotonic()))

    def leave(self) -> None:
        """Note that the client was welcomed or told why not."""
        self._done.set()

    async def wait_closed(self) -> None:
        """Wait until ``leave()``. Cancelling is safe."""
        await self._done.wait()

    async def _wait(self) -> Effect:
        reader = asyncio.create_task(self._read(), name="ws-entrance")
        self._timer = self._armed()
        try:
            return await self._first
        finally:
            self._timer.cancel()
            reader.cancel()
            await finish(asyncio.wait({reader}, timeout=self._grace_seconds))

    async def _read(self) -> None:
        try:
            self._feed(Heard(await self._transport.receive()))
        except TransportClosedError as error:
            self._feed(PeerGone(error.code))
        except PeerError as error:
            report(logging.WARNING, "the server below takes no such message", error=error)
            self.close(closing.code_of(error.close_code))
        except Exception as error:  # noqa: BLE001  # an adapter may raise anything
            report(logging.ERROR, "the transport's receive() failed", error=error)
            self.close(closing.INTERNAL_ERROR)

    def _armed(self) -> Timer:
        return self._clock.call_at(self._admission.due, self._tick)

    def _tick(self) -> None:
        # Timers may fire early by rounding, and still count as due.
        self._feed(Ticked(max(self._clock.monotonic(), self._admission.due)))
        if not self._first.done():
            self._timer = self._armed()

    def _feed(self, happened: Input) -> None:
        effect = self._admission.handle(happened)
        if effect is not None and not self._first.done():
            self._first.set_result(effect)
