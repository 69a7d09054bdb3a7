"""
Links inside the project lead somewhere.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT

FILES = (*PAGES, *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")))

_LINK = re.compile(r"\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"^(`{3,}).*?^\1[ ]*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_FOREIGN = ("https://", "http://", "mailto:")


def anchors(path: Path, /) -> set[str]:
    """
    Return what a link may name behind ``#`` in a page: headings as slugs, and explicit targets.
    """
    text = _CODE.sub(lambda match: match[0].strip("`") if "\n" not in match[0] else "", path.read_text("utf-8"))
    headings: list[str] = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^\((.+)\)=$", text, re.MULTILINE))


def broken(path: Path, text: str, /) -> list[str]:
    """
    Return the targets of links in *text*, which stands at *path*, that lead nowhere.
    """
    found: list[str] = []
    for match in _LINK.finditer(_CODE.sub("", text)):
        file, _, anchor = match["target"].partition("#")
        target = path.parent / file if file else path
        if match["target"].startswith(_FOREIGN):
            continue
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            found.append(match["target"])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links(path: Path) -> None:
    """
    Each link to a file of the project finds the file, and the heading in it.
    """
    assert [] == broken(path, path.read_text("utf-8"))


def test_broken_links_are_seen() -> None:
    """
    A missing file and a missing heading are noticed; links to other sites and code are let be.
    """
    text = "[a](nowhere.md) [b](README.md#no-such-heading) [c](README.md#events) [d](https://e.example) `[e](f.md)`"

    assert ["nowhere.md", "README.md#no-such-heading"] == broken(ROOT / "README.md", text)
