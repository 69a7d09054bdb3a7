"""
Straight-line code from a declaration: one function per class for its checks, one for its members.

Rule 1: the declared checks decide. The code here lets through what is plainly
right and asks the declared check about everything else, so that every refusal,
its path and its words are that check's own.

Rule 2: names of fields, numbers and literals of the declaration are all that
enters the text of a function; no value that an event holds ever does.

Compiled when the first event of a class is made: nobody pays at import for
what is never sent. The text is kept in each function's ``__doc__``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Final, Literal, TypeAlias, cast, get_args, get_origin

from msgspec import UNSET, Meta, Struct
from msgspec.structs import force_setattr

from ..errors import InvalidEventError
from ..frozen import MAX_INT, JsonValueError
from .checks import Check, extra, limits_of
from .limits import Id

__all__ = ("Fields", "checks", "function", "plain")

Fields: TypeAlias = Sequence[tuple[str, object, bool, Check]]
"""Of each field: its name, its annotation, whether it may be absent, and its declared check."""

_ID_PATTERN: Final = cast("Meta", get_args(Id)[1]).pattern
_IS_ID: Final = "0 < len({0}) <= 255 and {0}.isascii() and {0}.isprintable() and ' ' not in {0}"
"""The same as that pattern, at half of its price."""


def plain(annotation: object, /) -> str | None:
    """
    Return an expression over ``{0}`` that is true only for values which the declared check returns as they are.

    None where there is no such expression: then the declared check is always asked.
    """
    kind, limits = limits_of(annotation)
    if get_origin(kind) is Literal:
        return f"type({{0}}) is str and {{0}} in {get_args(kind)!r}"
    make = _BY_KIND.get(kind)
    return None if make is None else make(limits)


def _text(limits: Meta) -> str | None:
    if limits.pattern is not None:
        return f"type({{0}}) is str and {_IS_ID}" if limits.pattern == _ID_PATTERN else None
    # ASCII has no surrogates, and as many bytes as characters.
    most = min(limits.max_length or MAX_INT, extra(limits, "bytes", MAX_INT))
    return f"type({{0}}) is str and {limits.min_length or 0} <= len({{0}}) <= {most} and {{0}}.isascii()"


def _integer(limits: Meta) -> str:
    least = -MAX_INT if limits.ge is None else int(limits.ge)
    most = MAX_INT if limits.le is None else int(limits.le)
    return f"type({{0}}) is int and {least} <= {{0}} <= {most}"


def _number(limits: Meta) -> str:
    least = -MAX_INT if limits.ge is None else limits.ge
    return f"type({{0}}) is float and {least} <= {{0}} <= {MAX_INT}"


def _boolean(limits: Meta) -> str:
    return "{0} is True" if extra(limits, "const", 0) == 1 else "{0} is True or {0} is False"


_BY_KIND: Final[Mapping[object, Callable[[Meta], str | None]]] = {
    str: _text,
    int: _integer,
    float: _number,
    bool: _boolean,
}


def checks(fields: Fields, label: str, /, *, together: bool) -> Callable[[Struct], None]:
    """
    Return a function that checks a new value in the order of its fields, and stores what the checks return.

    Args:
        fields: In their order.
        label: What errors call the class.
        together: Whether ``_check_together`` follows.
    """
    names: dict[str, object] = {"UNSET": UNSET}
    lines = ["def check(self):"]
    for name, annotation, optional, check in fields:
        names[f"ask_{name}"] = _asking(name, check, label)
        expression = plain(annotation)
        parts = [f"(value := self.{name}) is not UNSET"] if optional else []
        if not optional:
            lines.append(f"    value = self.{name}")
        if expression is not None:
            parts.append(f"not ({expression.format('value')})")
        lines.append(f"    if {' and '.join(parts) or 'True'}:")
        lines.append(f"        ask_{name}(self, value)")
    if together:
        lines.append("    self._check_together()")
    return cast("Callable[[Struct], None]", function(lines, names))


def _asking(name: str, check: Check, label: str) -> Callable[[Struct, object], None]:
    def ask(made: Struct, value: object) -> None:
        try:
            checked = check(value)
        except JsonValueError as error:
            raise InvalidEventError(f"$.{name}{error.path[1:]}", error.problem, label) from None
        if checked is not value:
            force_setattr(made, name, checked)

    return ask


def function(lines: Sequence[str], names: Mapping[str, object], /) -> FunctionType:
    """Return the one function that *lines* define; its text is its ``__doc__``."""
    text = "\n".join(lines) + "\n"
    space = dict(names)
    exec(compile(text, f"<{__name__}>", "exec"), space)  # noqa: S102  # text of our own: see rule 2
    (made,) = [value for name, value in space.items() if name not in names and isinstance(value, FunctionType)]
    made.__doc__ = text
    return made
