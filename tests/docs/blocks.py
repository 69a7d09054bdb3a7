"""
The code blocks of a page, of a docstring, and how a block is run.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import textwrap
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import attrs

ROOT: Final = Path(__file__).parents[2]
"""The checkout, or the unpacked source distribution."""

PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
"""Everything that readers read."""

_FENCE: Final = re.compile(
    r"^(?P<fence>`{3,})(?P<info>[^`\n]*)\n(?P<options>(?::[a-z-]+:[^\n]*\n)*)(?P<body>.*?)^(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_OPTIONS: Final = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

Namespace = dict[str, Any]


@attrs.frozen
class Block:
    """
    One fenced block: ``language`` is what stands behind the fence, ``file`` its caption.
    """

    page: Path
    line: int
    language: str
    file: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, /) -> Iterator[Block]:
    """
    Yield the fenced blocks of *page*, in order.
    """
    text = page.read_text("utf-8")
    for match in _FENCE.finditer(text):
        language = match["info"].strip()
        caption = re.search(r"^:caption: (.+)$", match["options"], re.MULTILINE)
        if language.startswith("{code-block}"):
            language = language.removeprefix("{code-block}").strip()
        line = text.count("\n", 0, match.start("body")) + 1
        yield Block(page, line, language, caption[1] if caption else "", match["body"])


def docstring_blocks(path: Path, /) -> Iterator[Block]:
    """
    Yield the Python blocks and interactive examples in the docstrings of a module, as blocks.
    """
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        doc = ast.get_docstring(node) or ""
        line = 1 if isinstance(node, ast.Module) else node.lineno
        if ">>>" in doc:
            yield Block(path, line, "pycon", "", doc)
        for match in re.finditer(r"^( *)\.\. code-block:: python\n\n((?:\1    .*\n|\n)+)", doc + "\n", re.MULTILINE):
            yield Block(path, line, "python", "", textwrap.dedent(match[2]))


async def run(block: Block, namespace: Namespace, /) -> None:
    """
    Run *block* in *namespace*, then each ``test_`` function without parameters that it defines.
    """
    if block.language == "pycon":
        _run_examples(block, namespace)
        return
    known = dict(namespace)
    await _await(_evaluated("\n" * (block.line - 1) + block.text, str(block.page), namespace))
    for name, value in list(namespace.items()):
        new = value is not known.get(name)
        if new and name.startswith("test_") and inspect.isfunction(value) and not inspect.signature(value).parameters:
            await _await(value())


def _evaluated(source: str, path: str, namespace: Namespace) -> object:
    code = compile(source, path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result: object = eval(code, namespace)  # noqa: S307  # our own documentation
    return result


async def _await(result: object) -> None:
    if isinstance(result, Coroutine):
        await result


def _run_examples(block: Block, namespace: Namespace) -> None:
    parser = doctest.DocTestParser()
    test = parser.get_doctest(block.text, {}, str(block), str(block.page), block.line - 1)
    test.globs = namespace
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=_OPTIONS).run(test, out=said.append, clear_globs=False)
    assert 0 == result.failed, "".join(said)
    assert result.attempted
