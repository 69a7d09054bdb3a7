"""
Every error of the library: one root, the tree as printed, bounded text, and it pickles.
"""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from ws_isolation import errors
from ws_isolation.closing import CODES
from ws_isolation.errors import IsolationError

LIMIT = 300
"""Characters of an error's text at most, unless it prints two types (STYLE rule 40)."""

EXAMPLES: dict[str, tuple[str | int, ...]] = {
    "AccessError": ("no such session cookie",),
    "BadFrameError": ("not JSON",),
    "ClosedError": ("the session has ended",),
    "ConcurrencyError": ("send() was called from another thread",),
    "ContextError": (),
    "ContextExpiredError": ("0190a1",),
    "ContextIntegrityError": ("create_manager()",),
    "ContextTypeError": ("create_manager()", "a.Context (a.py, id 0x1)", "b.Context (b.py, id 0x2)", "same name"),
    "EngineTimeoutError": ("bars()", "nobody is let in"),
    "EngineUnavailableError": ("revoke()", "call it again"),
    "EventError": (),
    "EventTypeError": ("builtins.str",),
    "ClaimsChangedError": ("another role",),
    "RevokedError": ("revoked",),
    "ExpiredError": ("expired at noon",),
    "ForbiddenError": ("not a member",),
    "ImportTimeError": ("cannot create a manager while 'app' is being imported",),
    "InvalidContextError": ("user_id", "must not be empty", "''"),
    "InvalidEventError": ("$.result.rows[3]", "is NaN", "tool_completed"),
    "InvalidStateError": ("the factory is not running",),
    "IsolationError": (),
    "LifecycleError": ("L07", "run 0190a1 has ended: start a new run"),
    "MessageTooBigError": ("70,000 bytes",),
    "MissingExtraError": ("install it with: pip install 'ws-isolation[cli]'",),
    "NotFoundError": ("no such thread",),
    "OwnerMismatchError": ("0190b2", "7f3a"),
    "PeerError": ("a problem",),
    "RateLimitedError": ("33 messages wait",),
    "VersionUnsupportedError": ("version 2",),
    "SchemaViolationError": ("user_id is reserved",),
    "SettingsError": ("heartbeat must be below proxy_idle_timeout",),
    "TransportClosedError": (1006,),
    "UnauthenticatedError": ("no credential",),
    "UnknownFieldError": ("userid", "did you mean user_id?"),
    "UsageError": ("a problem",),
}
"""Arguments that build each error. A new error is entered here."""

HOSTILE = {
    "long": "x" * 10_000,
    "lines": "a\r\nb\x1b[31m\u2028c",
    "surrogate": "\ud800",
    "empty": "",
}
"""What an error may be handed by somebody who does not wish us well."""

ERRORS: dict[str, type[BaseException]] = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == errors.__name__
}
"""Every exception class of the module, found by looking, not by ``__all__``."""

each_error = pytest.mark.parametrize("name", sorted(ERRORS))


def build(name: str, arguments: tuple[str | int, ...], /) -> IsolationError:
    """
    Return the error *name* of these arguments.
    """
    error = ERRORS[name](*arguments)
    assert isinstance(error, IsolationError)
    return error


def tree(kind: type[BaseException], /) -> list[str]:
    """
    Return *kind* and what derives from it in this module, drawn as in the module's docstring.
    """
    outside = [base.__name__ for base in kind.__bases__ if base.__module__ == "builtins"]
    label = kind.__name__ + (f" ({', '.join(outside)})" if outside and kind is not IsolationError else "")
    lines = [label]
    children = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    for child in children:
        first, *rest = tree(child)
        is_last = child is children[-1]
        lines.append(("└── " if is_last else "├── ") + first)
        lines += [("    " if is_last else "│   ") + line for line in rest]
    return lines


def test_examples_are_complete() -> None:
    """
    The table above names each error, and nothing else.
    """
    assert sorted(ERRORS) == sorted(EXAMPLES)


@each_error
def test_one_root_and_public(name: str) -> None:
    """
    Whoever catches ``IsolationError`` catches this error, and can import it by name.
    """
    assert issubclass(ERRORS[name], IsolationError)
    assert name in errors.__all__


def test_tree_is_as_printed() -> None:
    """
    The tree in the module's docstring is the real one.
    """
    printed = re.findall(r"^    ((?:[│ ]   )*(?:[├└]── )?\w+(?: \(.*\))?)$", errors.__doc__ or "", re.MULTILINE)

    assert tree(IsolationError) == printed


@each_error
def test_pickles(name: str) -> None:
    """
    The error comes out of another process as it went in: type, fields, text.
    """
    error = build(name, EXAMPLES[name])

    copy = pickle.loads(pickle.dumps(error))

    assert type(error) is type(copy)
    assert error.args == copy.args == EXAMPLES[name]
    assert vars(error) == vars(copy)
    assert str(error) == str(copy)


@each_error
def test_says_its_fields(name: str) -> None:
    """
    The text holds what the error was built from, and ends without a full stop.
    """
    text = str(build(name, EXAMPLES[name]))

    assert [] == [field for field in EXAMPLES[name] if str(field) not in text]
    assert not text.endswith(".")


@pytest.mark.scenario("S02")
@pytest.mark.parametrize("hostile", sorted(HOSTILE))
@each_error
def test_text_is_total_and_bounded(name: str, hostile: str) -> None:
    """
    Whatever the fields hold, the text is there, fits, and cannot forge a line of a log.
    """
    arguments = tuple(HOSTILE[hostile] if isinstance(a, str) else a for a in EXAMPLES[name])
    error = build(name, arguments)

    text = str(error)

    assert repr(error)
    if name != "ContextTypeError":  # prints two types; the gate bounds what it hands in
        assert len(text) <= LIMIT
        assert not text or text.isprintable()


@each_error
def test_close_code_is_registered(name: str) -> None:
    """
    A session that this error ends is closed with a code of the registry.
    """
    assert build(name, EXAMPLES[name]).close_code in CODES
