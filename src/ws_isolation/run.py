"""
A run: one agent execution, from ``agent_started`` to exactly one end.

Rule 1: the scope is the run. Rule 2: an end is reported, a result never
invented. How it begins and ends is in :mod:`ws_isolation.run_scope`; here is
what an agent says meanwhile.

Everything here is built on ``send`` alone, so it works with any manager.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, final

from msgspec import UNSET, UnsetType

from .cutting import PIECE_BYTES, ROOM, SHORT, WHOLE_BYTES, cut, encoded_size, measured
from .events import AgentCompleted, AgentThinking, Custom, Problem, Usage, to_json
from .events.declaration import variant
from .finishing import finish
from .ids import new_uuid7
from .parts import Tool
from .run_scope import RunScope
from .texts import MessageText, Thought

if TYPE_CHECKING:
    from .delivery import Delivery
    from .events import Visibility

__all__ = ("Run",)


@final
class Run(RunScope):
    """
    One agent execution. Lives as long as its ``async with`` block.

    Made by ``manager.run()`` and ``run.child()``. All methods that send raise
    ``InvalidStateError`` once the run has ended, and what ``send`` raises.
    Cancelling them is safe: the event is in the stream or it is not, and the
    scope still ends the run.

    Attributes:
        id: The run's id.
        thread_id: The context's thread; the run's own id where it has none.
    """

    __slots__ = ()

    async def thinking(self, text: str, /, *, visibility: Literal["user", "debug"] = "user") -> Delivery:
        """
        Send a whole thought (durable).

        Args:
            text: At most 16 KiB; more is cut and marked.
            visibility: ``debug`` for what only developers should see.
        """
        if self._state != "open":
            self._require_open("thinking()")
        is_short = type(text) is str and len(text) <= SHORT
        short, was_cut = (text, False) if is_short else cut(text, PIECE_BYTES)
        if visibility == "user" and not was_cut:
            if self._thought is None:
                self._thought = self._whole_thought("")
            event = variant(self._thought, "thought_id", new_uuid7(), "text", short)
        else:
            event = self._whole_thought(short, UNSET if visibility == "user" else visibility, truncated=was_cut)
        # As _send() begins, without a call for each thought.
        at_once = None if self._order.waiting else self._at_once
        delivery = None if at_once is None else at_once(event)
        return await self._send(event, "thinking()") if delivery is None else delivery

    def _whole_thought(
        self, text: str, visibility: Visibility | UnsetType = UNSET, *, truncated: bool = False
    ) -> AgentThinking:
        return AgentThinking(
            run_id=self.id,
            thread_id=self.thread_id,
            thought_id=new_uuid7(),
            mode="summary",
            text=text,
            truncated=True if truncated else UNSET,
            visibility=visibility,
        )

    def thought(self) -> Thought:
        """Return a thought to be written in pieces: ``async with run.thought() as t: await t.write(...)``."""
        self._require_open("thought()")
        return Thought(self, self._parts)

    def message(self) -> MessageText:
        """Return a message to be written in pieces: ``async with run.message() as m: await m.write(...)``."""
        self._require_open("message()")
        return MessageText(self, self._parts)

    def tool(
        self,
        name: str,
        arguments: Mapping[str, object] | None = None,
        /,
        *,
        tool_call_id: str | None = None,
        title: str | UnsetType = UNSET,
        timeout_ms: int | UnsetType = UNSET,
    ) -> Tool:
        """
        Return a tool call as a scope: ``async with run.tool("search", {...}) as tool: tool.result = ...``.

        Args:
            name: The tool's name, 1 to 128 characters.
            arguments: What it is called with. datetimes, UUIDs, Decimals, enums,
                attrs classes, dataclasses and pydantic models are converted;
                over 32 KiB the first part of their JSON is sent as text, and marked.
            tool_call_id: Unique in the run; made if absent.
            title: For people, at most 200 characters.
            timeout_ms: For the display.

        Raises:
            InvalidEventError: The arguments hold something that is no JSON. Nothing was sent.
        """
        self._require_open("tool()")
        return Tool(
            self,
            self._parts,
            name,
            {} if arguments is None else arguments,
            tool_call_id=new_uuid7() if tool_call_id is None else tool_call_id,
            title=title,
            timeout_ms=timeout_ms,
        )

    async def custom(self, name: str, value: object = None, /) -> Delivery:
        """
        Send an event of the application's own within this run (durable).

        Args:
            name: Namespaced: ``shop.cart_changed``.
            value: Any value that ``events.to_json()`` converts, at most ``Settings.event_bytes``.
        """
        self._require_open("custom()")
        event = Custom(run_id=self.id, thread_id=self.thread_id, name=name, value=to_json(value))
        return await self._send(event, "custom()")

    def child(self, agent_name: str, /, *, run_id: str | None = None, model: str | UnsetType = UNSET) -> Run:
        """Return a run within this one, for an agent that this one calls. Same as ``manager.run()`` otherwise."""
        self._require_open("child()")
        return Run(
            self._sender,
            agent_name,
            run_id=run_id,
            model=model,
            parent=self,
            watch=self._watch,
            at_once=self._at_once,
        )

    async def complete(
        self,
        output_text: str | UnsetType = UNSET,
        /,
        *,
        result: object = UNSET,
        summary: str | UnsetType = UNSET,
        usage: tuple[Usage, ...] | UnsetType = UNSET,
        stop_reason: str | UnsetType = UNSET,
    ) -> Delivery:
        """
        End the run as completed. What is still open is closed as cancelled before.

        Args:
            output_text: The whole answer; over 32 KiB, or 24 beside a large result, it is cut and marked.
            result: Any value that ``events.to_json()`` converts; over 32 KiB it
                is left out and ``truncated`` says so.
            summary: One line for people, at most 1,000 characters.
            usage: What the models used.
            stop_reason: Why the agent stopped: ``end_turn`` or a word of the application.

        Raises:
            InvalidEventError: The result holds something that is no JSON. The run is still open.
            InvalidStateError: The run has ended.

        Cancelled meanwhile, it is completed first. The same holds for ``fail`` and ``cancel``.
        """
        self._require_open("complete()")
        value, value_cut = measured(result, "result", AgentCompleted.type)
        room = ROOM if value is UNSET else ROOM - encoded_size(value)
        text, text_cut = (UNSET, False) if output_text is UNSET else cut(output_text, WHOLE_BYTES, room=room)
        event = self._completed(
            text, value, summary=summary, usage=usage, stop_reason=stop_reason, truncated=text_cut or value_cut
        )
        return await finish(self._end(event, "complete()"))

    async def fail(self, problem: Problem, /, *, failed_tool_call_id: str | UnsetType = UNSET) -> Delivery:
        """
        End the run as failed.

        Args:
            problem: What the user may know of it: no stack trace, no ids of others.
            failed_tool_call_id: The tool call that it failed with.
        """
        self._require_open("fail()")
        return await finish(self._end(self._failed(problem, failed_tool_call_id), "fail()"))

    async def cancel(self, reason: str = "user", /, *, detail: str | UnsetType = UNSET) -> Delivery:
        """
        End the run as cancelled: neither success nor error. It does not stop what runs; ``stop`` does.

        Args:
            reason: ``user``, ``superseded``, ``timeout``, ``quota``, ``shutdown`` or a word of the application.
            detail: For people, at most 1,000 characters.
        """
        self._require_open("cancel()")
        return await finish(self._end(self._cancelled(reason, detail=detail), "cancel()"))
