"""
What one stalled reader costs everybody else: p99 with it, divided by p99 without it.

A real server in a process of its own, real clients on loopback, rounds with and
without the stalled reader in turn. The stalled one connects, reads its welcome
and then nothing more, while it is sent the largest share of the bytes.

Run: ``python bench/stalled_reader.py`` (needs the extra ``demo``). Target: at
most 2. Every run checks that no event is missing, doubled or foreign.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import socket
import statistics
import time
from contextlib import closing as closing_socket
from multiprocessing.connection import Connection

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from ws_isolation import Handshake, ManagerFactory, Settings, UserExecutionContext, events
from ws_isolation.adapters.starlette import lifespan, serve
from ws_isolation.frozen import Json

SUBPROTOCOL = "ws-isolation.v1"
STALLED = "stalled"


async def _authenticate(handshake: Handshake) -> UserExecutionContext | None:
    user = handshake.bearer_token
    return None if user is None else UserExecutionContext(user_id=user)


def _serve(ready: Connection) -> None:
    """Run the server until it is terminated."""
    factory = ManagerFactory(Settings(write_seconds=2.0))

    async def socket_endpoint(websocket: WebSocket) -> None:
        await serve(websocket, factory, _authenticate)

    async def publish(request: Request) -> JSONResponse:
        """Send ``events`` to each of ``users`` at ``rate`` events per second altogether; the stalled one on top."""
        wanted = await request.json()
        names = [f"user-{n}" for n in range(wanted["users"])]
        managers = {name: factory.create_manager(UserExecutionContext(user_id=name)) for name in names}
        stalled = factory.create_manager(UserExecutionContext(user_id=STALLED))
        padding = "x" * 5_000
        begun, sent, outcomes = time.monotonic(), 0, {"queued": 0, "refused": 0}
        for index in range(wanted["events"]):
            for name, manager in managers.items():
                value: Json = {"user": name, "n": index, "at": time.monotonic_ns()}
                await manager.send(events.Custom(name="bench.tick", value=value))
                sent += 1
                if wanted["stalled"]:
                    delivery = await stalled.send(events.Custom(name="bench.tick", value=padding))
                    outcomes["queued"] += delivery.sessions
                    outcomes["refused"] += delivery.refused
                pause = begun + sent / wanted["rate"] - time.monotonic()
                if pause > 0:
                    await asyncio.sleep(pause)
        stats = factory.stats()
        return JSONResponse({"closes": stats.closes, "foreign": stats.foreign, "stalled": outcomes})

    app = Starlette(
        routes=[WebSocketRoute("/ws", socket_endpoint), Route("/publish", publish, methods=["POST"])],
        lifespan=lifespan(factory),
    )
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1_024)  # clients that come before the server accepts wait in the backlog
    ready.send(listener.getsockname()[1])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="websockets-sansio"))
    server.run(sockets=[listener])


def _stall(port: int) -> socket.socket:
    """Connect as the stalled user with small buffers, and never read again."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    raw.connect(("127.0.0.1", port))
    raw.sendall(
        (
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}, bearer.{STALLED}\r\n\r\n"
        ).encode("ascii")
    )
    raw.recv(1_024)
    return raw


async def _post(port: int, body: dict[str, object]) -> dict[str, object]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    text = json.dumps(body).encode()
    head = f"POST /publish HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    writer.write(head.encode() + f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode() + text)
    answer = await reader.read()
    writer.close()
    return dict(json.loads(answer.partition(b"\r\n\r\n")[2]))


async def _listen(port: int, user: str, count: int, latencies: list[float], faults: list[str]) -> None:
    async with connect(f"ws://127.0.0.1:{port}/ws", subprotocols=[SUBPROTOCOL, f"bearer.{user}"]) as client:  # type: ignore[list-item]
        expected = 0
        while expected < count:
            frame = json.loads(await client.recv())
            if frame["type"] == "custom":
                value = frame["data"]["value"]
                latencies.append((time.monotonic_ns() - value["at"]) / 1000)
                if value["user"] != user:
                    faults.append(f"foreign: {value['user']} at {user}")
                if value["n"] != expected:
                    faults.append(f"{user}: {value['n']} where {expected} was due")
                expected += 1


async def _round(port: int, wanted: argparse.Namespace, *, stalled: bool) -> float:
    """Return the p99 of one round in microseconds."""
    latencies: list[float] = []
    faults: list[str] = []
    raw = await asyncio.to_thread(_stall, port) if stalled else None
    listeners = [
        asyncio.create_task(_listen(port, f"user-{n}", wanted.events, latencies, faults)) for n in range(wanted.users)
    ]
    await asyncio.sleep(1.0)  # a measurement: every client has its welcome before the clock starts
    body: dict[str, object] = {"users": wanted.users, "events": wanted.events, "rate": wanted.rate, "stalled": stalled}
    outcome = await _post(port, body)
    await asyncio.wait_for(asyncio.gather(*listeners), 60)
    if raw is not None:
        raw.close()
    if faults or outcome["foreign"]:
        message = f"{len(faults)} faults: {faults[:3]}, foreign {outcome['foreign']}"
        raise SystemExit(message)
    latencies.sort()
    p99 = latencies[int(len(latencies) * 0.99)]
    kind = "with   " if stalled else "without"
    print(f"{kind} the stalled reader: p50 {statistics.median(latencies):7.0f} µs  p99 {p99:7.0f} µs  {outcome}")
    return p99


async def _measure(port: int, wanted: argparse.Namespace) -> None:
    ratios: list[float] = []
    for _ in range(wanted.rounds):
        without = await _round(port, wanted, stalled=False)
        ratios.append(await _round(port, wanted, stalled=True) / without)
    print(
        f"p99 ratio with/without: median {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--rate", type=int, default=1_000, help="events per second, all users together")
    parser.add_argument("--rounds", type=int, default=5)
    wanted = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    try:
        with closing_socket(ours):
            asyncio.run(_measure(ours.recv(), wanted))
    finally:
        server.terminate()
        server.join(5)


if __name__ == "__main__":
    main()
