"""
Seven things that look like a context and are none.

Each takes Mallory's genuine context and returns something that says ``alice``.
Most of them have been seen in real services, where an ``isinstance`` or a look
at the name let them through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias, final
from unittest.mock import Mock

import attrs

from .. import UserExecutionContext

__all__ = ("FORGERIES", "Forgery")

_VICTIM: Final = "alice"

Forge: TypeAlias = Callable[[UserExecutionContext], object]
"""Makes the forged object from a genuine context."""


@final
@attrs.frozen
class Forgery:
    """
    One way to forge a context.

    Attributes:
        name: Its name in URLs.
        title: Its name for people.
        about: What is tried, in a sentence.
        forge: Does it.
    """

    name: str
    title: str
    about: str
    forge: Forge


def _same_name(own: UserExecutionContext) -> object:
    # What a second models.py in the same service looks like: same name, same fields, other class.
    kind = attrs.make_class("UserExecutionContext", ["user_id", "thread_id", "request_id"], frozen=True)
    return kind(_VICTIM, own.thread_id, own.request_id)


def _subclass(own: UserExecutionContext) -> object:
    # The class refuses to be subclassed; a base of one's own that stands before it hides that refusal.
    quiet = type("Quiet", (), {"__slots__": (), "__init_subclass__": classmethod(lambda _cls: None)})
    kind = type("AdminContext", (quiet, UserExecutionContext), {"__slots__": ()})
    return kind(user_id=_VICTIM, thread_id=own.thread_id)


def _mock(own: UserExecutionContext) -> object:
    mock = Mock(spec=UserExecutionContext)  # isinstance(mock, UserExecutionContext) is True
    mock.user_id = _VICTIM
    mock.thread_id = own.thread_id
    return mock


def _edited(own: UserExecutionContext) -> object:
    # A copy is taken first: the context of the session that is asked from stays what it is.
    context = own.child()
    object.__setattr__(context, "user_id", _VICTIM)  # the front door, context.user_id = ..., is locked
    return context


def _unconstructed(own: UserExecutionContext) -> object:
    context = object.__new__(UserExecutionContext)
    object.__setattr__(context, "user_id", _VICTIM)
    object.__setattr__(context, "thread_id", own.thread_id)
    return context


def _dict(own: UserExecutionContext) -> object:
    return {"user_id": _VICTIM, "thread_id": own.thread_id}


def _none(_own: UserExecutionContext) -> object:
    return None


FORGERIES: Final = (
    Forgery("same-name", "Same-named class", "Another class called UserExecutionContext that says alice.", _same_name),
    Forgery("subclass", "Subclass", "A subclass that gets around the refusal to be subclassed.", _subclass),
    Forgery("mock", "Mock", "Mock(spec=UserExecutionContext): isinstance() says yes to it.", _mock),
    Forgery("edited", "Edited user id", "A genuine context whose user_id was overwritten with alice.", _edited),
    Forgery("new", "object.__new__", "A context that no constructor has seen, filled in by hand.", _unconstructed),
    Forgery("dict", "A dict", 'Just {"user_id": "alice"}.', _dict),
    Forgery("none", "None", "Nobody at all, in the hope of a default user.", _none),
)
"""All of them, in the order in which they are shown."""
