"""
What the README says in its first screen is short, true and runs.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import websockets

from tests.docs.blocks import ROOT, Block, blocks
from tests.servers.running import running
from ws_isolation.events import EVENT_CLASSES

README = ROOT / "README.md"
FIRST_SCREEN = 40
EXAMPLE_LINES = 15


def example() -> Block:
    """
    Return the README's first block.
    """
    return next(blocks(README))


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[ModuleType]:
    """
    Import the example as a module, as a server does.
    """
    path = tmp_path / "readme_app.py"
    path.write_text(example().text, "utf-8")
    spec = importlib.util.spec_from_file_location("readme_app", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["readme_app"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["readme_app"]


def test_first_screen() -> None:
    """
    Name, one sentence, five benefits, the example and the commands stand in the first 40 lines.
    """
    lines = README.read_text("utf-8").splitlines()
    screen = "\n".join(lines[:FIRST_SCREEN])
    code = example()

    assert "# ws_isolation" == lines[0]
    assert 1 == lines[2].count(".")
    assert 5 == len(re.findall(r"^- \*\*", screen, re.MULTILINE))
    assert "python" == code.language
    assert len(code.text.splitlines()) <= EXAMPLE_LINES
    assert code.text in screen
    for command in ("pip install 'ws-isolation[starlette]'", "make demo", "make test"):
        assert f"$ {command}" in screen


async def test_example_answers(app: ModuleType) -> None:
    """
    The example, on a real server: a client with the credential gets its run, from greeting to answer.
    """
    async with running(app.app) as host:
        url, headers = f"ws://{host}/ws", {"Authorization": "Bearer secret"}
        async with websockets.connect(url, additional_headers=headers) as client:
            await client.send(json.dumps({"type": "ask", "data": {"text": "hello"}}))
            frames = [json.loads(await client.recv()) for _ in range(3)]

    assert ["ws.welcome", "agent_started", "agent_completed"] == [frame["type"] for frame in frames]
    assert "You said hello." == frames[-1]["data"]["output_text"]


async def test_example_refuses(app: ModuleType) -> None:
    """
    The example closes a client without credential as its comment says: goodbye, then 4001.
    """
    async with running(app.app) as host, websockets.connect(f"ws://{host}/ws") as client:
        goodbye = json.loads(await client.recv())
        await client.wait_closed()

    assert ("ws.goodbye", 4001) == (goodbye["type"], goodbye["code"])
    assert (4001, "unauthenticated") == (client.close_code, client.close_reason)


def test_events_table() -> None:
    """
    The README's table names each event once, in the library's order.
    """
    table = README.read_text("utf-8").partition("## Events")[2].partition("\n## ")[0]

    assert list(EVENT_CLASSES) == re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)
