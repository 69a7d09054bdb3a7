"""
The way in by ``ws.auth`` as a state machine: from an accepted stranger to a context, or to a close code.

Rule 1: one frame is read, nothing before it and nothing after it, until
``authenticate`` has answered. Rule 2: the first recorded end decides. Rule 3:
nothing of a user is made here; what comes out is a context or a refusal.

What is legal stands in ``TRANSITIONS``, keyed by state and input.
"""

# The table of transitions stands below the class whose methods it names.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias, final

import attrs
import msgspec
from typing_extensions import override

from . import closing
from .auth_frame import AuthWire
from .closing import CloseCode
from .errors import InvalidStateError, IsolationError
from .steps import Ended, PeerGone, Ticked

if TYPE_CHECKING:
    from .context import UserExecutionContext
    from .handshake import Handshake
    from .settings import Settings
    from .stream import Start

__all__ = ("Admission", "Admitted", "Answered", "Ask", "Denied", "Heard", "Left", "Step", "awaits_frame")

_LAG_SECONDS: Final = 1.0
"""How late a tick may come before the delay counts as ours: then the frame may be waiting to be read."""


class Step(enum.Enum):
    """Where a client on its way in is."""

    WAITING = "waiting"
    ASKING = "asking"
    OVER = "over"


# Inputs: these, and Ticked, Ended and PeerGone of the session.


@final
class Heard(msgspec.Struct, frozen=True):
    """The client sent its first message. Not shown: it holds the credential."""

    text: str | bytes

    @override
    def __repr__(self) -> str:
        return "Heard()"


@final
class Answered(msgspec.Struct, frozen=True):
    """``authenticate`` is done."""

    outcome: Admitted | Denied


# Effects: what the shell does.


@final
class Ask(msgspec.Struct, frozen=True):
    """Ask ``authenticate`` about this handshake, then report ``Answered``."""

    handshake: Handshake


@final
class Admitted(msgspec.Struct, frozen=True):
    """The client may have a session of *context*, from *start* on."""

    context: UserExecutionContext
    start: Start


@final
class Denied(msgspec.Struct, frozen=True):
    """The client is told *code*: goodbye, then the close frame."""

    code: CloseCode
    why: str
    cause: BaseException | None = None


@final
class Left(msgspec.Struct, frozen=True):
    """The client has left; there is nobody to tell."""

    code: int


Input: TypeAlias = Heard | Answered | Ticked | Ended | PeerGone
Effect: TypeAlias = Ask | Admitted | Denied | Left


def awaits_frame(handshake: Handshake, settings: Settings, wire: object, /) -> bool:
    """Tell whether ``ws.auth`` is due: switched on, known to the wire, and no credential in the handshake."""
    return settings.auth_frame and isinstance(wire, AuthWire) and not handshake.carries_credential(settings.auth_names)


@final
class Admission:
    """
    The decisions about one client on its way in. Lives from accept to welcome or goodbye.

    Args:
        handshake: What the client said when it connected; no credential.
        wire: How its first frame is read.
        seconds: How long it may take to send it.
        now: Seconds, monotonic.

    Attributes:
        handshake: With the credential, once the frame has come.
        step: Where the client is.
        due: When ``Ticked`` has to come while it is waited for.
    """

    __slots__ = ("_extended", "_verdict", "_wire", "due", "handshake", "step")

    def __init__(self, *, handshake: Handshake, wire: AuthWire, seconds: float, now: float) -> None:
        self.handshake: Handshake = handshake
        self.step: Step = Step.WAITING
        self.due: float = now + seconds
        self._wire = wire
        self._extended = False
        self._verdict: Denied | Left | None = None
        """What happened while ``authenticate`` was asked; it counts more than the answer."""

    def handle(self, happened: Input, /) -> Effect | None:
        """
        Take one input and return what the shell must do, None for nothing.

        Raises:
            InvalidStateError: The input has no meaning in this state; that is
                a bug of the shell. Nothing changed.
        """
        transition = TRANSITIONS.get((self.step, type(happened)))
        if transition is None:
            msg = f"cannot handle {type(happened).__name__} while {self.step.value}"
            raise InvalidStateError(msg)
        return transition(self, happened)

    def _heard(self, happened: Heard) -> Effect:
        try:
            frame = self._wire.read_auth(happened.text)
        except IsolationError as error:
            return self._over(Denied(closing.code_of(error.close_code), "no ws.auth that can be read", error))
        except Exception as error:  # noqa: BLE001  # an application's own wire may raise anything
            return self._over(Denied(closing.INTERNAL_ERROR, "the wire could not read", error))
        self.handshake = attrs.evolve(self.handshake, credential=frame.credential, cursor=frame.cursor)
        self.step = Step.ASKING
        return Ask(self.handshake)

    def _ticked(self, happened: Ticked) -> Effect | None:
        if happened.now < self.due:
            return None
        if happened.now - self.due >= _LAG_SECONDS and not self._extended:
            self._extended = True
            self.due = happened.now + _LAG_SECONDS
            return None
        return self._over(Denied(closing.AUTH_TIMEOUT, "no ws.auth in time"))

    def _ended(self, happened: Ended) -> Effect:
        return self._over(_cut(happened))

    def _gone(self, happened: PeerGone) -> Effect:
        return self._over(Left(happened.code))

    def _ended_asking(self, happened: Ended) -> None:
        self._verdict = self._verdict or _cut(happened)

    def _gone_asking(self, happened: PeerGone) -> None:
        self._verdict = self._verdict or Left(happened.code)

    def _answered(self, happened: Answered) -> Effect:
        return self._over(self._verdict or happened.outcome)

    def _over(self, outcome: Effect) -> Effect:
        self.step = Step.OVER
        return outcome

    def _ignored(self, _happened: Input) -> None:
        pass


def _cut(happened: Ended) -> Denied:
    return Denied(happened.code, "ended before it was authenticated")


_Transition: TypeAlias = Callable[..., Effect | None]  # type: ignore[explicit-any]  # the key says which input

TRANSITIONS: Final[dict[tuple[Step, type], _Transition]] = {
    (Step.WAITING, Heard): Admission._heard,
    (Step.WAITING, Ticked): Admission._ticked,
    (Step.WAITING, Ended): Admission._ended,
    (Step.WAITING, PeerGone): Admission._gone,
    (Step.ASKING, Answered): Admission._answered,
    (Step.ASKING, Ticked): Admission._ignored,
    (Step.ASKING, Ended): Admission._ended_asking,
    (Step.ASKING, PeerGone): Admission._gone_asking,
    (Step.OVER, Heard): Admission._ignored,
    (Step.OVER, Answered): Admission._ignored,
    (Step.OVER, Ticked): Admission._ignored,
    (Step.OVER, Ended): Admission._ignored,
    (Step.OVER, PeerGone): Admission._ignored,
}
"""What is legal where. A pair that is missing is a bug of the shell: a second frame is read, or it answers early."""
