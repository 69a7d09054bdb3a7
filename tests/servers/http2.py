"""
WebSockets over one HTTP/2 connection (RFC 8441): a client by hand, and hypercorn to speak with.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from hypercorn.asyncio import serve  # pyright: ignore[reportUnknownVariableType]
from hypercorn.config import Config
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage

SECONDS = 10


@attrs.define
class Stream:
    """
    One stream of the connection: what was answered, and what came.
    """

    number: int
    answered: asyncio.Future[dict[str, str]] = attrs.field(factory=lambda: asyncio.get_running_loop().create_future())
    frames: asyncio.Queue[dict[str, Any] | int] = attrs.field(factory=asyncio.Queue[dict[str, Any] | int])
    """Frames of the server, then the code of its close."""
    socket: Connection = attrs.field(factory=lambda: Connection(ConnectionType.CLIENT))
    ended: bool = False

    async def next(self) -> dict[str, Any] | int:
        """
        Return the next frame, or the code of the close.
        """
        async with asyncio.timeout(SECONDS):
            return await self.frames.get()

    async def until(self, kind: str) -> dict[str, Any]:
        """
        Return the next frame of a type, and pass over others.
        """
        while True:
            frame = await self.next()
            assert isinstance(frame, dict), frame
            if frame["type"] == kind:
                return frame

    def take(self, data: bytes) -> None:
        """
        Read what came on the stream.
        """
        self.socket.receive_data(data)
        for event in self.socket.events():
            if isinstance(event, TextMessage):
                self.frames.put_nowait(json.loads(event.data))
            elif isinstance(event, CloseConnection):
                self.frames.put_nowait(event.code)


@attrs.define
class Http2:
    """
    A connection that carries any number of WebSockets.
    """

    address: str
    writer: asyncio.StreamWriter
    connection: H2Connection
    may_connect: asyncio.Event = attrs.field(factory=asyncio.Event)
    """Set once the server has said that it takes extended CONNECT (RFC 8441, section 3)."""
    streams: dict[int, Stream] = attrs.field(factory=dict[int, Stream])

    async def open(self, user: str | None, *headers: tuple[str, str]) -> tuple[Stream, dict[str, str]]:
        """
        Ask for a WebSocket as *user*; return its stream and what was answered.
        """
        async with asyncio.timeout(SECONDS):
            await self.may_connect.wait()
            stream = Stream(self.connection.get_next_available_stream_id())
            self.streams[stream.number] = stream
            bearer = [] if user is None else [("authorization", f"Bearer {user}")]
            head = [
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/ws"),
                (":authority", self.address),
                ("sec-websocket-version", "13"),
                ("sec-websocket-protocol", "ws-isolation.v1"),
            ]
            self.connection.send_headers(stream.number, [*head, *bearer, *headers])
            self.flush()
            return stream, await stream.answered

    def send(self, stream: Stream, **message: Any) -> None:
        """
        Send a message on a stream.
        """
        self.connection.send_data(stream.number, stream.socket.send(TextMessage(json.dumps(message))))
        self.flush()

    def reset(self, stream: Stream) -> None:
        """
        Break one stream off: for the others nothing happens.
        """
        self.connection.reset_stream(stream.number)
        self.flush()

    def flush(self) -> None:
        """
        Write what the protocol wants to say.
        """
        self.writer.write(self.connection.data_to_send())

    async def read(self, reader: asyncio.StreamReader) -> None:
        """
        Read until the connection ends.
        """
        while data := await reader.read(65_536):
            for event in self.connection.receive_data(data):
                self._take(event)
            self.flush()

    def _take(self, event: object) -> None:
        if isinstance(event, RemoteSettingsChanged):
            if SettingCodes.ENABLE_CONNECT_PROTOCOL in event.changed_settings:
                self.may_connect.set()
        elif isinstance(event, ResponseReceived):
            head = {_text(name): _text(value) for name, value in event.headers or ()}
            self.streams[event.stream_id or 0].answered.set_result(head)
        elif isinstance(event, DataReceived):
            self.streams[event.stream_id or 0].take(event.data or b"")
            self.connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        elif isinstance(event, StreamEnded | StreamReset):
            self.streams[event.stream_id or 0].ended = True


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


@asynccontextmanager
async def running_hypercorn(app: Any) -> AsyncGenerator[str]:
    """
    Serve *app* with hypercorn until the block is left; give ``host:port``.
    """
    over = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = Config()
        config.bind = [f"fd://{listener.fileno()}"]
        config.accesslog = config.errorlog = None
        serving = asyncio.create_task(serve(app, config, shutdown_trigger=partial(over.wait)))
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            async with asyncio.timeout(SECONDS):
                await serving
            listener.detach()  # hypercorn has closed the descriptor


@asynccontextmanager
async def http2(address: str) -> AsyncGenerator[Http2]:
    """
    Connect with HTTP/2 known beforehand, and drop the connection with the block.
    """
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    connection = H2Connection(H2Configuration(client_side=True))
    connection.initiate_connection()
    client = Http2(address, writer, connection)
    client.flush()
    reading = asyncio.create_task(client.read(reader))
    try:
        yield client
    finally:
        reading.cancel()
        await asyncio.wait({reading})
        writer.transport.abort()
