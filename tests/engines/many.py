"""
Several servers that belong together: a Cluster, and a master with a replica and Sentinels.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

from tests.engines.running import Engine, free_port

SLOTS: Final = 16_384
_SECONDS: Final = 20.0
_OPTIONS: Final = (
    *("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no"),
    *("--repl-diskless-sync-delay", "0"),
)


def wait_until(engine: Engine, command: bytes, wanted: bytes) -> None:
    """
    Ask *engine* until its answer has *wanted* in it.
    """
    end = time.monotonic() + _SECONDS
    while wanted not in (answer := engine.ask(command)):
        assert time.monotonic() < end, answer
        time.sleep(0.02)


def told(engine: Engine, command: bytes) -> None:
    """
    Tell *engine* something that it has to accept.
    """
    answer = engine.ask(command)
    assert answer.startswith(b"+OK"), (command, answer)


@attrs.frozen
class ClusterOfThree:
    """
    Three masters, and a replica of the first.
    """

    masters: tuple[Engine, Engine, Engine]
    replica: Engine

    @property
    def engines(self) -> tuple[Engine, ...]:
        """
        All of them.
        """
        return (*self.masters, self.replica)

    @property
    def url(self) -> str:
        """
        Where it is: two of the nodes, one of them not the first.
        """
        return f"redis+cluster://127.0.0.1:{self.masters[2].port},127.0.0.1:{self.masters[1].port}"

    def name(self, engine: Engine) -> bytes:
        """
        Return what the Cluster calls *engine*.
        """
        return engine.ask(b"CLUSTER MYID").split(b"\r\n")[1]

    def move(self, slot: int, source: Engine, target: Engine) -> None:
        """
        Move a slot with all that is in it, key by key, as the tools do.
        """
        told(target, b"CLUSTER SETSLOT %d IMPORTING %b" % (slot, self.name(source)))
        told(source, b"CLUSTER SETSLOT %d MIGRATING %b" % (slot, self.name(target)))
        while keys := self.keys(slot, source):
            for key in keys:
                answer = source.ask(b"MIGRATE 127.0.0.1 %d %b 0 5000" % (target.port, key))
                assert answer[:1] == b"+", answer
        for engine in self.masters:
            told(engine, b"CLUSTER SETSLOT %d NODE %b" % (slot, self.name(target)))

    @staticmethod
    def keys(slot: int, engine: Engine) -> list[bytes]:
        """
        Return some keys of *slot*.
        """
        return engine.ask(b"CLUSTER GETKEYSINSLOT %d 100" % slot).split(b"\r\n")[2::2]


@contextmanager
def cluster(folder: Path, kind: str) -> Generator[ClusterOfThree]:
    """
    Run one until the block is left, whatever comes of its start.
    """
    made: list[Engine] = []
    # The bus has a port of its own: the usual one, 10,000 above, need not be free, nor be a port at all.
    buses = [free_port() for _ in range(4)]
    try:
        for number, bus in enumerate(buses):
            (folder / str(number)).mkdir()
            made.append(Engine(folder / str(number), kind, options=(*_OPTIONS, "--cluster-port", str(bus))))
            made[-1].start()
        one, two, three, replica = made
        for number, engine in enumerate((one, two, three)):
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            told(engine, b"CLUSTER ADDSLOTSRANGE %d %d" % (first, last))
        for engine in (two, three, replica):
            told(engine, b"CLUSTER MEET 127.0.0.1 %d %d" % (one.port, buses[0]))
        for engine in made:
            wait_until(engine, b"CLUSTER INFO", b"cluster_known_nodes:4")
            wait_until(engine, b"CLUSTER INFO", b"cluster_slots_ok:16384")
            wait_until(engine, b"CLUSTER INFO", b"cluster_state:ok")
        found = ClusterOfThree((one, two, three), replica)
        wait_until(replica, b"CLUSTER NODES", found.name(one))
        told(replica, b"CLUSTER REPLICATE %b" % found.name(one))
        wait_until(replica, b"INFO replication", b"master_link_status:up")
        yield found
    finally:
        for engine in made:
            engine.stop()


@attrs.frozen
class Watched:
    """
    A master and its replica, and Sentinels that know them.
    """

    master: Engine
    replica: Engine
    sentinels: tuple[Engine, ...]

    @property
    def url(self) -> str:
        """
        Where it is.
        """
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{hosts}/main/0"


@contextmanager
def watched(folder: Path, kind: str) -> Generator[Watched]:
    """
    Run a master, a replica and three Sentinels until the block is left.
    """
    made: list[Engine] = []

    def engine(name: str, *options: str, sentinel: bool = False) -> Engine:
        (folder / name).mkdir()
        made.append(Engine(folder / name, kind, options=options, sentinel=sentinel))
        return made[-1]

    try:
        master = engine("master", "--repl-diskless-sync-delay", "0")
        master.start()
        replica = engine("replica", "--replicaof", "127.0.0.1", str(master.port))
        replica.start()
        wait_until(replica, b"INFO replication", b"master_link_status:up")
        sentinels = tuple(engine(f"sentinel{number}", sentinel=True) for number in range(3))
        for one in sentinels:
            one.start()
            told(one, b"SENTINEL MONITOR main 127.0.0.1 %d 2" % master.port)
            told(one, b"SENTINEL SET main down-after-milliseconds 700 failover-timeout 3000")
        for one in sentinels:
            wait_until(one, b"SENTINEL MASTER main", b"num-other-sentinels\r\n$1\r\n2")
            wait_until(one, b"SENTINEL MASTER main", b"num-slaves\r\n$1\r\n1")
        yield Watched(master, replica, sentinels)
    finally:
        for one in made:
            one.stop()
