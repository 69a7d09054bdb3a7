"""
The guard around the application's observer, and the stopwatch.

Rule: an observer that fails is counted, and logged once per hook; it disturbs
nothing. Where there is none, the engine checks for None and calls nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, final

from .errors import AccessError, SettingsError, type_name
from .observing import HOOKS, Observer
from .oplog import report

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from .observing import Outcome, SpanName
    from .typing import Clock

__all__ = ("Guard", "Span", "guarded")

_FAILURES = (Exception, asyncio.CancelledError)
"""A synchronous hook cannot be cancelled: a CancelledError in it is the observer's own."""


def guarded(observer: Observer | None, /) -> Guard | None:
    """
    Return the guard around *observer*, None where there is none.

    Raises:
        SettingsError: Hooks are missing; says which.
    """
    if observer is None:
        return None
    missing = [name for name in HOOKS if not callable(getattr(observer, name, None))]
    if missing:
        msg = (
            f"observer of {type_name(type(observer))} lacks {', '.join(missing)}: "
            "inherit from ws_isolation.observe.Observer, then they do nothing"
        )
        raise SettingsError(msg)
    return Guard(observer)


@final
class Guard(Observer):
    """
    Calls an observer, and survives it. Lives as long as its factory.

    Attributes:
        failures: Calls in which the observer raised.
    """

    __slots__ = ("_failed", "_observer", "failures")

    def __init__(self, observer: Observer, /) -> None:
        self._observer = observer
        self._failed: set[str] = set()
        self.failures: int = 0

    def _note(self, hook: str, error: BaseException) -> None:
        self.failures += 1
        if hook not in self._failed:
            self._failed.add(hook)
            report(logging.ERROR, "the observer failed; from now on this hook is counted only", error=error, hook=hook)

    def session_opened(self) -> None:
        """Same as the observer's, like all below."""
        try:
            self._observer.session_opened()
        except _FAILURES as error:
            self._note("session_opened", error)

    def session_closed(self, code: int | None, /) -> None:
        """Tell it."""
        try:
            self._observer.session_closed(code)
        except _FAILURES as error:
            self._note("session_closed", error)

    def handshake_refused(self, code: int, /) -> None:
        """Tell it."""
        try:
            self._observer.handshake_refused(code)
        except _FAILURES as error:
            self._note("handshake_refused", error)

    def event_published(self, event_type: str, /, *, durable: bool) -> None:
        """Tell it."""
        try:
            self._observer.event_published(event_type, durable=durable)
        except _FAILURES as error:
            self._note("event_published", error)

    def coalesced(self, event_type: str, /) -> None:
        """Tell it."""
        try:
            self._observer.coalesced(event_type)
        except _FAILURES as error:
            self._note("coalesced", error)

    def gap(self, reason: str, sessions: int, /) -> None:
        """Tell it."""
        try:
            self._observer.gap(reason, sessions)
        except _FAILURES as error:
            self._note("gap", error)

    def replayed(self, count: int, /) -> None:
        """Tell it."""
        try:
            self._observer.replayed(count)
        except _FAILURES as error:
            self._note("replayed", error)

    def write_time(self, seconds: float, /) -> None:
        """Tell it."""
        try:
            self._observer.write_time(seconds)
        except _FAILURES as error:
            self._note("write_time", error)

    def foreign(self) -> None:
        """Tell it."""
        try:
            self._observer.foreign()
        except _FAILURES as error:
            self._note("foreign", error)

    def loop_lag(self, seconds: float, /) -> None:
        """Tell it."""
        try:
            self._observer.loop_lag(seconds)
        except _FAILURES as error:
            self._note("loop_lag", error)

    def span_ended(self, name: SpanName, seconds: float, outcome: Outcome, /) -> None:
        """Tell it."""
        try:
            self._observer.span_ended(name, seconds, outcome)
        except _FAILURES as error:
            self._note("span_ended", error)


@final
class Span:
    """
    A stopwatch around a block: ``with Span(observer, clock, "handler"):``. Swallows nothing.

    Attributes:
        is_ok: Whether a block that raises nothing went well.
    """

    __slots__ = ("_began", "_clock", "_name", "_observer", "is_ok")

    def __init__(self, observer: Observer | None, clock: Clock, name: SpanName, /) -> None:
        self._observer = observer
        self._clock = clock
        self._name: SpanName = name
        self._began = 0.0
        self.is_ok: bool = True

    def __enter__(self) -> Self:
        """Start."""
        if self._observer is not None:
            self._began = self._clock.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, and tell how long it took and how it ended."""
        if self._observer is not None:
            seconds = self._clock.monotonic() - self._began
            self._observer.span_ended(self._name, seconds, self._outcome(error))

    def _outcome(self, error: BaseException | None) -> Outcome:
        if error is None:
            return "ok" if self.is_ok else "failed"
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            return "cancelled"
        return "refused" if isinstance(error, AccessError) else "failed"
