"""
What ``ws-isolation demo`` does.
"""

from __future__ import annotations

import asyncio
import socket
import webbrowser
from collections.abc import Callable
from contextlib import closing

from rich.console import Console
from rich.text import Text

from .app import LOOPBACK, create_demo
from .check import check
from .operator import OperatorLog
from .report import print_verdict, show_entry
from .server import Server, address_of, listen

__all__ = ("check_and_report", "serve")


async def check_and_report() -> int:
    """Run the check and print it; return 0 where isolation held, 1 where it did not."""
    verdict = await check()
    print_verdict(Console(), verdict)
    return int(bool(verdict.failures))


def serve(host: str, port: int, /, *, open_browser: bool) -> None:
    """
    Serve the page until Ctrl-C.

    Args:
        host: The address to listen on.
        port: The port; the next free one where it is taken.
        open_browser: Open the page once it is there.

    Raises:
        OSError: It cannot listen there.
    """
    console = Console()
    log = OperatorLog(lambda entry: show_entry(console, entry))
    with closing(listen(host, port)) as bound:
        url = f"http://{address_of(bound)}/"

        def greet() -> None:
            taken = bound.getsockname()[1]
            if port not in (0, taken):
                console.print(f"Port {port} is taken; this is the next free one.")
            console.print(Text.assemble("The demo is at ", (url, "bold underline"), ". Ctrl-C ends it."))
            console.print("[dim]Below: what the operator of this server sees when you try to break it.[/]\n")
            if open_browser:
                webbrowser.open(url)

        # Another address than loopback was asked for on purpose: then any name may lead here.
        demo = create_demo(hosts=LOOPBACK if host in LOOPBACK else ("*",), log=log)
        asyncio.run(_serve(Server(demo, signals=True), bound, greet))
    console.print("\nStopped: every socket was told goodbye (4200) first.")


async def _serve(server: Server, bound: socket.socket, greet: Callable[[], None]) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[bound]), name="demo-server")
        await server.ready.wait()
        greet()
