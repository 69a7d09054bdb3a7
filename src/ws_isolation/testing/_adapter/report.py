"""
What the checks of an adapter found, as a value.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeAlias, final

import attrs

from .description import Difference
from .stage import Stage

Verdict: TypeAlias = Literal["passed", "difference", "failed"]


@final
@attrs.frozen
class Check:
    """One check: what it is about, what must be observed, and how to observe it."""

    name: str
    wanted: str
    observe: Callable[[Stage], Awaitable[str]]


@final
@attrs.frozen(kw_only=True)
class Outcome:
    """
    What one check found.

    Attributes:
        check: Its name.
        verdict: ``passed``; ``difference``: seen otherwise, as the adapter names it; or ``failed``.
        wanted: What should be seen.
        observed: What was seen.
        reason: Why it is otherwise, of a difference; or what is wrong with the difference that was named.
    """

    check: str
    verdict: Verdict
    wanted: str
    observed: str
    reason: str = ""

    def __str__(self) -> str:
        """Say it in one line."""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.check}: wanted {self.wanted!r}, observed {self.observed!r}{reason}"


@final
@attrs.frozen
class AdapterReport:
    """
    What ``check_adapter()`` found.

    Attributes:
        adapter: The name of the adapter on its server.
        outcomes: One for each check, in their order.
    """

    adapter: str
    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The checks that failed."""
        return tuple(outcome for outcome in self.outcomes if outcome.verdict == "failed")


class AdapterCheckError(AssertionError):
    """
    Checks of an adapter failed.

    Attributes:
        report: All that was found.
    """

    def __init__(self, report: AdapterReport) -> None:
        self.report = report
        failed = "\n".join(f"  {outcome}" for outcome in report.failed)
        super().__init__(
            f"check_adapter: {report.adapter}: {len(report.failed)} of {len(report.outcomes)} failed\n{failed}"
        )


def judged(check: Check, observed: str, differences: Mapping[str, Difference], /) -> Outcome:
    """Return what it means that *observed* was seen."""
    named = differences.get(check.name)
    verdict: Verdict = "failed"
    reason = ""
    if named is None:
        verdict = "passed" if observed == check.wanted else "failed"
    elif observed in (named.observed, *named.others):
        verdict, reason = "difference", named.reason
    elif observed == check.wanted:
        reason = "the named difference is gone: remove it"
    else:
        reason = f"the named difference is {named.observed!r}"
    return Outcome(check=check.name, verdict=verdict, wanted=check.wanted, observed=observed, reason=reason)
