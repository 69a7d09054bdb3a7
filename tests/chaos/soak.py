"""
Random cuts while events flow: ``python -m tests.chaos.soak --cuts 10000``.

Prints what came of it, and fails where an event was lost without a word.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from typing import Final

import attrs

from tests.chaos.client import ResumingClient
from tests.chaos.proxy import Fault, Kind, chaos
from tests.servers.running import running, until, websocket_app
from ws_isolation import ManagerFactory, Settings, events
from ws_isolation.testing import make_context

CUTS: Final[tuple[Kind, ...]] = ("truncate", "reset", "half_close")
"""Ways in which a connection ends soon. Silent ones cost a heartbeat each; the promises' tests have them."""

SETTINGS: Final = Settings(
    sessions_per_identity=1_000, pending_handshakes=1_000, heartbeat_seconds=1.0, pong_timeout_seconds=2.0
)


@attrs.frozen(kw_only=True)
class Result:
    """
    What came of a number of cuts.
    """

    cuts: int
    events: int
    connects: int
    lost: int
    repeated: int
    replayed: int
    gaps: int
    reasons: dict[str, int]
    wrong: list[str]
    closes: dict[int, int]
    foreign: int

    def lines(self) -> list[str]:
        """
        Return the counts as text.
        """
        names = ("cuts", "connects", "events", "lost", "repeated", "replayed", "gaps", "reasons", "closes", "foreign")
        return [f"{name:9} {getattr(self, name)}" for name in names] + [f"wrong     {text}" for text in self.wrong[:20]]


def cutting(seed: int, number: int) -> tuple[Fault, ...]:
    """
    Draw where connection *number* is cut: within the handshake, the welcome, the replay, or later.
    """
    rng = random.Random(f"{seed}-{number}")
    kind = rng.choice(CUTS)
    if rng.random() < 0.1:
        return (Fault(kind, "up", rng.randrange(350)),)
    return (Fault(kind, "down", int(rng.expovariate(1 / 2_000))),)


async def publish(
    factory: ManagerFactory, user: str, sent: dict[int, str], over: asyncio.Event, seconds: float
) -> None:
    """
    Send one event each *seconds* until *over*, then a last one.
    """
    manager = factory.create_manager(make_context(user))
    number = 0
    done = False
    while not done:
        done = over.is_set()
        delivery = await manager.send(events.Custom(name="soak.event", value=[user, number]))
        sent[delivery.seq] = delivery.event_id
        number += 1
        await asyncio.sleep(0 if done else seconds)


async def soak(cuts: int, *, users: int = 8, seed: int = 1, seconds: float = 0.01) -> Result:
    """
    Cut *cuts* connections of *users* users at random bytes, then let each client catch up.

    Args:
        cuts: Connections that are cut; the ones after them are sound.
        users: Each has one client and a steady flow of events.
        seed: Of cuts and jitter.
        seconds: Between two events of a user.
    """
    factory = ManagerFactory(SETTINGS)
    over = asyncio.Event()
    names = [f"user-{number}" for number in range(users)]
    sent: dict[str, dict[int, str]] = {name: {} for name in names}
    async with running(websocket_app(factory)) as address:
        async with chaos(address, lambda number: cutting(seed, number) if number < cuts else ()) as proxy:
            clients = [ResumingClient(proxy.address, name, seed=seed) for name in names]
            flow = [asyncio.create_task(publish(factory, name, sent[name], over, seconds)) for name in names]
            following = [asyncio.create_task(client.run()) for client in clients]
            while sum(link.ending is not None for link in proxy.links) < cuts:
                assert not any(task.done() for task in (*flow, *following)), "a client or a sender failed"
                await asyncio.sleep(0.05)
            over.set()
            await asyncio.gather(*flow)
            await asyncio.gather(*(client.reach(max(sent[client.user]), seconds=60) for client in clients))
            ended = sum(link.ending is not None for link in proxy.links)
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
        await until(lambda: factory.stats().sessions == 0)
        stats = factory.stats()
    histories = [client.history for client in clients]
    gaps = [gap.reason for history in histories for gap in history.gaps]
    foreign = sum(value[0] != client.user for client in clients for value in client.history.values)
    return Result(
        cuts=ended,
        events=sum(map(len, sent.values())),
        connects=sum(client.connects for client in clients),
        lost=sum(len(client.history.lost(sent[client.user])) for client in clients),
        repeated=sum(history.repeated for history in histories),
        replayed=sum(history.replayed for history in histories),
        gaps=len(gaps),
        reasons={reason: gaps.count(reason) for reason in sorted(set(gaps))},
        wrong=[text for history in histories for text in history.wrong],
        closes=dict(stats.closes),
        foreign=foreign + stats.foreign,
    )


def main() -> int:
    """
    Run as a command; 1 where something was lost, foreign or wrong.
    """
    parser = argparse.ArgumentParser(description="Cut connections at random bytes while events flow.")
    parser.add_argument("--cuts", type=int, default=10_000)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.01, help="between two events of a user")
    given = parser.parse_args()
    result = asyncio.run(soak(given.cuts, users=given.users, seed=given.seed, seconds=given.seconds))
    sys.stdout.write("\n".join([*result.lines(), ""]))
    return int(bool(result.lost or result.foreign or result.wrong))


if __name__ == "__main__":
    sys.exit(main())
