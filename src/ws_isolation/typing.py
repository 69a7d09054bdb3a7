"""
What others implement for this library: transport and clock.

Each protocol is one capability; nothing here has to raise "not supported".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ("Clock", "Timer", "Transport")


class Timer(Protocol):
    """A callback that will be called once."""

    def cancel(self) -> None:
        """Make sure that it is not called. Harmless when it was, or twice."""


class Clock(Protocol):
    """
    Where the shells get their time from. Lives as long as its factory.

    ``ws_isolation.testing.FakeClock`` is one that moves by hand.
    """

    def monotonic(self) -> float:
        """Return seconds since some fixed point; never goes back."""
        ...

    def unix(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        """
        Call *callback* in the running event loop once ``monotonic()`` has reached *when*.

        Args:
            when: Seconds on the scale of ``monotonic()``.
            callback: Must not block; what it raises goes to the loop's exception handler.
        """
        ...


class Transport(Protocol):
    """
    One accepted socket, as an adapter gives it to a session.

    Lives as long as the socket. The session calls ``receive`` from one task and
    ``send`` and ``close`` from one other, never two sends at once. A peer that
    is gone shows as ``TransportClosedError`` from ``receive`` and ``send``;
    anything else that they raise is treated as a failure of the adapter, but
    for a ``PeerError`` of ``receive``.
    """

    async def receive(self) -> str | bytes:
        """
        Wait for the next message of the peer.

        Returns:
            The text, or the bytes of a binary message.

        Raises:
            TransportClosedError: The peer is gone.
            PeerError: The server below takes no such message (too big, no UTF-8); nothing more can be
                read. The session says goodbye and closes with the error's code.

        Cancelling is safe: no message is lost.
        """
        ...

    async def send(self, text: str, /) -> None:
        """
        Write one text message. May wait as long as the peer does not read.

        Raises:
            TransportClosedError: The peer is gone.

        Cancelled, the message may be written in part; only ``abort`` may follow.
        """
        ...

    async def close(self, code: int, reason: str, /) -> None:
        """
        Send the close frame. Harmless when the peer is gone. A ``receive`` that waits was cancelled before.

        Args:
            code: 1000 or 4000 to 4999.
            reason: ASCII, at most 123 bytes.
        """
        ...

    def abort(self) -> None:
        """
        Drop the connection without a word, as well as the server below allows.

        ASGI has no such thing: there, nothing may happen, and the kernel's own
        time-out ends the connection (``TCP_USER_TIMEOUT``).
        """
        ...
