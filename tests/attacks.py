"""
Everything that has been taken for a context, or could be: the table that each gate is held against.

Here a genuine context is *forged*, *mocked* or *edited*; none of it may pass.
"""

from __future__ import annotations

import copy
import copyreg
import pickle
import types
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, cast
from unittest import mock

import attrs
import msgspec

from ws_isolation import UserExecutionContext
from ws_isolation.errors import ContextError
from ws_isolation.testing import make_context

CANARY: Final = "canary-7d793037"
"""Stands in every field of every forged object; no refusal may show it."""

Gate = Callable[[object], object]
"""Returns or does anything for a context, raises ``ContextError`` for all else."""

_SLOTS: Final = (
    "user_id",
    "tenant_id",
    "thread_id",
    "run_id",
    "request_id",
    "expires_at",
    "parent_request_id",
    "depth",
    "_policy",
    "_claims",
    "_fingerprint",
)


def victim() -> UserExecutionContext:
    """
    Return a genuine context with a secret in it.
    """
    return make_context("alice", tenant_id="acme", claims={"secret": CANARY})


class Duck:
    """
    Has all that a context has, and quacks.
    """

    user_id = tenant_id = thread_id = run_id = request_id = CANARY
    expires_at = parent_request_id = None
    depth = 0

    @property
    def claims(self) -> dict[str, str]:
        """
        Return claims.
        """
        return {"secret": CANARY}

    def child(self) -> Duck:
        """
        Return a child.
        """
        return self


class LocalProxy:
    """
    Forwards everything to another object, its class included, as proxies of web frameworks do.
    """

    def __init__(self, target: object) -> None:
        object.__setattr__(self, "_target", target)

    def __getattribute__(self, name: str) -> object:
        return getattr(object.__getattribute__(self, "_target"), name)


def _impostor(**namespace: object) -> object:
    """
    Return an object of another class that is called the same.
    """
    return type("UserExecutionContext", (Duck,), namespace)()


class _Mute:
    """
    Keeps a class from hearing that it gets a subclass.
    """

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        """
        Say nothing to the next class.
        """


def _subclass(name: str = "Extended", **namespace: object) -> type[UserExecutionContext]:
    """
    Return a subclass, made past the refusal of subclasses.
    """
    return type(name, (_Mute, UserExecutionContext), {"__slots__": (), **namespace})


def _liar() -> object:
    class Liar(Duck):
        @property  # type: ignore[misc]  # object's is read-write
        def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
            return UserExecutionContext

    return Liar()


_TARGET: Final = victim()
"""What a weak proxy stands for; it has to live."""

FORGED: Final[dict[str, Callable[[], object]]] = {
    "None": lambda: None,
    "a str": lambda: CANARY,
    "a dict": lambda: {"user_id": CANARY},
    "the class itself": lambda: UserExecutionContext,
    "a namespace": lambda: types.SimpleNamespace(user_id=CANARY, tenant_id=None, thread_id=CANARY, claims={}),
    "a duck type": Duck,
    "same name": _impostor,
    "same module and name": lambda: _impostor(
        __module__=UserExecutionContext.__module__, __qualname__=UserExecutionContext.__qualname__
    ),
    "subclass": lambda: _subclass()(user_id=CANARY),
    "subclass of the same name": lambda: _subclass(
        "UserExecutionContext",
        __module__=UserExecutionContext.__module__,
        __qualname__=UserExecutionContext.__qualname__,
    )(user_id=CANARY),
    "instance made a subclass's": lambda: _reclassed(victim(), _subclass()),
    "Mock": lambda: mock.Mock(user_id=CANARY),
    "Mock with spec": lambda: mock.Mock(spec=UserExecutionContext, user_id=CANARY),
    "Mock with spec of an instance": lambda: mock.Mock(spec=victim()),
    "MagicMock with spec": lambda: mock.MagicMock(spec=UserExecutionContext),
    "NonCallableMock with spec_set": lambda: mock.NonCallableMock(spec_set=UserExecutionContext),
    "autospec": lambda: mock.create_autospec(UserExecutionContext, instance=True),
    "weak proxy": lambda: weakref.proxy(_TARGET),
    "local proxy": lambda: LocalProxy(victim()),
    "lies about its class": _liar,
}
"""Objects of another type; the first question, ``type()``, finds them out."""


def _reclassed(thing: object, kind: type) -> object:
    object.__setattr__(thing, "__class__", kind)
    return thing


def _empty() -> UserExecutionContext:
    return object.__new__(UserExecutionContext)


def _with_slots_of(genuine: object) -> UserExecutionContext:
    made = _empty()
    for name in _SLOTS:
        object.__setattr__(made, name, getattr(genuine, name))
    return made


def _edited(**fields: object) -> object:
    made = victim()
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def _without(name: str) -> object:
    made = victim()
    object.__delattr__(made, name)
    return made


def _half_made() -> object:
    made = _empty()
    try:
        UserExecutionContext.__init__(made, user_id="")
    except ContextError:
        return made
    raise AssertionError


def _converted() -> object:
    genuine = victim()
    values = {name: getattr(genuine, name) for name in _SLOTS}
    return msgspec.convert(values | {"user_id": CANARY}, UserExecutionContext)


def _unpickled() -> object:
    # An edited pickle needs no cooperation of the class to make an object of it.
    kind = pickle.dumps(UserExecutionContext, 2)[2:-1]
    return pickle.loads(b"\x80\x02" + kind + b")\x81.")


