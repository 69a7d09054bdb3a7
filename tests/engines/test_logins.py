"""
Who may speak to the engine, and how: users with few rights, passwords of Sentinels, TLS.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.engines.many import ClusterOfThree, Watched, cluster, told, wait_until, watched
from tests.engines.nodes import KEY, nodes, until
from tests.engines.running import Engine, found
from tests.engines.test_cluster import slot_of_user, user_at
from tests.engines.test_hostile import RIGHTS
from tests.engines.tls import Certified, tls_before
from ws_isolation import errors
from ws_isolation.backplanes.redis import RedisBackplane
from ws_isolation.keys import Identity

pytestmark = pytest.mark.requirement("WS-28")
CLUSTER_RIGHTS: Final = RIGHTS + b" +spublish +ssubscribe +sunsubscribe +cluster|slots +asking"
SENTINEL_RIGHTS: Final = b"-@all +hello +auth +client|setname +sentinel|get-master-addr-by-name"
"""As the documentation has them."""
_NOBODY: Final = Identity(None, "nobody")


@pytest.fixture(params=found())
def three(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfThree]:
    """
    Run a Cluster of each kind.
    """
    with cluster(tmp_path_factory.mktemp("three"), request.param) as it:
        yield it


@pytest.fixture(params=found())
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """
    Run servers and Sentinels of each kind, of which each has a user of its own for the application.
    """
    with watched(tmp_path_factory.mktemp("guarded"), request.param) as it:
        for engine in (it.master, it.replica):
            told(engine, b"ACL SETUSER app on >servers " + RIGHTS)
        for sentinel in it.sentinels:
            told(sentinel, b"ACL SETUSER app on >sentinels " + SENTINEL_RIGHTS)
            told(sentinel, b"ACL SETUSER default resetpass >alone")
        yield it


def with_login(url: str, login: str) -> str:
    """
    Return *url* with user and password.
    """
    return url.replace("://", f"://{login}@")


@pytest.mark.parametrize("login", [("app", "sentinels"), ("default", "alone")])
async def test_sentinels_with_a_password(guarded: Watched, login: tuple[str, str]) -> None:
    """
    Sentinels are logged in to with what is theirs, the servers with what is in the url.
    """
    async with nodes(with_login(guarded.url, "app:servers"), sentinel_login=login) as (one, two):
        client = await two.connect()
        await one.send(1)
        await until(lambda: client.values == [1])

        assert one.plane.health().is_up
        assert "sentinels" not in repr(one.plane)


@pytest.mark.parametrize("options", [{}, {"sentinel_login": ("app", "wrong")}, {"sentinel_login": ("nobody", "x")}])
async def test_sentinels_without_the_right_one(guarded: Watched, options: dict[str, Any]) -> None:
    """
    Without, or with a wrong one, nobody says where the master is, and no password is repeated.
    """
    async with nodes(with_login(guarded.url, "app:servers"), 1, send_seconds=0.5, **options) as (one,):
        with pytest.raises(errors.EngineTimeoutError, match="it was not asked"):
            await one.send(1)
        assert "no Sentinel knows a master of this name" == one.plane.health().problem


@pytest.mark.parametrize("login", ["password", ("", "x"), ("x", ""), ("x",), ("x", None), ("a", "b", "c"), 7])
def test_logins_that_are_none(login: Any) -> None:
    """
    What is no pair of user and password is refused in words, without it.
    """
    with pytest.raises(errors.SettingsError, match="sentinel_login") as caught:
        RedisBackplane("redis+sentinel://localhost/main", sentinel_login=login)
    assert "'x'" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://localhost", "redis+cluster://localhost"])
def test_a_login_for_nobody(url: str) -> None:
    """
    A login for Sentinels where there are none is a mistake, and said.
    """
    with pytest.raises(errors.SettingsError, match="names no Sentinels"):
        RedisBackplane(url, sentinel_login=("default", "secret"))


@pytest.mark.requirement("WS-23")
async def test_few_rights_are_enough_on_a_cluster(three: ClusterOfThree) -> None:
    """
    A user with the rights that are documented can do everything on a Cluster, while slots move as well.
    """
    for engine in three.engines:
        told(engine, b"ACL SETUSER app on >secret " + CLUSTER_RIGHTS)
    source, target, _ = three.masters
    user = user_at(three, source)
    async with nodes(with_login(three.url, "app:secret")) as (one, two):
        client = await two.connect(user)
        await one.send(0, user)
        await until(lambda: client.values == [0])
        moved = asyncio.create_task(asyncio.to_thread(three.move, slot_of_user(user), source, target))
        sent = 1
        while not moved.done() or sent < 20:
            await one.send(sent, user)
            sent += 1
        await one.factory.presence(client.session.context)
        await one.factory.revoke(client.session.context)
        await until(lambda: client.transport.closed)
        assert await two.factory.lift(client.session.context)
        denied = [engine.ask(b"ACL LOG") for engine in three.engines]

        assert [*range(sent)] == client.values
        assert [] == [log for log in denied if log.count(b"reason") != log.count(b"\r\nconfig|get\r\n")]
        assert "noeviction" in one.plane.notes()[0]


async def test_a_wrong_login_on_a_cluster(three: ClusterOfThree) -> None:
    """
    With a wrong password nobody answers, and a call ends in time.
    """
    async with nodes(with_login(three.url, "app:wrong"), 1, send_seconds=0.5) as (one,):
        with pytest.raises(errors.EngineTimeoutError):
            await one.send(1)
        assert "no node of the Cluster answers" == one.plane.health().problem


# TLS.


async def test_tls(shared_engine: Engine, tmp_path: Path) -> None:
    """
    Through TLS with a certificate that is trusted everything works, also where the name is another way to say it.
    """
    certified = Certified.make(tmp_path)
    async with tls_before(shared_engine.port, certified.server) as port:
        url = f"rediss://localhost:{port}/5"
        async with nodes(url, ssl=certified.client) as (one, two):
            client = await two.connect("alice-tls")
            await asyncio.gather(*(one.send("x" * 20_000 + str(number), "alice-tls") for number in range(100)))
            await until(lambda: len(client.values) == 100)

            assert ["x" * 20_000 + str(number) for number in range(100)] == client.values
            assert [] == client.gaps
            assert one.plane.health().is_up


@pytest.mark.parametrize("what", ["nobody trusts it", "another name", "no TLS here", "no TLS there"])
async def test_tls_that_is_not_to_be_trusted(shared_engine: Engine, tmp_path: Path, what: str) -> None:
    """
    A certificate that nobody trusts or of another name, and one side without TLS: no connection, and no data is said.
    """
    certified = Certified.make(tmp_path, *(("DNS:localhost",) if what == "another name" else ()))
    context = ssl.create_default_context() if what == "nobody trusts it" else certified.client
    async with tls_before(shared_engine.port, certified.server) as port:
        url = f"rediss://127.0.0.1:{shared_engine.port if what == 'no TLS there' else port}"
        if what == "no TLS here":
            url = f"redis://127.0.0.1:{port}"
        plane = RedisBackplane(url, keys=(KEY,), ssl=context, send_seconds=0.5, answer_seconds=0.4)
        try:
            with pytest.raises(errors.EngineTimeoutError, match="it was not asked"):
                await plane.lift(_NOBODY)
            assert not plane.health().is_up
        finally:
            await plane.close()


async def test_tls_on_a_cluster(three: ClusterOfThree, tmp_path: Path) -> None:
    """
    Every node of a Cluster is spoken to by TLS, those that are found as well as those that are named.
    """
    certified = Certified.make(tmp_path)
    async with AsyncExitStack() as stack:
        ports: list[int] = []
        for engine in three.engines:
            ports.append(await stack.enter_async_context(tls_before(engine.port, certified.server)))
            told(engine, b"CONFIG SET cluster-announce-port %d" % ports[-1])
        for engine in three.engines:
            for port in ports[:3]:
                await asyncio.to_thread(wait_until, engine, b"CLUSTER SLOTS", b":%d\r\n" % port)
        (one, two) = await stack.enter_async_context(
            nodes(f"rediss+cluster://127.0.0.1:{ports[1]}", ssl=certified.client)
        )
        users = [user_at(three, engine) for engine in three.masters]
        clients = [await two.connect(user) for user in users]
        for user in users:
            await one.send(user, user)
        await until(lambda: all(client.values for client in clients))

        assert [[user] for user in users] == [client.values for client in clients]
        assert 3 == one.plane.health().connections
