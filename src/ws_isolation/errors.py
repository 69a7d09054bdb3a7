"""
Every exception that the library raises, split by who has to act.

.. code-block:: text

    IsolationError
    ├── ContextError
    │   ├── InvalidContextError (ValueError)
    │   ├── UnknownFieldError (TypeError)
    │   ├── ContextTypeError (TypeError)
    │   ├── ContextIntegrityError (TypeError)
    │   └── ContextExpiredError
    ├── EventError
    │   ├── InvalidEventError (ValueError)
    │   ├── EventTypeError (TypeError)
    │   └── LifecycleError (RuntimeError)
    ├── UsageError (RuntimeError)
    │   ├── ImportTimeError
    │   ├── InvalidStateError
    │   ├── ConcurrencyError
    │   ├── ClosedError
    │   ├── SettingsError (ValueError)
    │   └── MissingExtraError (ImportError)
    ├── PeerError
    │   ├── BadFrameError
    │   ├── SchemaViolationError
    │   ├── MessageTooBigError
    │   ├── RateLimitedError
    │   └── VersionUnsupportedError
    ├── AccessError
    │   ├── UnauthenticatedError
    │   ├── ForbiddenError
    │   │   └── RevokedError
    │   ├── NotFoundError
    │   ├── ExpiredError
    │   └── ClaimsChangedError
    ├── EngineUnavailableError
    │   └── EngineTimeoutError
    ├── TransportClosedError
    └── OwnerMismatchError

*Context*, *event* and *usage* errors are the caller's: the message says what to
change. *Peer* errors are what a client did; *access* errors are what an
application's ``authenticate`` raises to refuse one. *Engine* errors are the
backplane's: what it did not answer is not guessed. ``OwnerMismatchError`` is a
defect that the last hop stopped.

Rule 1: an error can always be built, shown, logged and pickled. Its arguments
are names, ids and ready-made text, never a context, an event or a foreign
object, because an error path that fails itself turns one defect into an
unexplained close for everybody.

Rule 2: a text is at most 300 characters, unless it has to print two types.

``close_code`` is the code that a session is closed with when the error decides
its end: refused by ``authenticate``, sent by a client, stopped at the last hop.
Out of a handler, access and peer errors and an expired context keep theirs, and
anything else is 4300. See :mod:`ws_isolation.closing`.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = (
    "AccessError",
    "BadFrameError",
    "ClaimsChangedError",
    "ClosedError",
    "ConcurrencyError",
    "ContextError",
    "ContextExpiredError",
    "ContextIntegrityError",
    "ContextTypeError",
    "EngineTimeoutError",
    "EngineUnavailableError",
    "EventError",
    "EventTypeError",
    "ExpiredError",
    "ForbiddenError",
    "ImportTimeError",
    "InvalidContextError",
    "InvalidEventError",
    "InvalidStateError",
    "IsolationError",
    "LifecycleError",
    "MessageTooBigError",
    "MissingExtraError",
    "NotFoundError",
    "OwnerMismatchError",
    "PeerError",
    "RateLimitedError",
    "RevokedError",
    "SchemaViolationError",
    "SettingsError",
    "TransportClosedError",
    "UnauthenticatedError",
    "UnknownFieldError",
    "UsageError",
    "VersionUnsupportedError",
    "bounded",
    "shown",
)

_TEXT_LIMIT = 300
_SHOWN_LIMIT = 64


def bounded(text: str, limit: int = _TEXT_LIMIT, /) -> str:
    """
    Return *text* with control characters escaped, at most *limit* characters.

    Escaping keeps line breaks and terminal sequences from a client out of the
    operator's log (CWE-117). Never raises for a ``str``.
    """
    # Cut before escaping: a 10 MB string must not be copied twice to show 64 characters of it.
    head = text[: limit + 1]
    if not head.isprintable():
        head = head.encode("ascii", "backslashreplace").decode("ascii")
        head = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in head)
    return head if len(head) <= limit else head[: limit - 1] + "…"


def shown(value: object, /) -> str:
    """
    Describe *value* for an error text: bounded, and total for every object.

    Only exact builtin scalars show their value. Of anything else the name of
    its type is shown: a foreign ``__repr__`` may lie, raise or leak.
    """
    if value is None or type(value) is bool or type(value) is float:
        return repr(value)
    if type(value) is int:
        # str() of a huge int costs quadratic time, and raises above 4,300 digits.
        return str(value) if abs(value) < 2**64 else "an int of more than 64 bits"
    if type(value) is str:
        size = f" ({len(value)} characters)" if len(value) > _SHOWN_LIMIT else ""
        return "'" + bounded(value, _SHOWN_LIMIT) + "'" + size
    return f"a value of type {type_name(type(value))}"


def type_name(kind: type, /) -> str:
    """Return the module and qualified name of a class, bounded, whatever its metaclass does."""
    module, name = class_text(kind, "__module__"), class_text(kind, "__qualname__")
    if not module or not name:
        return "an unnameable type"
    return bounded(name if module == "builtins" else f"{module}.{name}", 120)


def class_text(kind: type, name: str, /) -> str:
    """
    Return ``__module__``, ``__name__`` or ``__qualname__`` of a class, empty where it is no exact ``str``.

    Read past the metaclass, which may lie, raise or hand out objects of its own: the error path is total.
    """
    try:
        text: object = vars(type)[name].__get__(kind)
    except AttributeError:  # a class can be made without __module__
        return ""
    return text if type(text) is str else ""


class IsolationError(Exception):
    """The root of all errors of this library."""

    close_code: ClassVar[int] = 4300
    """The code that a session is closed with when this error ends it."""


class ContextError(IsolationError):
    """A context is missing, malformed or not genuine."""

    close_code = 4310


class InvalidContextError(ContextError, ValueError):
    """
    A value handed to ``UserExecutionContext`` is not allowed.

    Attributes:
        field: The name of the field.
        problem: What is wrong with it, and what would be right.
        value: The value as :func:`shown` describes it, bounded.
    """

    def __init__(self, field: str, problem: str, value: str = "") -> None:
        super().__init__(field, problem, value)
        self.field = field
        self.problem = problem
        self.value = value

    def __str__(self) -> str:
        value = f" {self.value}" if self.value else ""
        return bounded(f"invalid {self.field}{value}: {self.problem}")


class UnknownFieldError(ContextError, TypeError):
    """
    A keyword that ``UserExecutionContext`` does not have.

    Attributes:
        field: The unknown keyword.
        hint: What to write instead.
    """

    def __init__(self, field: str, hint: str) -> None:
        super().__init__(field, hint)
        self.field = field
        self.hint = hint

    def __str__(self) -> str:
        return bounded(f"UserExecutionContext has no field {shown(self.field)}: {self.hint}")


class ContextTypeError(ContextError, TypeError):
    """
    Something else than a ``UserExecutionContext`` reached the gate.

    The object was touched through ``type()`` only.

    Attributes:
        caller: The call that refused.
        expected: Module, qualified name, file and id of the one accepted type.
        actual: The same of the type that came.
        hint: What to change.
    """

    def __init__(self, caller: str, expected: str, actual: str, hint: str) -> None:
        super().__init__(caller, expected, actual, hint)
        self.caller = caller
        self.expected = expected
        self.actual = actual
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.caller} needs {self.expected}, got {self.actual}: {self.hint}"


class ContextIntegrityError(ContextError, TypeError):
    """
    A context of the right type was not made by its constructor, or was changed afterwards.

    Attributes:
        caller: The call that refused.
    """

    def __init__(self, caller: str) -> None:
        super().__init__(caller)
        self.caller = caller

    def __str__(self) -> str:
        return bounded(
            f"{self.caller} got a UserExecutionContext that its constructor did not make or that was "
            "changed afterwards: build it with UserExecutionContext(...) and derive others with child()"
        )


class ContextExpiredError(ContextError):
    """
    The context's ``expires_at`` has passed; nothing was sent.

    Attributes:
        request_id: The context's request id.
    """

    close_code = 4101

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self.request_id = request_id

    def __str__(self) -> str:
        return bounded(
            f"the context of request {self.request_id} has expired: authenticate again and create a new manager"
        )


class EventError(IsolationError):
    """An event cannot be built or sent as asked; the socket stays open."""


class InvalidEventError(EventError, ValueError):
    """
    A field of an event has a value that is not allowed.

    Attributes:
        path: Where, as a JSON path: ``$.result.rows[3]``.
        problem: What is wrong with it, never the value itself.
        event: The event's type, or an empty string where it is not known.
    """

    def __init__(self, path: str, problem: str, event: str = "") -> None:
        super().__init__(path, problem, event)
        self.path = path
        self.problem = problem
        self.event = event

    def __str__(self) -> str:
        return bounded(f"invalid {self.event or 'value'} at {bounded(self.path, 120)}: {self.problem}")


class EventTypeError(EventError, TypeError):
    """
    ``send()`` was given something that is no event of this library.

    Attributes:
        actual: The type that came.
    """

    def __init__(self, actual: str) -> None:
        super().__init__(actual)
        self.actual = actual

    def __str__(self) -> str:
        return bounded(
            f"send() needs an event from ws_isolation.events, got {self.actual}: "
            "wrap a payload of your own in events.Custom(name=..., value=...)"
        )


class LifecycleError(EventError, RuntimeError):
    """
    The event is not legal at this point of its run; nothing was sent.

    Attributes:
        rule: The rule's id, as in the event reference: ``L01``.
        problem: What is wrong and what to do.
    """

    def __init__(self, rule: str, problem: str) -> None:
        super().__init__(rule, problem)
        self.rule = rule
        self.problem = problem

    def __str__(self) -> str:
        return bounded(f"{self.problem} ({self.rule})")


class UsageError(IsolationError, RuntimeError):
    """The library was called in a way that cannot work; the message says how it can."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return bounded(self.message)