EDITED: Final[dict[str, Callable[[], object]]] = {
    "empty": _empty,
    "half made": _half_made,
    "copied slots": lambda: _with_slots_of(victim()),
    "copied slots, another user": lambda: _edit(_with_slots_of(victim()), "user_id", CANARY),
    "edited user": lambda: _edited(user_id=CANARY),
    "edited tenant": lambda: _edited(tenant_id=CANARY),
    "no tenant": lambda: _edited(tenant_id=None),
    "edited thread": lambda: _edited(thread_id=CANARY),
    "edited run": lambda: _edited(run_id=CANARY),
    "edited request": lambda: _edited(request_id=CANARY),
    "edited parent": lambda: _edited(parent_request_id=CANARY),
    "edited depth": lambda: _edited(depth=-1_000),
    "edited expiry": lambda: _edited(expires_at=datetime(2100, 1, 1, tzinfo=UTC)),
    "edited claims": lambda: _edited(_claims=make_context(claims={"secret": CANARY}).claims),
    "edited policy": lambda: _edited(_policy=object()),
    "edited fingerprint": lambda: _edited(_fingerprint=b"\x00" * 16),
    "fingerprint of another": lambda: _edited(_fingerprint=victim()._fingerprint),
    "fingerprint is no bytes": lambda: _edited(_fingerprint=None),
    "deleted user": lambda: _without("user_id"),
    "deleted fingerprint": lambda: _without("_fingerprint"),
    "made by a subclass": lambda: _reclassed(_subclass()(user_id=CANARY), UserExecutionContext),
    "edited pickle": _unpickled,
    "reconstructed": lambda: cast("Any", copyreg)._reconstructor(UserExecutionContext, object, None),
    "copyreg": lambda: cast("Any", copyreg).__newobj__(UserExecutionContext),
    "msgspec": _converted,
}
"""Objects of exactly the right type, made or changed by something else than the constructor."""


def _edit(thing: object, name: str, value: object) -> object:
    object.__setattr__(thing, name, value)
    return thing


def _with_validators_off() -> object:
    with attrs.validators.disabled():
        return cast("Any", UserExecutionContext)(user_id="")


def _patched() -> object:
    made = victim()
    with mock.patch.object(made, "user_id", CANARY):
        return made


def _from_json() -> object:
    text = msgspec.json.encode({name.lstrip("_"): None for name in _SLOTS} | {"user_id": CANARY})
    return msgspec.json.decode(text, type=UserExecutionContext)


IMPOSSIBLE: Final[dict[str, Callable[[], object]]] = {
    "subclass": lambda: type("Extended", (UserExecutionContext,), {}),
    "subclass by type.__new__": lambda: type.__new__(type, "Extended", (UserExecutionContext,), {}),
    "register": lambda: cast("Any", UserExecutionContext).register(Duck),
    "evolve": lambda: attrs.evolve(victim(), user_id=CANARY),
    "evolve nothing": lambda: attrs.evolve(victim()),
    "second __init__": lambda: cast("Any", victim()).__init__(user_id=CANARY),
    "second __init__ by the class": lambda: UserExecutionContext.__init__(victim(), user_id=CANARY),
    "dumps": lambda: pickle.loads(pickle.dumps(victim())),
    "__setstate__": lambda: victim().__setstate__({"user_id": CANARY}),
    "__setstate__ of an empty one": lambda: _empty().__setstate__((None, {"user_id": CANARY})),
    "assignment of __class__": lambda: setattr(victim(), "__class__", _subclass()),
    "assignment": lambda: setattr(victim(), "user_id", CANARY),
    "patch": _patched,
    "blank id without validators": _with_validators_off,
    "JSON": _from_json,
    "its own fields": lambda: cast("Any", UserExecutionContext)(**attrs.asdict(victim())),
}
"""What does not even make an object."""

if hasattr(copy, "replace"):  # Python 3.13
    IMPOSSIBLE["copy.replace"] = lambda: cast("Any", copy).replace(victim(), user_id=CANARY)


def genuine() -> Iterator[UserExecutionContext]:
    """
    Yield contexts that every gate must accept.
    """
    yield make_context()
    yield make_context("a:b", tenant_id="*", claims={"user_id": "bob"})
    yield UserExecutionContext(user_id="alice")
    yield make_context().child(thread_id="t2")
    yield copy.copy(make_context())
    yield copy.deepcopy(make_context())


def accepted_by(gate: Gate, /) -> set[str]:
    """
    Return the names of the attacks that *gate* lets through; any other error than a refusal goes on.
    """
    through: set[str] = set()
    for name, make in (FORGED | EDITED).items():
        try:
            gate(make())
        except ContextError:
            continue
        through.add(name)
    return through


def check_gate(gate: Gate, /) -> None:
    """
    Raise AssertionError where *gate* accepts an attack or refuses a genuine context.
    """
    for context in genuine():
        try:
            gate(context)
        except ContextError as error:
            message = f"refused a genuine context: {error}"
            raise AssertionError(message) from error
    through = accepted_by(gate)
    assert not through, f"accepted: {', '.join(sorted(through))}"


@contextmanager
def untouched() -> Generator[object]:
    """
    Give an object of another type, and fail if anything was asked of it.
    """
    asked: list[str] = []

    class Witness:
        def __getattribute__(self, name: str) -> object:
            asked.append(name)
            return object.__getattribute__(self, name)

        def __repr__(self) -> str:
            asked.append("repr")
            return CANARY

    yield Witness()
    assert [] == asked
