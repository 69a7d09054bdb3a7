"""
The command line: ``ws-isolation``.

Rule: what an extra brings is imported where it is used, so that an installation
without extras answers with the command that installs them, not with a traceback.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ._version import __version__
from .errors import MissingExtraError

if TYPE_CHECKING:
    import click

__all__ = ("command", "main")

_MISSING: Final = "the command line needs click and rich. Install them with: pip install 'ws-isolation[demo]'"


def main(arguments: Sequence[str] | None = None, /) -> int:
    """
    Run ``ws-isolation`` and leave with its exit code.

    Args:
        arguments: Those of the process where None.

    Returns:
        1 where an extra is missing; standard error says which. Everything else
        leaves with ``SystemExit``, as click has it.
    """
    try:
        return int(command().main(args=None if arguments is None else list(arguments), prog_name="ws-isolation"))
    except MissingExtraError as error:
        print(f"ws-isolation: {error}", file=sys.stderr)
        return 1


def command() -> click.Group:
    """
    Return the command with its subcommands.

    Raises:
        MissingExtraError: click is not installed.
    """
    try:
        import click  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise MissingExtraError(_MISSING) from error

    @click.group(context_settings={"help_option_names": ["-h", "--help"]})
    @click.version_option(__version__, prog_name="ws-isolation")
    def ws_isolation() -> None:
        """Deliver each event to the WebSockets of the user it belongs to, and to nobody else's."""

    @ws_isolation.command()
    @click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
    @click.option(
        "--port",
        default=8765,
        show_default=True,
        type=click.IntRange(0, 65535),
        help="Port; the next free one where it is taken, any free one for 0.",
    )
    @click.option("--open/--no-open", "open_browser", default=False, help="Open the page in the browser.")
    @click.option("--check", is_flag=True, help="No browser: real clients, one table, exit code 0 or 1.")
    def demo(*, host: str, port: int, open_browser: bool, check: bool) -> None:
        """
        Watch isolation hold, and try to break it.

        Serves a page with two users side by side: their agents run, and buttons
        try to make one see the other's events. Ctrl-C ends it.
        """
        from .demo.command import check_and_report, serve  # noqa: PLC0415  # the extra "demo"

        if check:
            raise SystemExit(asyncio.run(check_and_report()))
        try:
            serve(host, port, open_browser=open_browser)
        except OSError as error:
            msg = f"cannot listen on {host} port {port}: {error.strerror or error}"
            raise click.ClickException(msg) from error

    return ws_isolation
