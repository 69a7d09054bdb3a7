"""
How the documentation is built: ``make docs``. Warnings are errors, and nothing is fetched.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
sys.path.insert(0, str(Path(__file__).parents[1]))  # the suite says which test covers what

from ws_isolation import __version__

project = "ws_isolation"
author = "The ws_isolation authors"
project_copyright = "The ws_isolation authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns = ["_build", "_ext", "reference/benchmarks/*.md"]

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "smartquotes"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Our sections hold sentences: what stands before a colon in them is no type.
napoleon_custom_sections = ["Returns", "Warns"]
python_use_unqualified_type_names = True
python_display_short_literal_types = True

nitpicky = True
nitpick_ignore_regex = [
    # Other projects: a build needs no network, so their inventories are not fetched.
    (
        r"py:.*",
        r"(_?asyncio|collections|contextlib|contextvars|datetime|enum|fastapi|logging|msgspec|ssl|starlette|types|typing|weakref|web|websockets)\..*",
    ),
    (
        r"py:.*",
        r"('deflate'|AbstractAsyncContextManager|concurrent\.futures\.Future|Request|Response|Self|TracebackType|UnsetType|WebSocket|datetime)",
    ),
    (r"py:.*", r"(HTTPException|HTTPRouteHandler|HttpResponse|Litestar|WebsocketRouteHandler|quart\.Response)"),
    # Names for other types, which Sphinx takes for classes.
    (
        r"py:class",
        r"(.*\.)?(_[PRTU]|Action|Application|Authenticate|FrozenJson|Handler|Inbound|Json|Listen|ManagerWrapper)",
    ),
    (r"py:class", r"(.*\.)?(Ready|Receive|Scope|Send|Start|StartServer|Verdict)"),
    (r"py:class", r"(.*\.)?Variable|'(passed|difference|failed)'"),
    (r"py:(class|obj)", r"ws_isolation\.router\.(_Plain|_T)"),
    # What the cores take and give: their tables are generated.
    (r"py:class", r"(.*\.)?(Heard|Answered|Ask|Admitted|Denied|Left|Refusal|Ticked|Ended|PeerGone)"),
    # Inner classes that a signature or a sentence names in passing.
    (r"py:.*", r"(.*\.)?(Ack|ErrorFrame|GapFrame|Goodbye|Ping|Pong|Refresh|ResumedFrame|Welcome|seal|shown)"),
    (r"py:.*", r"(.*\.)?(Cursor|Identity|Frame|ErrorFrame|Unservable|Sender|_FakeTimer|_CanSend|MakeManager)"),
]

html_theme = "furo"
html_title = f"ws_isolation {release}"
html_show_sourcelink = False
html_copy_source = False

_kept: dict[str, list[str]] = {}


def _keep(_app: Sphinx, what: str, name: str, _obj: object, _options: object, lines: list[str]) -> None:
    if what in {"attribute", "data", "property"}:
        _kept[name] = list(lines)


def _restore(_app: Sphinx, what: str, name: str, _obj: object, _options: object, lines: list[str]) -> None:
    # Napoleon takes "When it ends: ..." for a type and a text. Before it, and after it, the text is ours.
    if what in {"attribute", "data", "property"}:
        lines[:] = _kept.pop(name)


def setup(app: Sphinx) -> None:
    """
    Keep the docstrings of attributes as they are.
    """
    app.connect("autodoc-process-docstring", _keep, priority=400)
    app.connect("autodoc-process-docstring", _restore, priority=600)
