"""
Managers that break one rule each, as hand-written ones do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, TypeAlias

from tests.testing.own_manager import OwnManager, Streams, is_event
from ws_isolation import Delivery, Run, UserExecutionContext, errors
from ws_isolation.events import (
    Event,
    ToolCompleted,
    ToolExecuting,
)
from ws_isolation.keys import Identity
from ws_isolation.testing import make_context

Make: TypeAlias = Callable[[UserExecutionContext, Streams], Any]
"""Makes a manager."""

_NOWHERE: Final = Delivery("019a0000-0000-7000-8000-000000000000", 1, 0)
"""A delivery of something that was not stored."""


class CopiesContext(OwnManager):
    """
    Answers with another context of the same user.
    """

    @property
    def context(self) -> UserExecutionContext:
        """
        A new context each time.
        """
        return self._context.child()


class OneContext(OwnManager):
    """
    Answers with the last context of all managers, or with the one before it.
    """

    def __init__(
        self, context: UserExecutionContext, streams: Streams, *, seen: list[UserExecutionContext], place: int
    ) -> None:
        super().__init__(context, streams)
        self.seen = seen
        self.place = place
        seen.append(context)

    @property
    def context(self) -> UserExecutionContext:
        """
        The context of another manager.
        """
        return self.seen[self.place :][0]


class ReturnsTrue(OwnManager):
    """
    Says that all went well.
    """

    async def send(self, event: Event, /) -> Any:
        """
        Send and return True.
        """
        await super().send(event)
        return True


class RepeatsIds(OwnManager):
    """
    Gives every event the same id.
    """

    def append(self, event: Event) -> Delivery:
        """
        Append *event* and answer with a fixed id.
        """
        return Delivery("same", super().append(event).seq, 0)


class IdsByPlace(OwnManager):
    """
    Takes the place in the stream for an id, so that two users' events have the same.
    """

    def append(self, event: Event) -> Delivery:
        """
        Append *event* and answer with its place as its id.
        """
        seq = super().append(event).seq
        return Delivery(str(seq), seq, 0)


class SkipsPlaces(OwnManager):
    """
    Leaves a hole behind each event.
    """

    def append(self, event: Event) -> Delivery:
        """
        Append *event* and move the top.
        """
        delivery = super().append(event)
        self.log.stream.seq += 1
        return delivery


class AcceptsAnything(OwnManager):
    """
    Swallows what is no event.
    """

    async def send(self, event: Event, /) -> Delivery:
        """
        Send events, and pretend for all else.
        """
        return await super().send(event) if is_event(event) else _NOWHERE


class FailsOddly(OwnManager):
    """
    Refuses what is no event with whatever error comes out.
    """

    async def send(self, event: Event, /) -> Delivery:
        """
        Trip over what is no event.
        """
        assert event.type
        return await super().send(event)


class Lenient(OwnManager):
    """
    Takes events at any time: after their run's start, or always.
    """

    refuses: tuple[str, ...] = ()

    def append(self, event: Event) -> Delivery:
        """
        Append *event*, legal or not.
        """
        try:
            return super().append(event)
        except errors.LifecycleError as error:
            if error.rule in self.refuses:
                raise
            return _NOWHERE


class LenientInRuns(Lenient):
    """
    Looks at nothing but whether there is a run.
    """

    refuses = ("L01",)


class Drops(OwnManager):
    """
    Loses events of one kind in silence.
    """

    def __init__(self, context: UserExecutionContext, streams: Streams, *, kind: type[Event]) -> None:
        super().__init__(context, streams)
        self.kind = kind

    def append(self, event: Event) -> Delivery:
        """
        Append *event*, or lose it.
        """
        return _NOWHERE if isinstance(event, self.kind) else super().append(event)


class PairsByOrder(OwnManager):
    """
    Takes tools for a queue or a stack: only the first, or the last, that began may complete.
    """

    def __init__(self, context: UserExecutionContext, streams: Streams, *, place: int) -> None:
        super().__init__(context, streams)
        self.place = place

    def append(self, event: Event) -> Delivery:
        """
        Append *event*, unless another tool is next.
        """
        calls = [call for call, _ in self.log.lifecycle.open_tools(str(event.run_id))]
        if isinstance(event, ToolCompleted) and calls and event.tool_call_id != calls[self.place]:
            rule = "L08"
            raise errors.LifecycleError(rule, "not the next")
        return super().append(event)


class PairsByName(OwnManager):
    """
    Allows one call of a tool at a time.
    """

    def append(self, event: Event) -> Delivery:
        """
        Append *event*, unless a tool of that name is open.
        """
        names = [name for _, name in self.log.lifecycle.open_tools(str(event.run_id))]
        if isinstance(event, ToolExecuting) and event.tool_name in names:
            rule = "L09"
            raise errors.LifecycleError(rule, "open already")
        return super().append(event)


class OtherRuns(OwnManager):
    """
    Makes runs of its own kind.
    """

    def __init__(self, context: UserExecutionContext, streams: Streams, *, kind: Callable[[Run], Any]) -> None:
        super().__init__(context, streams)
        self.kind = kind

    def run(self, agent_name: str, /, **options: Any) -> Any:
        """
        Return a run with something else around it.
        """
        return self.kind(super().run(agent_name, **options))


class Wrapped:
    """
    A run or tool with something around it, which swallows some errors.
    """

    def __init__(self, inner: Any, *, swallows: type[BaseException] | tuple[()] = ()) -> None:
        self.inner = inner
        self.swallows = swallows

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def __aenter__(self) -> Any:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        swallowed = bool(await self.inner.__aexit__(kind, error, traceback))
        return swallowed or isinstance(error, self.swallows)


class LateRun(Wrapped):
    """
    Says nothing to thoughts that come too late.
    """

    async def thinking(self, text: str) -> None:
        """
        Think, if it is not too late.
        """
        with suppress(errors.InvalidStateError):
            await self.inner.thinking(text)


class LaxRun(Wrapped):
    """
    Has tools that lose what they cannot tell.
    """

    def tool(self, *arguments: Any) -> Any:
        """
        Return such a tool.
        """
        return LaxTool(self.inner.tool(*arguments))


class LaxTool(Wrapped):
    """
    Loses results that are no JSON.
    """

    async def __aenter__(self) -> Any:
        return await self.inner.__aenter__()

    async def __aexit__(self, *error: object) -> bool:
        with suppress(errors.EventError):
            await self.inner.__aexit__(*error)
        return False


class OneRun(OwnManager):
    """
    Gives runs the id of their context.
    """

    def run(self, agent_name: str, /, **options: Any) -> Run:
        """
        Return a run whose id was used before.
        """
        return super().run(agent_name, run_id=self.context.request_id)


class OtherThread(OwnManager):
    """
    Runs each agent in a thread of the manager's choice, where the context names one or where it does not.
    """

    def __init__(self, context: UserExecutionContext, streams: Streams, *, named: bool) -> None:
        super().__init__(context, streams)
        self.named = named

    def run(self, agent_name: str, /, **options: Any) -> Run:
        """
        Return a run in another thread.
        """
        if (self.context.thread_id is None) == self.named:
            return super().run(agent_name, **options)
        elsewhere = make_context(self.context.user_id, thread_id="chosen")
        return OwnManager(elsewhere, self._streams).run(agent_name, **options)


class Keyed(OwnManager):
    """
    Keeps streams under a key of its own.
    """

    def __init__(self, context: UserExecutionContext, streams: Streams, *, by: Callable[[Identity], object]) -> None:
        super().__init__(context, streams)
        self.by = by

    def key(self, identity: Identity) -> object:
        """
        Return a key that two identities may have.
        """
        return self.by(identity)


class ForEachRequest(OwnManager):
    """
    Gives each request a stream.
    """

    def key(self, identity: Identity) -> object:
        """
        Return another key for each context.
        """
        return self.context.request_id


class Counts(OwnManager):
    """
    Has counts of its own.
    """

    def __init__(self, context: UserExecutionContext, streams: Streams, *, count: Callable[[Any], object]) -> None:
        super().__init__(context, streams)
        self.count = count
        self.attempts = 0
        self.starts = 0

    async def send(self, event: Event, /) -> Delivery:
        """
        Count and send.
        """
        self.attempts += 1
        delivery = await super().send(event)
        self.starts += event.type == "agent_started"
        return delivery

    @property
    def everywhere(self) -> int:
        """
        Events of all users.
        """
        return sum(log.stream.seq for log in self._streams.values())

    def stats(self) -> Any:
        """
        Count wrongly.
        """
        honest = super().stats()
        return self.count(self) or honest
