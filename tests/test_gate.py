"""
The gate: exactly the one class, made by its constructor, unchanged; and a refusal that says what to change.
"""

from __future__ import annotations

import importlib.util
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Final, cast

import msgspec
import pytest
from hypothesis import given

import ws_isolation
from tests.attacks import CANARY, EDITED, FORGED, IMPOSSIBLE, Gate, accepted_by, check_gate, genuine, untouched, victim
from tests.strategies import MAKE_HOSTILE, Something, anything
from ws_isolation import IsolatedManager, ManagerFactory, UserExecutionContext, context
from ws_isolation.context import is_intact, require_context
from ws_isolation.errors import ContextError, ContextIntegrityError, ContextTypeError, IsolationError
from ws_isolation.testing import RecordingTransport, make_context

TEXT_LIMIT: Final = 1_000
"""Characters of a refusal at most: it prints two types, each bounded."""


def gate(value: object, /) -> object:
    """
    Return what the library's own gate returns.
    """
    return require_context(value, caller="the gate")


def refusal_of(value: object, /) -> ContextTypeError:
    """
    Return the error with which the gate refuses *value* by its type.
    """
    with pytest.raises(ContextTypeError) as caught:
        gate(value)
    return caught.value


@pytest.mark.scenario("S14", "S15")
@pytest.mark.requirement("P6")
def test_gate_holds() -> None:
    """
    No attack passes, each genuine context does.
    """
    check_gate(gate)
    check_gate(cast("Gate", ManagerFactory().create_manager))


@pytest.mark.scenario("S14", "S15")
@pytest.mark.parametrize("name", sorted(FORGED))
def test_another_type_is_refused(name: str) -> None:
    """
    Whatever is of another type is refused as that, without a field value in the text, its fields or its pickle.
    """
    error = refusal_of(FORGED[name]())

    assert CANARY not in str(error)
    assert CANARY not in repr(error)
    assert CANARY not in str(vars(error))
    assert CANARY.encode() not in pickle.dumps(error)
    assert len(str(error)) <= TEXT_LIMIT
    assert 4310 == error.close_code


@pytest.mark.scenario("S15")
@pytest.mark.parametrize("name", sorted(EDITED))
def test_what_was_edited_is_refused(name: str) -> None:
    """
    What has the right type and was made or changed past its constructor is refused as that, without a value.
    """
    thing = EDITED[name]()
    assert type(thing) is UserExecutionContext
    assert not is_intact(thing)

    with pytest.raises(
        ContextIntegrityError, match="the gate got a UserExecutionContext that its constructor"
    ) as caught:
        gate(thing)

    assert CANARY not in str(caught.value) + repr(caught.value)
    assert CANARY not in repr(thing)
    assert 4310 == caught.value.close_code


@pytest.mark.scenario("S05", "S15")
@pytest.mark.parametrize("name", sorted(IMPOSSIBLE))
def test_what_cannot_be_made(name: str) -> None:
    """
    Subclassing, evolving, a second ``__init__``, unpickling and assigning raise before anything exists.
    """
    with pytest.raises((TypeError, ValueError, AttributeError, msgspec.MsgspecError)) as caught:
        IMPOSSIBLE[name]()

    assert CANARY not in str(caught.value)


@pytest.mark.scenario("S15")
def test_second_init_changes_nothing() -> None:
    """
    A context that others hold keeps its user when its constructor is called on it again.
    """
    made = victim()
    before = made.log_form()

    with pytest.raises(IsolationError, match=r"it is made once; derive others with child\(\)"):
        UserExecutionContext.__init__(made, user_id="mallory")

    assert before == made.log_form()
    assert is_intact(made)


@pytest.mark.scenario("S15")
def test_evolve_points_to_child() -> None:
    """
    Who copies with changes is told about ``child()``.
    """
    with pytest.raises(IsolationError, match=r"evolve\(\) and copy.replace\(\) are refused; use child\(\)"):
        IMPOSSIBLE["evolve"]()


