"""
What the demo prints: the check's two tables, and the operator's log line by line.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .attacks import Outcome
from .check import UserRow, Verdict
from .operator import Entry

__all__ = ("print_verdict", "show_entry")


def print_verdict(console: Console, verdict: Verdict, /) -> None:
    """Print both tables and the verdict."""
    console.print(_users(verdict.users))
    console.print()
    console.print(_attacks(verdict.attacks))
    console.print()
    failures = verdict.failures
    if failures:
        console.print(Text("Isolation did NOT hold:", "bold red"))
        for failure in failures:
            console.print(Text(f"  {failure}", "red"))
        return
    sockets = sum(row.tabs for row in verdict.users)
    received = sum(row.received for row in verdict.users)
    console.print(
        Text.assemble(
            ("Isolation held: ", "bold green"),
            f"{received:,} events on {sockets} sockets, {verdict.at_once} agents at once, 0 foreign, 0 missing, ",
            f"{len(verdict.attacks)} attacks refused, in {verdict.seconds:.1f} s.",
        )
    )


def show_entry(console: Console, entry: Entry, /) -> None:
    """Print one record of the operator's log."""
    style = "yellow" if entry.level == "WARNING" else "bold red"
    line = Text.assemble((f"{entry.level:<8} ", style), entry.line)
    if entry.error:
        line.append(f"\n         {entry.error}: {entry.message}", "dim")
    console.print(line, soft_wrap=True)


def _users(rows: tuple[UserRow, ...]) -> Table:
    table = Table(title="Each user's events, and nobody else's", title_justify="left")
    table.add_column("user")
    for name in ("tabs", "sent", "received", "foreign"):
        table.add_column(name, justify="right")
    table.add_column("closed with")
    for row in rows:
        table.add_row(
            row.user_id,
            str(row.tabs),
            f"{row.sent:,}",
            Text(f"{row.received:,}", "green" if row.received == row.sent * row.tabs else "bold red"),
            Text(str(row.foreign), "bold red" if row.foreign else "green"),
            ", ".join(f"{close} x {count}" for close, count in row.closes.items()),
        )
    return table


def _attacks(outcomes: tuple[Outcome, ...]) -> Table:
    table = Table(title="What Mallory tried meanwhile", title_justify="left", show_lines=True)
    table.add_column("attempt")
    table.add_column("refused")
    table.add_column("close", justify="right")
    table.add_column("error, and what it says to do", overflow="fold")
    for outcome in outcomes:
        # Of the whole message the last clause: what to do. Its beginning names two types with their files.
        advice = outcome.message.rsplit(": ", 1)[-1]
        table.add_row(
            outcome.title,
            Text("yes", "green") if outcome.refused else Text("NO", "bold red"),
            "-" if outcome.close_code is None else str(outcome.close_code),
            Text.assemble((outcome.error or "none", "bold"), f"\n{advice}") if outcome.message else "none",
        )
    return table
