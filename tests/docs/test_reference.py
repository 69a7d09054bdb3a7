"""
The generated tables are complete, and their examples are what the library really sends.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, get_args

import msgspec
import pytest

from tests.docs.blocks import ROOT, blocks
from ws_isolation import Settings, closing, errors, events, lifecycle
from ws_isolation.frames import Frame
from ws_isolation.session_core import TRANSITIONS, State


@pytest.fixture(name="tables", scope="module")
def _tables() -> Iterator[ModuleType]:
    """
    Import the module that reads the tables from the code, as the documentation's build does.
    """
    folder = str(ROOT / "docs" / "_ext")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("tables")
    finally:
        sys.path.remove(folder)


def rows(text: str, /) -> list[str]:
    """
    Return the first cell of each row of Markdown tables, without headings.
    """
    return re.findall(r"^\| (?!---)([^|]+?) \|.*\n(?!\| ---)", text, re.MULTILINE)


def test_close_codes(tables: ModuleType) -> None:
    """
    Each code of the registry is in the table once, below what the client does.
    """
    numbers = [int(number) for number in re.findall(r"\}(\d{4}) \|", tables.close_codes())]

    assert sorted(closing.CODES) == sorted(numbers)


def test_settings(tables: ModuleType) -> None:
    """
    Each setting is in the table once, with a text.
    """
    text: str = tables.settings_table()

    assert [f"`{name}`" for name in inspect.signature(Settings).parameters] == rows(text)
    assert "|  |\n" not in text


def test_errors(tables: ModuleType) -> None:
    """
    Each exception is in the tree, in the table and among the details, and the tree is that of the module's docstring.
    """
    names = [name for name in errors.__all__ if name[0].isupper()]
    drawn = re.sub(r"^ {4}", "", (errors.__doc__ or "").partition("text\n\n")[2], flags=re.MULTILINE)

    assert sorted(names) == sorted(re.findall(r"errors\.(\w+)`", tables.error_table()))
    assert sorted(names) == sorted(re.findall(r"errors\.(\w+)\(", tables.error_details()))
    assert drawn.startswith(tables.error_tree().removeprefix("```text\n").removesuffix("```\n"))


def test_transitions(tables: ModuleType) -> None:
    """
    Each input has a row, with what happens in each state.
    """
    text: str = tables.transitions()

    assert len({kind for _, kind in TRANSITIONS}) == len(rows(text))
    assert all(f"in {state.value}" in text for state in State)


def test_each_event_has_examples(tables: ModuleType) -> None:
    """
    Each event class has a section with each of its fields, and an example for each class of delivery.
    """
    text: str = tables.event_reference()

    assert list(events.EVENT_CLASSES) == list(tables.EVENTS)
    for name, kind in events.EVENT_CLASSES.items():
        section = text.partition(f"\n## `{name}`\n")[2].partition("\n## `")[0]
        for field in inspect.signature(kind).parameters:
            if field not in {"run_id", "thread_id", "causation_id", "metadata"}:
                assert f"| `{field}` |" in section or f"| **`{field}`** |" in section
        assert "```json" in section
        assert "|  |\n" not in section


def test_examples_validate(tables: ModuleType) -> None:
    """
    The example of each event decodes into its class by the same declarations, and comes out as it went in.
    """
    for name, kind in events.EVENT_CLASSES.items():
        for event in tables.EVENTS[name]:
            frame: dict[str, Any] = json.loads(tables.sealed(event).text)
            beside = {key: frame[key] for key in ("run_id", "thread_id", "parent_run_id", "synthetic") if key in frame}
            decoded = msgspec.convert({**frame["data"], **beside}, kind)

            assert name == frame["type"]
            assert frame == json.loads(tables.sealed(decoded).text)


def test_rules() -> None:
    """
    The rules on the page are those that the library refuses by.
    """
    page = (ROOT / "docs" / "reference" / "events.md").read_text("utf-8")
    checked = set(re.findall(r'"(L\d\d)"', inspect.getsource(lifecycle)))

    assert sorted(checked) == re.findall(r"^\| (L\d\d) \|", page, re.MULTILINE)


def test_frames(tables: ModuleType) -> None:
    """
    Each control frame of the server has an example.
    """
    assert set(get_args(Frame)) == {type(frame) for frame in tables.FRAMES}


def test_pages_use_what_there_is(tables: ModuleType) -> None:
    """
    The pages ask for generated parts that exist, and each part is asked for.
    """
    asked = {
        block.language.removeprefix("{generated} ")
        for page in sorted((ROOT / "docs").rglob("*.md"))
        for block in blocks(page)
        if block.language.startswith("{generated}")
    }

    assert set(tables.GENERATED) == asked
