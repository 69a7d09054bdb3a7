"""
One session as a state machine: inputs in, effects out, no I/O and no clock.

Rule 1: every decision about a socket is made here and in the core's parts: what
is legal, what goes out next, what is too much, too late or foreign. The shell
waits, writes and carries out the effects. Rule 2: the first recorded end decides
the code. Rule 3: an envelope leaves only after its owner was compared.

What is legal stands in ``TRANSITIONS``, keyed by state and input.
"""

# The table of transitions stands below the class whose methods it names.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias, final

from .core_joining import Joining
from .core_state import WELCOMED, State
from .errors import InvalidStateError
from .steps import (
    Consumed,
    Draining,
    Effect,
    Ended,
    Finished,
    Input,
    Joined,
    Missed,
    Offered,
    PeerGone,
    Received,
    Refused,
    Renewed,
    Ticked,
    WriteFailed,
    WriterReady,
    WriteWaits,
)

__all__ = ("TRANSITIONS", "SessionCore", "State")


@final
class SessionCore(Joining):
    """
    The decisions of one session. Lives as long as its socket.

    Args:
        context: Whose session it is. Its identity stays for life, a refresh may change its claims.
        connection_id: The session's id, the same all its life.
        incident_id: What the user quotes should this session fail.
        settings: The bounds.
        wire: How the client is spoken to.
        enforce_pongs: Whether silence after a ping ends the session.
        expires_in: Seconds until ``expires_at``, None where it never comes.
        now: Seconds, monotonic.
        shared_rate: What all sessions of the identity may send together; None where that has no bound.
    """

    __slots__ = ()

    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Take one input and return what the shell must do, in this order.

        Raises:
            InvalidStateError: The input has no meaning in this state; that is
                a bug of the shell. Nothing changed.
        """
        transition = TRANSITIONS.get((self.state, type(happened)))
        if transition is None:
            msg = f"cannot handle {type(happened).__name__} in state {self.state.value} (session {self.connection_id})"
            raise InvalidStateError(msg)
        return transition(self, happened)


_Transition: TypeAlias = Callable[..., tuple[Effect, ...]]  # type: ignore[explicit-any]  # the key says which input

_WHILE_OPEN: Final[dict[type, _Transition]] = {
    Offered: SessionCore._offered,
    Missed: SessionCore._missed,
    Received: SessionCore._received,
    Consumed: SessionCore._consumed,
    Refused: SessionCore._refused,
    WriterReady: SessionCore._writer_ready,
    WriteFailed: SessionCore._write_failed,
    WriteWaits: SessionCore._write_waits,
    Ticked: SessionCore._ticked,
    Draining: SessionCore._draining,
    Ended: SessionCore._ended,
    PeerGone: SessionCore._peer_gone,
}

TRANSITIONS: Final[dict[tuple[State, type], _Transition]] = {
    (State.JOINING, Joined): SessionCore._joined,
    (State.JOINING, Offered): SessionCore._keep,
    (State.JOINING, Missed): SessionCore._keep_gap,
    (State.JOINING, Ticked): SessionCore._ticked_joining,
    (State.JOINING, Draining): SessionCore._drained_early,
    (State.JOINING, Ended): SessionCore._ended,
    (State.JOINING, PeerGone): SessionCore._peer_gone,
    **{(state, kind): method for state in WELCOMED for kind, method in _WHILE_OPEN.items()},
    (State.REFRESHING, Renewed): SessionCore._renewed,
    (State.DRAINING, Renewed): SessionCore._renewed,
    (State.CLOSING, Joined): SessionCore._ignored,
    (State.CLOSED, Joined): SessionCore._ignored,
    (State.CLOSING, Renewed): SessionCore._ignored,
    (State.CLOSED, Renewed): SessionCore._ignored,
    (State.CLOSING, Draining): SessionCore._ignored,
    (State.CLOSED, Draining): SessionCore._ignored,
    (State.CLOSING, Offered): SessionCore._ignored,
    (State.CLOSING, Missed): SessionCore._ignored,
    (State.CLOSING, Received): SessionCore._ignored,
    (State.CLOSING, Consumed): SessionCore._consumed,
    (State.CLOSING, Refused): SessionCore._ignored,
    (State.CLOSING, WriterReady): SessionCore._writer_ready,
    (State.CLOSING, WriteFailed): SessionCore._write_failed,
    (State.CLOSING, WriteWaits): SessionCore._write_waits,
    (State.CLOSING, Ticked): SessionCore._ticked_closing,
    (State.CLOSING, Ended): SessionCore._ended_again,
    (State.CLOSING, PeerGone): SessionCore._peer_gone,
    (State.CLOSING, Finished): SessionCore._finished,
    (State.CLOSED, Offered): SessionCore._ignored,
    (State.CLOSED, Missed): SessionCore._ignored,
    (State.CLOSED, Received): SessionCore._ignored,
    (State.CLOSED, Consumed): SessionCore._ignored,
    (State.CLOSED, Refused): SessionCore._ignored,
    (State.CLOSED, WriterReady): SessionCore._ignored,
    (State.CLOSED, WriteFailed): SessionCore._ignored,
    (State.CLOSED, WriteWaits): SessionCore._ignored,
    (State.CLOSED, Ticked): SessionCore._ignored,
    (State.CLOSED, Ended): SessionCore._ignored,
    (State.CLOSED, PeerGone): SessionCore._ignored,
    (State.CLOSED, Finished): SessionCore._ignored,
}
"""What is legal where. A pair that is missing is a bug of the shell."""
