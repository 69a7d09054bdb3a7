"""
What became of an event whose publish failed or was cancelled: decided from what the engine holds.

Rule 1: an engine that did not answer may have stored the event or not. Until
that is known nothing else of the identity's runs is stamped, so that no number
of a run is given to two events, and none is left out. Rule 2: who opened a run
was told that it did not begin; if it has, it is ended. Rule 3: repairs only
ever close, and one that was lost is sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .events import AgentCancelled, AgentError, AgentStarted, Problem, ToolCompleted

if TYPE_CHECKING:
    from .events import Event
    from .lifecycle import Lifecycle
    from .stream import Draft, Page

__all__ = ("was_stored", "what_closes", "what_ends")

_TIME: Final = 13
"""Characters of an id that are the moment in which it was made."""
_LONGEST_MS: Final = 60_000
"""How long an event may be on its way to the engine: events are not stored in the order in which they were made."""
_NOT_BEGUN: Final = Problem(title="The run could not begin.", code="not_begun")
_ENDED: Final = Problem(title="The run ended before the tool did.", code="run_ended")
_LOST: Final = Problem(title="The run is over; how it ended is not known.", code="run_lost")


def was_stored(draft: Draft, page: Page, /) -> bool:
    """
    Tell whether *draft* is in a stream, or may be.

    Args:
        draft: What was published, and may be stored or not.
        page: All that the engine keeps of the stream, read after that.

    Returns:
        False only where it is certain: all that came after the event is in the window, and it is not. Where it is too
        old for the window nobody can know; then its number counts as given, since a number that is left out does less
        harm than one that is given twice.
    """
    entries = page.entries
    if any(entry.id == draft.id for entry in entries):
        return True
    before = entries[0].prev if entries else page.top.id
    return before[:_TIME] >= _earlier(draft.id)


def _earlier(event_id: str) -> str:
    """Return how the ids of events begin that were made so long before this one that they were stored before it too."""
    moment = int(event_id[:_TIME].replace("-", ""), 16) - _LONGEST_MS
    digits = f"{max(moment, 1):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def what_closes(event: Event, /, *, is_stored: bool) -> Event | None:
    """
    Return what is to be sent now that it is known whether *event* was stored; None where nothing is.

    Its sender was told that it failed, and goes by that: a run or a text that could not begin is left alone, a tool
    call is closed by its run.
    """
    if is_stored:
        if isinstance(event, AgentStarted):
            return AgentError(run_id=event.run_id, thread_id=event.thread_id, error=_NOT_BEGUN, synthetic=True)
        return None
    if isinstance(event, AgentError | AgentCancelled | ToolCompleted) and event.synthetic is True:
        return event
    return None


def what_ends(lifecycle: Lifecycle, run_id: str, /) -> Event | None:
    """
    Return what is to be sent next for a run that is over and whose end could not be sent; None where it has ended.

    Its open tool calls come first, then an error: what the end was is gone with the run, and a success is not made up.
    """
    thread_id = lifecycle.thread_of(run_id)
    if thread_id is None:
        return None
    for call, name in lifecycle.open_tools(run_id):
        return ToolCompleted(
            run_id=run_id,
            thread_id=thread_id,
            tool_call_id=call,
            tool_name=name,
            status="cancelled",
            error=_ENDED,
            synthetic=True,
        )
    return AgentError(run_id=run_id, thread_id=thread_id, error=_LOST, synthetic=True)
