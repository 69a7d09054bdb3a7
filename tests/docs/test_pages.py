"""
Every code block of README, documentation and docstrings runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT, Block, Namespace, blocks, docstring_blocks, run
from tests.docs.walking import SCRIPTED, WALKED
from tests.layers import PACKAGE, modules

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
RUN = frozenset({"python", "pycon"})
EXTRA_NAMES = frozenset({"daphne", "fastapi", "gunicorn", "uvicorn", "uvicorn-worker", "websockets"})
"""What the pages tell people to install beside the library."""
ALONE = frozenset({"django.md", "litestar.md"})
"""Pages that configure a framework for the whole process, and so run in one of their own."""


def is_known(block: Block) -> bool:
    """
    Tell whether something checks *block*.
    """
    if block.language.startswith("{"):
        return True  # Sphinx' own; the build checks them
    if block.language == "javascript":
        return block.page.name in SCRIPTED
    return block.language in RUN | {"json", "console"} or (
        block.page.name in WALKED and block.language in {"html", "ini", "text", "yaml"}
    )


# Starlette's test client would like another HTTP library than the one that the application has.
@pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
async def test_blocks_run(page: Path) -> None:
    """
    The Python blocks of a page run from top to bottom, and its examples print what they say.
    """
    if page.name in ALONE:
        await _run_alone(page)
        return
    namespace: Namespace = {"__name__": page.stem}

    for block in blocks(page):
        if block.language in RUN and not block.file:
            await run(block, namespace)


async def _run_alone(page: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-m", "tests.docs.alone", str(page)),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert 0 == process.returncode, said.decode()


@pytest.mark.parametrize("module", sorted(modules()))
async def test_docstrings_run(module: str) -> None:
    """
    The examples in the docstrings of a module run.
    """
    for block in docstring_blocks(modules()[module]):
        await run(block, {"__name__": module})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_block_escapes(page: Path) -> None:
    """
    Every fence on a page is found, and there is no block of a kind that nothing checks.
    """
    fences = re.findall(r"^`{3,}", page.read_text("utf-8"), re.MULTILINE)

    assert len(fences) == 2 * len(list(blocks(page)))
    assert [] == [f"{block}: {block.language or 'no language'}" for block in blocks(page) if not is_known(block)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_json_is_json(page: Path) -> None:
    """
    A JSON block holds one JSON object.
    """
    for block in blocks(page):
        if block.language == "json":
            assert isinstance(json.loads(block.text), dict), str(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_exist(page: Path) -> None:
    """
    Each command that a page tells people to type is one that there is.
    """
    makefile = (ROOT / "Makefile").read_text("utf-8")
    extras = PYPROJECT["project"]["optional-dependencies"]

    for block in blocks(page):
        for line in block.text.splitlines() if block.language == "console" else ():
            if not line.startswith("$ "):
                continue
            words = line.removeprefix("$ ").partition("   #")[0].split()
            match words:
                case ["make", target]:
                    assert re.search(rf"^{target}:", makefile, re.MULTILINE), line
                case ["pip", "install", *names]:
                    for name in names:
                        extra = re.fullmatch(r"'?ws-isolation\[([a-z]+)\]'?", name)
                        assert name in EXTRA_NAMES or (extra and extra[1] in extras), line
                case ["python", "-m", "venv", _] | [".", _]:
                    pass
                case _:
                    assert page.name in WALKED, line


async def test_failures_are_seen() -> None:
    """
    A block that raises, an example that prints something else, and a failing test function fail the page.
    """
    broken = [("python", "1 / 0"), ("pycon", ">>> 1 + 1\n3\n"), ("python", "async def test_x():\n    assert False")]

    for language, text in broken:
        with pytest.raises((ZeroDivisionError, AssertionError)):
            await run(Block(ROOT / "README.md", 1, language, "", text), {})
