"""
The directive ``generated``: puts what :mod:`tables` reads from the code into a page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sphinx.util.docutils import SphinxDirective
from tables import GENERATED
from typing_extensions import override

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata


class Generated(SphinxDirective):
    """
    ``{generated} close-codes``: what the function of that name returns, as if it stood in the page.
    """

    required_arguments: ClassVar[int] = 1
    has_content: ClassVar[bool] = False

    @override
    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(GENERATED[self.arguments[0]](), allow_section_headings=True)


def setup(app: Sphinx) -> ExtensionMetadata:
    """
    Register the directive.
    """
    app.add_directive("generated", Generated)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
