"""
Runs a soak: sends at a set rate from everywhere, does one thing after another to the processes, and judges.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from tests.soak.checker import Ledger, Verdict, check
from tests.soak.control import Lost, Refused
from tests.soak.crowd import LAST
from tests.soak.fleet import Fleet, fleet

ALL: Final = ("kill", "engine", "roll", "failover", "kill", "empty")
"""What is done, in this order, again and again."""


@attrs.frozen(kw_only=True)
class Plan:
    """
    How large a soak is.
    """

    sessions: int = 2_000
    per_user: int = 2
    seconds: float = 600.0
    """The list of faults begins anew until so much time has passed."""
    rate: float = 200.0
    """Sends per second, over all users."""
    pause: float = 8.0
    """Seconds between two faults."""
    crowds: int = 2
    faults: tuple[str, ...] = ALL
    seed: int = 1
    broken: str = ""

    @property
    def users(self) -> list[str]:
        """
        All users, as the crowds name them.
        """
        return [f"user-{number}" for number in range(self.sessions // self.per_user)]


@attrs.define
class Sender:
    """
    Sends to users from any process, one event after the other to each.
    """

    fleet: Fleet
    plan: Plan
    ledger: Ledger = attrs.field(factory=Ledger)
    _numbers: dict[str, int] = attrs.field(factory=dict[str, int])
    _busy: set[str] = attrs.field(factory=set[str])
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set["asyncio.Task[None]"])

    async def run(self, over: asyncio.Event) -> None:
        """
        Send at the rate until *over*.
        """
        rng, users = random.Random(self.plan.seed), self.plan.users
        due = time.monotonic()
        while not over.is_set():
            due = max(due + 1 / self.plan.rate, time.monotonic() - 0.5)  # what was missed is not made up for
            user = rng.choice(users)
            if user not in self._busy:
                number = self._numbers[user] = self._numbers.get(user, -1) + 1
                task = asyncio.create_task(self._one(user, number, rng))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.gather(*self._tasks)

    async def _one(self, user: str, number: int, rng: random.Random) -> None:
        self._busy.add(user)
        try:
            await self.send(user, number, rng)
        finally:
            self._busy.discard(user)

    async def send(self, user: str, number: Any, rng: random.Random) -> bool:
        """
        Send one event from a process that is drawn; tell whether it was accepted.
        """
        posts = [post for post in self.fleet.hub.posts if not post.is_leaving]
        self.ledger.begun(user, number, time.monotonic())
        try:
            _, event_id = await rng.choice(posts).ask(user=user, value=[user, number])
        except Refused as error:
            self.ledger.refused[str(error)] += 1
        except Lost:
            self.ledger.refused["process died"] += 1
        else:
            self.ledger.taken(user, number, event_id)
            return True
        return False

    async def last(self) -> None:
        """
        Send each user one more event that has to be accepted.
        """
        rng, room = random.Random(self.plan.seed), asyncio.Semaphore(50)

        async def until_taken(user: str) -> None:
            async with room:
                for _ in range(10):
                    if await self.send(user, LAST, rng):
                        return
                raise AssertionError(f"nothing more can be sent to {user}")

        await asyncio.gather(*(until_taken(user) for user in self.plan.users))


@attrs.frozen
class Outcome:
    """
    What came of a soak.
    """

    verdict: Verdict
    ledger: Ledger
    faults: list[str]
    complaints: list[str]
    drains: list[float]

    @property
    def bad(self) -> list[str]:
        """
        Whatever broke a promise.
        """
        return [*self.verdict.bad, *self.complaints]

    def lines(self) -> list[str]:
        """
        Return it as text.
        """
        accepted = sum(map(len, self.ledger.accepted.values()))
        return [
            f"{'done':12}{', '.join(self.faults)}",
            f"{'drains':12}{', '.join(f'{seconds:.1f} s' for seconds in self.drains)}",
            f"{'accepted':12}{accepted}",
            f"{'refused':12}{dict(self.ledger.refused)}",
            *self.verdict.lines(),
            *(f"{'LOG':12}{line}" for line in self.complaints[:20]),
        ]


async def soak(plan: Plan, folder: Path) -> Outcome:
    """
    Run one.
    """
    async with fleet(folder, broken=plan.broken) as made:
        crowds, files = await _crowds(made, plan, folder)
        sender, over = Sender(made, plan), asyncio.Event()
        sending = asyncio.create_task(sender.run(over))
        try:
            await _faults(made, plan)
        finally:
            over.set()
            await sending
        await sender.last()
        await asyncio.gather(*(asyncio.to_thread(_ended, crowd) for crowd in crowds))
        said = [client for file in files for client in json.loads(file.read_text("utf-8"))]
    verdict = check(said, sender.ledger, made.faults)
    done = [f"{fault.kind} {fault.ended - fault.began:.1f} s" for fault in made.faults]
    return Outcome(verdict, sender.ledger, done, made.complaints(), made.drains)


async def _crowds(made: Fleet, plan: Plan, folder: Path) -> tuple[list[subprocess.Popen[bytes]], list[Path]]:
    share = plan.sessions // plan.crowds
    files = [folder / f"crowd-{number}.json" for number in range(plan.crowds)]
    crowds = [
        made.add("tests.soak.crowd", made.address, str(file), str(share * number), str(share), str(plan.per_user))
        for number, file in enumerate(files)
    ]
    for crowd in crowds:
        assert crowd.stdout is not None
        async with asyncio.timeout(120):
            assert await asyncio.to_thread(crowd.stdout.readline) == b"ready\n", "a crowd could not connect"
    return crowds, files


def _ended(crowd: subprocess.Popen[bytes]) -> None:
    crowd.communicate(b"over\n", timeout=180)
    assert crowd.returncode == 0, "a crowd failed"


async def _faults(made: Fleet, plan: Plan) -> None:
    end = time.monotonic() + plan.seconds
    todo: Sequence[str] = plan.faults
    while True:
        for kind in todo:
            await asyncio.sleep(plan.pause)
            await _do(made, kind)
        if time.monotonic() >= end:
            break
    await asyncio.sleep(plan.pause)


async def _do(made: Fleet, kind: str) -> None:
    match kind:
        case "kill":
            await made.kill_worker()
        case "roll":
            await made.roll()
        case "engine":
            await made.restart_engine()
        case "empty":
            await made.restart_engine(empty=True)
        case _:
            await made.fail_over()
