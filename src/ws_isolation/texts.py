"""
Text in pieces: thoughts, and messages to the user.

A text that began is done at the end, and then brings the whole, which heals
pieces that a slow or reconnected client has missed.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, final

from msgspec import UNSET, UnsetType
from typing_extensions import override

from .cutting import PIECE_BYTES, WHOLE_BYTES, cut
from .errors import InvalidEventError, InvalidStateError, shown
from .events import AgentMessageDelta, AgentThinking, Event
from .events.declaration import variant
from .ids import new_uuid7
from .parts import Owner, Part, Send

if TYPE_CHECKING:
    from typing import Self

__all__ = ("MessageText", "Thought")


class _Text(Part):
    """Text in pieces: what thoughts and messages have in common."""

    __slots__ = ("_index", "_kept", "_model", "_size")

    _text_field: ClassVar[str]
    """Which field of its events holds the text."""

    def __init__(self, run: Owner, parts: dict[Part, None]) -> None:
        super().__init__(run, parts, new_uuid7())
        self._kept: list[str] = []
        self._size = 0
        self._index = 0
        self._model: Event | None = None
        """The first piece: what the others have in common with it was checked once."""

    async def __aenter__(self) -> Self:
        """Begin; the first piece goes out with the first ``write``."""
        self._parts[self] = None
        return self

    async def write(self, text: str, /) -> None:
        """
        Send a piece. One task at a time.

        Args:
            text: Any length; longer than 16 KiB goes out as several pieces.

        Raises:
            InvalidStateError: The text is done.
        """
        start = 0
        while True:
            if self._ended:
                msg = f"text {shown(self.id)} is done: begin another"
                raise InvalidStateError(msg)
            piece, _ = cut(text[start : start + PIECE_BYTES] if type(text) is str else text, PIECE_BYTES)
            await self._run.send(self._next(piece))
            self._keep(piece)
            self._index += 1
            start += len(piece)
            if start >= len(text):
                return

    async def close(self) -> None:
        """Send the last piece, which brings the whole text. Harmless when it was sent."""
        if not self._ended:
            await self._end(self._run.send)

    @override
    async def _leave(self, error: BaseException | None) -> None:
        await self._end(self._run.send)

    @override
    async def _end(self, send: Send) -> None:
        whole, was_cut = cut("".join(self._kept), WHOLE_BYTES)
        try:
            await send(self._last(self._index, whole, truncated=was_cut or self._size > WHOLE_BYTES))
        except InvalidEventError:
            # Larger than this factory's frames: told without the whole.
            await send(self._last(self._index, UNSET, truncated=True))
        self._forget()

    def _keep(self, piece: str) -> None:
        # Past the limit nothing more is kept: a run of hours must not keep its whole text.
        if self._size <= WHOLE_BYTES:
            self._kept.append(piece)
        self._size += len(piece.encode("utf-8"))

    def _next(self, piece: str) -> Event:
        model = self._model
        if model is None:
            model = self._model = self._piece(piece, self._index)
            return model
        return variant(model, "index", self._index, self._text_field, piece)

    @abstractmethod
    def _piece(self, text: str, index: int) -> Event:
        """Build the event of one piece."""

    @abstractmethod
    def _last(self, index: int, whole: str | UnsetType, /, *, truncated: bool) -> Event:
        """Build the event that ends the text."""


@final
class Thought(_Text):
    """A thought in pieces. Lives as long as its ``async with`` block, which sends the whole at its end."""

    __slots__ = ()

    _text_field: ClassVar[str] = "text"

    @override
    def _piece(self, text: str, index: int) -> Event:
        return AgentThinking(
            run_id=self._run.id,
            thread_id=self._run.thread_id,
            thought_id=self.id,
            mode="delta",
            text=text,
            index=index,
        )

    @override
    def _last(self, index: int, whole: str | UnsetType, /, *, truncated: bool) -> Event:
        return AgentThinking(
            run_id=self._run.id,
            thread_id=self._run.thread_id,
            thought_id=self.id,
            mode="delta",
            text="",
            index=index,
            done=True,
            full_text=whole,
            truncated=True if truncated else UNSET,
        )


@final
class MessageText(_Text):
    """A message to the user in pieces. Same as ``Thought``, but for the answer itself."""

    __slots__ = ()

    _text_field: ClassVar[str] = "delta"

    @override
    def _piece(self, text: str, index: int) -> Event:
        return AgentMessageDelta(
            run_id=self._run.id,
            thread_id=self._run.thread_id,
            message_id=self.id,
            delta=text,
            index=index,
        )

    @override
    def _last(self, index: int, whole: str | UnsetType, /, *, truncated: bool) -> Event:
        return AgentMessageDelta(
            run_id=self._run.id,
            thread_id=self._run.thread_id,
            message_id=self.id,
            delta="",
            index=index,
            done=True,
            full_text=whole,
            truncated=True if truncated else UNSET,
        )