@pytest.mark.scenario("S14", "S15")
@pytest.mark.parametrize("name", sorted(FORGED | EDITED))
async def test_no_manager_results(name: str) -> None:
    """
    A refusal leaves no manager, shared or fallback, no session and no stream; the transport was not touched.
    """
    made: list[IsolatedManager] = []

    def keep(manager: IsolatedManager) -> IsolatedManager:
        made.append(manager)
        return manager

    factory = ManagerFactory(manager=keep)
    transport = RecordingTransport()
    thing = cast("UserExecutionContext", (FORGED | EDITED)[name]())

    with pytest.raises(ContextError, match=r"^create_manager\(\) "):
        factory.create_manager(thing)
    with pytest.raises(ContextError):
        async with factory.attach(thing, transport):
            raise AssertionError

    stats = factory.stats()
    assert [] == made
    assert (0, 0, 0) == (stats.sessions, stats.streams, stats.work)
    assert ([], None, False) == (transport.sent, transport.closed, transport.aborted)


@pytest.mark.scenario("S15")
def test_genuine_contexts_pass_as_they_are() -> None:
    """
    A genuine context comes out of the gate as the same object.
    """
    for made in genuine():
        assert gate(made) is made


# --- what the refusal says --------------------------------------------------------------------


def _module_with_a_context(folder: Path) -> ModuleType:
    file = folder / "legacy_context.py"
    file.write_text("class UserExecutionContext:\n    user_id = 'canary'\n", "utf-8")
    spec = importlib.util.spec_from_file_location("legacy_context", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.scenario("S14")
def test_names_both_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The refusal holds module, qualified name, file and id of both types, and says that only the names are equal.
    """
    module = _module_with_a_context(tmp_path)
    monkeypatch.setitem(sys.modules, "legacy_context", module)

    error = refusal_of(module.UserExecutionContext())

    assert error.expected == (
        f"ws_isolation.context.UserExecutionContext ({context.__file__}, id {id(UserExecutionContext):#x}, "
        f"version {ws_isolation.__version__})"
    )
    place = f"{tmp_path / 'legacy_context.py'}, id {id(module.UserExecutionContext):#x}"
    assert f"legacy_context.UserExecutionContext ({place})" == error.actual
    assert f"the gate needs {error.expected}, got {error.actual}: {error.hint}" == str(error)
    assert "same name, different class; import it from ws_isolation" == error.hint


@pytest.mark.scenario("S14")
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("None", "there is no default user"),
        ("same name", "same name, different class"),
        ("same module and name", "same name, different class"),
        ("subclass", "subclasses are refused"),
        ("subclass of the same name", "subclasses are refused"),
        ("instance made a subclass's", "subclasses are refused"),
        ("Mock", "a mock is no context; use ws_isolation.testing.make_context()"),
        ("Mock with spec", "a mock is no context; use ws_isolation.testing.make_context()"),
        ("autospec", "a mock is no context; use ws_isolation.testing.make_context()"),
        ("weak proxy", "a proxy is no context"),
        ("local proxy", "a proxy is no context"),
        ("a dict", "build one with UserExecutionContext(user_id=...)"),
        ("the class itself", "build one with UserExecutionContext(user_id=...)"),
        ("lies about its class", "build one with UserExecutionContext(user_id=...)"),
    ],
)
def test_says_what_to_change(name: str, hint: str) -> None:
    """
    The refusal ends with the one thing to change.
    """
    assert hint in refusal_of(FORGED[name]()).hint


@pytest.mark.scenario("S14")
def test_touches_the_type_only() -> None:
    """
    Nothing is asked of the refused object itself: not its class, its attributes or its ``repr``.
    """
    with untouched() as thing:
        error = refusal_of(thing)

    assert CANARY not in str(error)


class _LazyModule(ModuleType):
    """
    A module that loads something as soon as it is asked for anything.
    """

    def __getattr__(self, name: str) -> object:
        raise RuntimeError


class _BrokenModule:
    """
    Stands in ``sys.modules``, and raises.
    """

    __slots__ = ()

    @property
    def __file__(self) -> str:
        raise RuntimeError


@pytest.mark.scenario("S02", "S14")
@pytest.mark.parametrize(
    "module", [_LazyModule("strange"), _BrokenModule(), None, 7], ids=["lazy", "broken", "None", "7"]
)
def test_strange_modules(monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    """
    What stands in ``sys.modules`` under the name that a forged class gives is not asked for anything.
    """
    monkeypatch.setitem(sys.modules, "strange", cast("ModuleType", module))

    error = refusal_of(type("UserExecutionContext", (), {"__module__": "strange"})())

    assert error.actual.startswith("strange.UserExecutionContext (no file, id 0x")


@pytest.mark.scenario("S02", "S15")
@pytest.mark.parametrize("name", sorted(MAKE_HOSTILE))
def test_hostile_objects(name: str) -> None:
    """
    An object whose class, name, ``repr`` or comparison raises or lies is refused like any other.
    """
    error = refusal_of(MAKE_HOSTILE[name]())

    assert str(error).isprintable()
    assert len(str(error)) <= TEXT_LIMIT
    assert str(error) == str(pickle.loads(pickle.dumps(error)))


@pytest.mark.scenario("S02", "S15")
@given(anything())
def test_refusing_cannot_fail(something: Something) -> None:
    """
    For any object the outcome is the refusal, and nothing else.
    """
    error = refusal_of(something.make())

    assert str(error).startswith("the gate needs ws_isolation.context.UserExecutionContext (")
    assert len(str(error)) <= TEXT_LIMIT


# --- negative controls: gates that others have, and what they let through ---------------------


def by_isinstance(value: object) -> object:
    """
    Accept what says that it is one.
    """
    return value if isinstance(value, UserExecutionContext) else gate(None)


def by_class_attribute(value: object) -> object:
    """
    Accept what has the class as ``__class__``.
    """
    return value if value.__class__ is UserExecutionContext else gate(None)


def by_type_alone(value: object) -> object:
    """
    Accept the exact type, whoever made it.
    """
    return value if type(value) is UserExecutionContext else gate(None)


def by_name(value: object) -> object:
    """
    Accept what is called like it.
    """
    return value if type(value).__name__ == "UserExecutionContext" else gate(None)


def by_module_and_name(value: object) -> object:
    """
    Accept what has its module and qualified name.
    """
    kind = type(value)
    wanted = (UserExecutionContext.__module__, UserExecutionContext.__qualname__)
    return value if (kind.__module__, kind.__qualname__) == wanted else gate(None)


def by_fields(value: object) -> object:
    """
    Accept what has its fields.
    """
    return value if hasattr(value, "user_id") and hasattr(value, "thread_id") else gate(None)


def with_fallback(value: object) -> object:
    """
    Hand out a context of nobody in place of a refusal.
    """
    try:
        return gate(value)
    except ContextError:
        return make_context("unknown")


_LIARS: Final = {
    "Mock with spec",
    "Mock with spec of an instance",
    "MagicMock with spec",
    "NonCallableMock with spec_set",
    "autospec",
    "weak proxy",
    "local proxy",
    "lies about its class",
}
_SUBCLASSES: Final = {"subclass", "subclass of the same name", "instance made a subclass's"}
_FORGED_NAMES: Final = {"same module and name", "subclass of the same name"}


@pytest.mark.scenario("S65")
@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (by_isinstance, _LIARS | _SUBCLASSES | set(EDITED)),
        (by_class_attribute, _LIARS | set(EDITED)),
        (by_type_alone, set(EDITED)),
        (by_name, {"same name"} | _FORGED_NAMES | set(EDITED)),
        (by_module_and_name, _FORGED_NAMES | set(EDITED)),
        (with_fallback, set(FORGED | EDITED)),
    ],
)
def test_broken_gates_are_caught(broken: Gate, expected: set[str]) -> None:
    """
    Each weaker question lets through exactly the attacks that it is known for, and the check says so.
    """
    assert expected == accepted_by(broken)
    with pytest.raises(AssertionError, match="accepted: "):
        check_gate(broken)


@pytest.mark.scenario("S65")
def test_gate_by_fields_is_caught() -> None:
    """
    Asking for fields lets ducks, namespaces and mocks through as well.
    """
    assert {"a duck type", "a namespace", "Mock", *_LIARS} <= accepted_by(by_fields) | {"lies about its class"}
    with pytest.raises(AssertionError, match="accepted: "):
        check_gate(by_fields)


@pytest.mark.scenario("S65")
def test_gate_that_refuses_all_is_caught() -> None:
    """
    A gate that refuses genuine contexts is no gate either.
    """
    with pytest.raises(AssertionError, match="refused a genuine context"):
        check_gate(lambda _value: gate(None))
