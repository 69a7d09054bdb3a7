"""
The context variables that code of a session runs with: a clean set, and what the application names.

A server may hand a request the variables of another one: callbacks that asyncio registers inside a
task keep that task's variables, and the next request on the same TCP connection copies them
(python/cpython#140947; measured on uvicorn 0.54 with the asyncio loop: a WebSocket of Bob saw what a
large POST of Alice had set). So nothing is inherited here. What tracing needs is carried by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import Context, ContextVar
from typing import Any, Final, TypeAlias, cast

from .errors import SettingsError, type_name

__all__ = ("Variable", "carried", "require_variables")

Variable: TypeAlias = ContextVar[Any]  # type: ignore[explicit-any]  # of whatever it holds: ContextVar is invariant
"""A context variable, whatever it holds."""

_UNSET: Final = object()


def carried(variables: tuple[Variable, ...], /) -> Context:
    """Return a context in which only those of *variables* are set that are set here."""
    clean = Context()
    for variable in variables:
        value = variable.get(_UNSET)
        if value is not _UNSET:
            clean.run(variable.set, value)
    return clean


def require_variables(variables: Iterable[Variable], /) -> tuple[Variable, ...]:
    """
    Return *variables* as a tuple.

    Raises:
        SettingsError: One of them is no ``ContextVar``, or there is nothing to iterate.
    """
    try:
        named = tuple(variables)
    except TypeError as error:
        msg = f"carry must be a collection of ContextVar objects, not {type_name(type(variables))}"
        raise SettingsError(msg) from error
    for variable in cast("tuple[object, ...]", named):
        if type(variable) is not ContextVar:
            msg = f"carry must name ContextVar objects, and one is {type_name(type(variable))}"
            raise SettingsError(msg)
    return named