class ImportTimeError(UsageError):
    """A manager was asked for while a module is being imported."""


class InvalidStateError(UsageError):
    """The object is not in a state in which this call has a meaning."""


class ConcurrencyError(UsageError):
    """The call came from another thread or another event loop than the one the factory runs in."""


class ClosedError(UsageError):
    """The session has ended."""


class SettingsError(UsageError, ValueError):
    """A setting is out of its bounds or contradicts another one."""


class MissingExtraError(UsageError, ImportError):
    """An optional dependency is not installed; the message holds the command that installs it."""


class PeerError(IsolationError):
    """
    A client sent something that cannot be served.

    Attributes:
        problem: What is wrong, for the operator's log; the peer sees the code and its slug only.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return bounded(self.problem)


class BadFrameError(PeerError):
    """Not text, not JSON, not an object, no type, an unknown control frame, or nested too deep."""

    close_code = 4000


class SchemaViolationError(PeerError):
    """Valid JSON of the wrong shape, or a reserved identity name."""

    close_code = 4022


class MessageTooBigError(PeerError):
    """The decoded message is larger than ``Settings.message_bytes``."""

    close_code = 4013


class RateLimitedError(PeerError):
    """More messages than the rate or the inbox allows."""

    close_code = 4329


class VersionUnsupportedError(PeerError):
    """The client speaks another major version of the wire."""

    close_code = 4026


class AccessError(IsolationError):
    """
    ``authenticate`` refuses the client.

    The optional detail is for the operator's log; the peer sees the code and its slug only.
    """

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return bounded(self.detail)


class UnauthenticatedError(AccessError):
    """There is no credential, or it is not valid."""

    close_code = 4001


class ForbiddenError(AccessError):
    """The client is known, and may not do this."""

    close_code = 4003


class RevokedError(ForbiddenError):
    """The client is known, and its access was taken away with ``ManagerFactory.revoke()``."""

    close_code = 4010


class NotFoundError(AccessError):
    """What the client asked for, such as a thread, does not exist, or not for this user."""

    close_code = 4004


class ExpiredError(AccessError):
    """The credential was valid once; the client may come back with a new one."""

    close_code = 4101


class ClaimsChangedError(AccessError):
    """A refreshed credential is valid, and what it allows needs a new session."""

    close_code = 4103


class EngineUnavailableError(IsolationError):
    """
    The engine behind the backplane did not do what it was asked.

    Attributes:
        call: What it was asked.
        state: What is left behind, and what to do.
    """

    close_code = 4302

    def __init__(self, call: str, state: str) -> None:
        super().__init__(call, state)
        self.call = call
        self.state = state

    def __str__(self) -> str:
        return bounded(f"the backplane's engine failed in {self.call}: {self.state}")


class EngineTimeoutError(EngineUnavailableError):
    """The engine behind the backplane did not answer in time."""

    close_code = 4304


class TransportClosedError(IsolationError):
    """
    A transport's peer is gone: raised by ``Transport.receive()`` and ``Transport.send()``.

    Attributes:
        code: The close code that the peer or the server gave, 1006 where there was none.
    """

    def __init__(self, code: int = 1006) -> None:
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        return f"the peer is gone (close code {self.code})"


class OwnerMismatchError(IsolationError):
    """
    The last hop held an envelope back that belongs to somebody else.

    It is logged and counted, closes the session and never reaches a wire.

    Attributes:
        event_id: The envelope's id.
        connection_id: The session that must not get it.
    """

    def __init__(self, event_id: str, connection_id: str) -> None:
        super().__init__(event_id, connection_id)
        self.event_id = event_id
        self.connection_id = connection_id

    def __str__(self) -> str:
        return bounded(
            f"envelope {self.event_id} must not reach session {self.connection_id}: its owner is another identity"
        )
