"""
Jobs with an answer that somebody awaits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar, final

import hiredis
from typing_extensions import override

from ...errors import EngineTimeoutError, EngineUnavailableError, IsolationError
from .line import pack
from .pending import Job

__all__ = ("Ask", "MalformedError")

_T = TypeVar("_T")

_PERHAPS: Final = "it may have been done or not; try again"


class MalformedError(Exception):
    """The engine answered in a form that it never does."""


@final
class Ask(Job, Generic[_T]):
    """
    A command, and what its answer means. It does no harm when it is done twice.

    Args:
        call: What is done, for errors.
        words: The command; with True where it may have been done already.
        read: Makes the result of the answer. Raises what the caller is to get.
        due: Seconds, monotonic, until which somebody waits.
        size: Bytes, about.
        key: A key or channel that it is about.
    """

    __slots__ = ("_call", "_read", "_words", "answer")

    def __init__(
        self,
        call: str,
        words: Callable[[bool], tuple[bytes | str | int, ...]],
        read: Callable[[object], _T],
        due: float,
        *,
        size: int = 256,
        key: str = "",
    ) -> None:
        super().__init__(due, size, key)
        self._call = call
        self._words = words
        self._read = read
        self.answer: asyncio.Future[_T] = asyncio.get_running_loop().create_future()

    @property
    @override
    def is_over(self) -> bool:
        return self.answer.done()

    @override
    def packed(self) -> bytes:
        return pack(self._words(self.again))

    @override
    def answered(self, reply: object, /) -> None:
        try:
            if isinstance(reply, hiredis.ReplyError):
                word = str(reply).partition(" ")[0]
                self.failed(EngineUnavailableError(self._call, f"it said {word}; nothing was stored"))
                return
            result = self._read(reply)
        except IsolationError as error:
            self.failed(error)
        except (MalformedError, ValueError, TypeError, UnicodeError):
            self.failed(EngineUnavailableError(self._call, "its answer has another form; " + _PERHAPS))
        else:
            if not self.answer.done():
                self.answer.set_result(result)

    @override
    def failed(self, error: Exception, /) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    @override
    def expired(self) -> None:
        self.failed(EngineTimeoutError(self._call, _PERHAPS if self.again or self.sent_at else "it was not asked"))
