"""
Adapters with a defect each: what ``check_adapter()`` must find.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from tests.servers.running import running
from ws_isolation import Handshake, UserExecutionContext, errors
from ws_isolation.adapters._asgi import AsgiOpening
from ws_isolation.serving import Opening, serve_opening
from ws_isolation.testing.check_adapter import AdapterSubject, Served, StartServer
from ws_isolation.typing import Transport


class WrappedTransport:
    """
    A transport that passes everything on.
    """

    def __init__(self, inner: Transport) -> None:
        self.inner = inner

    async def receive(self) -> str | bytes:
        """
        Pass on.
        """
        return await self.inner.receive()

    async def send(self, text: str, /) -> None:
        """
        Pass on.
        """
        await self.inner.send(text)

    async def close(self, code: int, reason: str, /) -> None:
        """
        Pass on.
        """
        await self.inner.close(code, reason)

    def abort(self) -> None:
        """
        Pass on.
        """
        self.inner.abort()


class WrappedOpening:
    """
    An opening that passes everything on, and has a transport of that class.
    """

    transport: type[WrappedTransport] = WrappedTransport

    def __init__(self, inner: Opening) -> None:
        self.inner = inner

    @property
    def handshake(self) -> Handshake:
        """
        Pass on.
        """
        return self.inner.handshake

    async def accept(self, subprotocol: str | None, /) -> Transport:
        """
        Pass on.
        """
        return self.transport(await self.inner.accept(subprotocol))

    async def refuse(self, status: int, retry_after: int | None, /) -> None:
        """
        Pass on.
        """
        await self.inner.refuse(status, retry_after)


class ForgetsGoodbye(WrappedTransport):
    """
    Closes without a word.
    """

    async def send(self, text: str, /) -> None:
        """
        Keep goodbyes to itself.
        """
        if "ws.goodbye" not in text:
            await self.inner.send(text)


class SaysGoodbyeTwice(WrappedTransport):
    """
    Says each goodbye twice.
    """

    async def send(self, text: str, /) -> None:
        """
        Send it, and a goodbye once more.
        """
        await self.inner.send(text)
        if "ws.goodbye" in text:
            await self.inner.send(text)


class TalksAfterGoodbye(WrappedTransport):
    """
    Says something after goodbye.
    """

    async def close(self, code: int, reason: str, /) -> None:
        """
        Send one more frame first.
        """
        await self.inner.send('{"type":"late"}')
        await self.inner.close(code, reason)


class ClosesNormally(WrappedTransport):
    """
    Closes with 1000, whatever happened.
    """

    async def close(self, code: int, reason: str, /) -> None:
        """
        Close with another code.
        """
        await self.inner.close(1000, reason)


class NeverCloses(WrappedTransport):
    """
    Swallows what ends a session.
    """

    async def receive(self) -> str | bytes:
        """
        Turn a defect in the message into an empty one.
        """
        text = await self.inner.receive()
        return '{"type":"size","data":{"text":""}}' if text == "{" else text


class CutsReasons(WrappedTransport):
    """
    Sends half of the reason.
    """

    async def close(self, code: int, reason: str, /) -> None:
        """
        Close with a part of the reason.
        """
        await self.inner.close(code, reason[: len(reason) // 2])


class GreetsTwice(WrappedTransport):
    """
    Sends each welcome twice.
    """

    async def send(self, text: str, /) -> None:
        """
        Send it, and a welcome once more.
        """
        await self.inner.send(text)
        if "ws.welcome" in text:
            await self.inner.send(text)


class LosesFirstMessage(WrappedTransport):
    """
    Reads one message too many.
    """

    first = True

    async def receive(self) -> str | bytes:
        """
        Drop the first one.
        """
        if self.first:
            self.first = False
            await self.inner.receive()
        return await self.inner.receive()


class CutsMessages(WrappedTransport):
    """
    Takes a limit of its own for the library's.
    """

    async def receive(self) -> str | bytes:
        """
        Cut what has exactly the limit out of the middle.
        """
        text = await self.inner.receive()
        return text.replace("xx", "x", 1) if type(text) is str and len(text) == 65_536 else text


class NeverPings(WrappedTransport):
    """
    Keeps pings to itself.
    """

    async def send(self, text: str, /) -> None:
        """
        Send all but pings.
        """
        if "ws.ping" not in text:
            await self.inner.send(text)


KEPT: Final[list[object]] = []
"""Where one of them keeps everything."""


class KeepsEverything(WrappedTransport):
    """
    Forgets no connection.
    """

    def __init__(self, inner: Transport) -> None:
        super().__init__(inner)
        KEPT.append(UserExecutionContext(user_id="kept"))


class AnswersToken(WrappedOpening):
    """
    Answers the first name that is offered.
    """

    async def accept(self, subprotocol: str | None, /) -> Transport:
        """
        Answer another subprotocol.
        """
        offered = self.handshake.subprotocols
        return await super().accept(offered[0] if offered else subprotocol)


class InventsSubprotocol(WrappedOpening):
    """
    Answers a subprotocol that nobody offered.
    """

    async def accept(self, subprotocol: str | None, /) -> Transport:
        """
        Answer none where one was offered, and the other way round.
        """
        return await super().accept(None if self.handshake.subprotocols else "own")


class AcceptsFirst(WrappedOpening):
    """
    Accepts whom the door refuses.
    """

    async def refuse(self, status: int, retry_after: int | None, /) -> None:
        """
        Accept, then close.
        """
        await (await self.inner.accept(None)).close(4000, "refused")


class RefusesWithoutHope(WrappedOpening):
    """
    Does not say when to come again.
    """

    async def refuse(self, status: int, retry_after: int | None, /) -> None:
        """
        Leave out Retry-After.
        """
        await self.inner.refuse(status, None)


class RefusesInPlaceOfClosing(WrappedOpening):
    """
    Refuses the handshake where it should accept and say why.
    """

    async def accept(self, subprotocol: str | None, /) -> Transport:
        """
        Refuse all but those who are known.
        """
        if ".u" not in (self.handshake.bearer_token or ""):
            await self.inner.refuse(403, None)
        return await super().accept(subprotocol)


class RefusesEverybody(WrappedOpening):
    """
    Lets nobody in.
    """

    async def accept(self, subprotocol: str | None, /) -> Transport:
        """
        Refuse, and be gone.
        """
        await self.inner.refuse(403, None)
        raise errors.TransportClosedError


Wrap: TypeAlias = Callable[[Opening], Opening]


def with_transport(transport: type[WrappedTransport]) -> Wrap:
    """
    Return what wraps an opening so that its transport is wrapped in *transport*.
    """
    return type("Opening", (WrappedOpening,), {"transport": transport})


def application(subject: AdapterSubject, wrap: Wrap, *, swaps: bool = False) -> Any:
    """
    Return an ASGI application whose adapter is wrapped; with *swaps*, it asks about whoever came last.
    """
    last: list[Handshake] = []

    async def authenticate(handshake: Handshake) -> UserExecutionContext | None:
        last.append(handshake)
        context = await subject.authenticate(handshake)
        return UserExecutionContext(user_id=(last[-1].bearer_token or "").partition(".")[2]) if swaps else context

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            async with subject.factory:
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await serve_opening(wrap(AsgiOpening(scope, receive, send)), subject.factory, authenticate, subject.handler)

    return app


def in_this_loop(wrap: Wrap, *, swaps: bool = False) -> StartServer:
    """
    Return what starts uvicorn with such an adapter in the test's own loop.
    """

    @asynccontextmanager
    async def start() -> AsyncGenerator[Served]:
        async with running(application(AdapterSubject(), wrap, swaps=swaps)) as address:
            host, port = address.split(":")
            yield Served(host, int(port))

    return start
