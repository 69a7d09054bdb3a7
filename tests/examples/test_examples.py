"""
Each example is started on its server in a process of its own, and used by real clients.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.docs.blocks import ROOT
from tests.docs.walking import LIMIT, server
from tests.layers import PACKAGE
from tests.servers.running import SUBPROTOCOL, Client, client

EXAMPLES = ROOT / "examples"


@asynccontextmanager
async def serving(folder: Path, name: str, *command: str) -> AsyncGenerator[tuple[str, Process]]:
    """
    Serve the example *name* from a copy in *folder*; give ``host:port`` and the process.
    """
    shutil.copytree(EXAMPLES / name, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sqlite3", "__*"))
    for path in folder.glob("*.py"):  # noqa: ASYNC240  # two small files
        path.write_text(path.read_text("utf-8").replace("127.0.0.1:8000", "127.0.0.1:0"), "utf-8")
    async with server(folder, *command) as (port, _, process):
        yield f"127.0.0.1:{port}", process


async def said_goodbye(tab: Client, process: Process) -> bool:
    """
    Tell whether a tab is told to come back when the server gets SIGTERM.
    """
    process.terminate()
    rest = await tab.rest()
    return ("ws.goodbye", 4200, 4200) == (rest.frames[-1]["type"], rest.frames[-1]["code"], rest.code)


def http(address: str, **options: object) -> httpx.AsyncClient:
    """
    Return a client of the example at *address*.
    """
    return httpx.AsyncClient(base_url=f"http://{address}", timeout=LIMIT, **options)  # type: ignore[arg-type]


@pytest.mark.requirement("P1", "P2")
async def test_fastapi(tmp_path: Path) -> None:
    """
    A login gives a token; the token opens a socket as a browser would, and its run and notes reach that user only.
    """
    async with serving(tmp_path, "fastapi", "-m", "uvicorn", "app:app", "--port", "0") as (address, process):
        async with http(address) as web:
            wrong = await web.post("/login", json={"name": "alice", "password": "coffee"})
            nobody = await web.post("/login", json={"name": "eve", "password": "tea"})
            alice = (await web.post("/login", json={"name": "alice", "password": "tea"})).json()["token"]
            bob = (await web.post("/login", json={"name": "bob", "password": "coffee"})).json()["token"]
            assert (401, 401) == (wrong.status_code, nobody.status_code)
            async with client(address, None, subprotocols=(SUBPROTOCOL, "bearer.forged")) as forged:
                assert 4001 == (await forged.rest()).code
            async with (
                client(address, None, subprotocols=(SUBPROTOCOL, f"bearer.{alice}")) as tab,
                client(address, bob) as other,
            ):
                assert 0 < (await tab.until("ws.welcome"))["expires_in_ms"] <= 15 * 60_000
                await tab.send(type="ask", data={"text": "how long"})
                assert "letters" in (await tab.until("agent_completed"))["data"]["output_text"]
                headers = {"Authorization": f"Bearer {bob}"}
                sent = await web.post("/notes", params={"text": "bob's"}, headers=headers)
                assert {"sessions": 1} == sent.json()
                assert "bob's" == (await other.until("custom"))["data"]["value"]
                assert 401 == (await web.post("/notes", params={"text": "x"})).status_code
                await tab.send(type="ws.refresh", credential=alice, scheme="bearer")
                await tab.send(type="ask", data={})
                await tab.until("agent_completed")
                assert await said_goodbye(tab, process)


@pytest.mark.requirement("P1", "P2")
async def test_litestar(tmp_path: Path) -> None:
    """
    A note appears in all tabs of whoever writes it, by HTTP or by socket, and in no other.
    """
    async with serving(tmp_path, "litestar", "-m", "uvicorn", "app:app", "--port", "0") as (address, process):
        async with http(address, headers={"Authorization": "Bearer alice-token"}) as web:
            async with client(address, "alice-token") as tab, client(address, "bob-token") as bob:
                await tab.until("ws.welcome")
                await tab.send(type="add", data={"text": "milk"})
                assert "milk" == (await tab.until("custom"))["data"]["value"]
                assert 201 == (await web.post("/notes", json={"text": "tea"})).status_code
                assert "tea" == (await tab.until("custom"))["data"]["value"]
                assert [{"text": "milk"}, {"text": "tea"}] == (await web.get("/notes")).json()
                await bob.send(type="add", data={"text": "bob's"})
                assert "bob's" == (await bob.until("custom"))["data"]["value"]
                assert await said_goodbye(tab, process)


@pytest.mark.requirement("P1", "P2")
async def test_quart(tmp_path: Path) -> None:
    """
    Quart's session cookie opens the socket; a forged one does not; on SIGTERM hypercorn lets the drain go first.
    """
    async with serving(tmp_path, "quart", "app.py") as (address, process), http(address) as web:
        assert 401 == (await web.post("/notes")).status_code  # hypercorn hangs up where a body was not read
        assert 200 == (await web.post("/login", data={"name": "alice"})).status_code
        origin = {"Origin": f"http://{address}"}
        cookie = {"Cookie": f"session={web.cookies['session']}"}
        async with client(address, None, headers={**origin, "Cookie": "session=forged"}) as forged:
            assert 4001 == (await forged.rest()).code
        async with client(address, None, headers={**origin, **cookie}) as tab:
            await tab.until("ws.welcome")
            await tab.send(type="say", data={"text": "hello"})
            assert {"text": "hello"} == (await tab.until("custom"))["data"]["value"]
            assert {"sessions": 1} == (await web.post("/notes", data={"text": "milk"})).json()
            assert "milk" == (await tab.until("custom"))["data"]["value"]
            assert await said_goodbye(tab, process)


@pytest.fixture(name="project")
async def _project(tmp_path: Path) -> Path:
    """
    Prepare the Django project: its tables, an operator and a user.
    """
    shutil.copytree(
        EXAMPLES / "django", tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sqlite3", "__*")
    )
    users = (
        "from django.contrib.auth.models import User;"
        "User.objects.create_superuser('root', password='root');"
        "User.objects.create_superuser('alice', password='tea')"
    )
    for command in (("migrate", "-v0"), ("shell", "-v0", "-c", users)):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "project.py",
            *command,
            cwd=tmp_path,
            stdout=DEVNULL,
            env={"PYTHONPATH": str(PACKAGE.parent), "PATH": ""},
        )
        assert 0 == await process.wait()
    return tmp_path


async def log_in(web: httpx.AsyncClient, name: str, password: str) -> dict[str, str]:
    """
    Log in at the admin, as a browser does; return the headers of its WebSocket.
    """
    await web.get("/admin/login/")
    form = {"username": name, "password": password, "csrfmiddlewaretoken": web.cookies["csrftoken"]}
    answer = await web.post("/admin/login/", data=form, headers={"Referer": str(web.base_url)})
    assert 302 == answer.status_code
    return {"Cookie": f"sessionid={web.cookies['sessionid']}", "Origin": str(web.base_url).rstrip("/")}


@pytest.mark.timeout(120)  # a database is made, and a server of Twisted started
@pytest.mark.requirement("P1", "P2", "WS-30")
@pytest.mark.parametrize("command", [("daphne", "-p", "0"), ("uvicorn", "--port", "0")], ids=lambda words: words[0])
async def test_django(project: Path, command: tuple[str, ...]) -> None:
    """
    Django's session opens the socket and the view; the admin's action closes all sockets of a user, and only theirs.
    """
    async with (
        serving(project, "django", "-m", *command, "project:application") as (address, process),
        http(address) as web,
        http(address) as operator,
    ):
        async with client(address, None) as nobody:
            assert 4001 == (await nobody.rest()).code
        headers = await log_in(web, "alice", "tea")
        root = await log_in(operator, "root", "root")
        async with client(address, None, headers=headers) as tab, client(address, None, headers=root) as other:
            await tab.until("ws.welcome")
            await other.until("ws.welcome")
            await tab.send(type="say", data={"text": "hello"})
            assert {"by": "alice", "text": "hello"} == (await tab.until("custom"))["data"]["value"]
            note = {"text": "milk", "csrfmiddlewaretoken": web.cookies["csrftoken"]}
            assert {"sessions": 1} == (await web.post("/notes", data=note)).json()
            assert "milk" == (await tab.until("custom"))["data"]["value"]

            page = (await operator.get("/admin/auth/user/")).text
            found = re.search(r'value="(\d+)"[^>]*>(?:(?!</tr>).)*>alice<', page, re.DOTALL)
            assert found
            action = {
                "action": "log_out_everywhere",
                "_selected_action": found[1],
                "csrfmiddlewaretoken": operator.cookies["csrftoken"],
            }
            answer = await operator.post("/admin/auth/user/", data=action)
            assert 302 == answer.status_code
            assert 4010 == (rest := await tab.rest()).frames[-1]["code"]
            assert 4010 == rest.code
            async with client(address, None, headers=headers) as late:
                assert 4001 == (await late.rest()).code  # its session is gone
            assert await said_goodbye(other, process)
