"""
The data of a client's message as a value of the application's own class.

Rule: what is said about bad data names where and which constraint, never the
value, nor a name that the client chose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeVar, final

import msgspec
from msgspec import inspect

from .errors import SettingsError, bounded, shown

__all__ = ("InvalidDataError", "decode", "require_data_class")

_T = TypeVar("_T")

_WHERE: Final = re.compile(r"(?P<problem>.*) - at (?:`key` in )?`(?P<path>\$[^`]*)`", re.DOTALL)
_SAFE: Final = re.compile(
    r"Expected .*"
    r"|Object missing required field `.*`"
    r"|Object contains unknown field(?= )"
    r"|Invalid (?:enum )?value(?= )"
    r"|Invalid (?:RFC3339 |ISO8601 |base64 )?[a-z A-Z]+\Z"
)
"""What msgspec says of its own accord and of the class; what may follow is the client's."""
_PROBLEM_LIMIT: Final = 200
_CLASSES: Final = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType)
"""An attrs class is described as a dataclass."""


@final
class InvalidDataError(Exception):
    """
    Data that does not fit its class; never leaves the library.

    Attributes:
        path: The JSON path, ``$`` for the data itself.
        problem: The broken constraint.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path: str = path
        self.problem: str = problem


def require_data_class(kind: object, /) -> None:
    """
    Check once that data can become a *kind*: a msgspec Struct, attrs class, dataclass or TypedDict.

    Raises:
        SettingsError: It is something else, or has a field that cannot be decoded.
    """
    try:
        described = inspect.type_info(kind)
    except Exception as error:  # a forward reference without a target, an unsupported field, anything else
        msg = f"data class {shown(kind)} cannot be decoded: {type(error).__name__}; check the types of its fields"
        raise SettingsError(msg) from error
    if not isinstance(described, _CLASSES):
        msg = "the data class must be a msgspec Struct, an attrs class, a dataclass or a TypedDict"
        raise SettingsError(msg)


def decode(data: Mapping[str, object], kind: type[_T], /) -> _T:
    """
    Return *data* as a *kind*. Strict: no text becomes a number, no number a text.

    Raises:
        InvalidDataError: It does not fit, or the class itself refused it.
        Exception: What the class raised instead of ``ValueError`` or ``TypeError``.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise _told(error) from None


def _told(error: msgspec.ValidationError) -> InvalidDataError:
    text = str(error)
    found = _WHERE.fullmatch(text)
    path, problem = ("$", text) if found is None else (found["path"], found["problem"])
    # With a cause, the text is what the application's class said about the value.
    safe = None if error.__cause__ is not None else _SAFE.match(problem)
    return InvalidDataError(bounded(path, _PROBLEM_LIMIT), bounded(safe[0], _PROBLEM_LIMIT) if safe else "not valid")
