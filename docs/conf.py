"""
How the documentation is built: ``make docs``. Warnings are errors, and nothing is fetched.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from ws_isolation import __version__

project = "ws_isolation"
author = "The ws_isolation authors"
project_copyright = "The ws_isolation authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns = ["_build", "_ext"]

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "smartquotes"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
python_display_short_literal_types = True

nitpicky = True
nitpick_ignore_regex = [
    # Not documented here, and their own documentation is not fetched: a build needs no network.
    (r"py:.*", r"(_?asyncio|collections|contextlib|datetime|enum|fastapi|logging|msgspec|starlette|types|typing|weakref)\..*"),
    (r"py:.*", r"(UnsetType|datetime|WebSocket|Request|TracebackType|Self|Never|timedelta)"),
    # Names of annotations that stand for something else: limits of event fields, type variables.
    (r"py:.*", r"(.*\.)?_T"),
]

html_theme = "furo"
html_title = f"ws_isolation {release}"
html_theme_options = {"source_directory": "docs/"}
html_show_sourcelink = False
html_copy_source = False
