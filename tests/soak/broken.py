"""
Ways in which the application may be broken on purpose, so that the checker is seen to notice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ws_isolation.chain import Arrival, Chain
from ws_isolation.events.envelope import Envelope


def sound(app: Any) -> Any:
    """
    Leave it as it is.
    """
    return app


def silent(app: Any) -> Any:
    """
    Swallow every gap: what is lost is not announced.
    """

    async def without_gaps(scope: Any, receive: Any, send: Any) -> None:
        async def filtered(message: Any) -> None:
            text = message.get("text") or (message.get("bytes") or b"").decode()
            if '"ws.gap"' not in text:
                await send(message)

        await app(scope, receive, filtered)

    return without_gaps


def counting(app: Any) -> Any:
    """
    Follow a counter instead of the chain, and do not look at the tip: epoch and offset, as others do.
    """
    Chain.follow = _follow  # type: ignore[method-assign]
    from ws_isolation import streams

    streams.LiveStream.interrupted = lambda self: None  # type: ignore[method-assign]
    return app


def _follow(self: Chain, envelope: Envelope) -> Arrival:
    stands = self.cursor
    if envelope.epoch != stands.epoch:
        return Arrival.DIVERGENCE
    if not envelope.durable:
        return Arrival.NEXT
    if envelope.seq == stands.seq + 1:
        self._seq = envelope.seq
        self._delivered(envelope.id)
        return Arrival.NEXT
    return Arrival.HOLE if envelope.seq > stands.seq else Arrival.DUPLICATE


BROKEN: Final[dict[str, Callable[[Any], Any]]] = {"": sound, "silent": silent, "counting": counting}
