"""
Two users' objects share nothing that can change, but the factory, its clock and the event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
import gc
import inspect
import re
import types
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Final, cast

import attrs
import msgspec
import pytest

from ws_isolation import ManagerFactory, UserExecutionContext
from ws_isolation.frozen import FrozenDict
from ws_isolation.testing import FakeClock, RecordingTransport, make_context

_ATOMS: Final = (
    str,
    bytes,
    int,
    float,
    complex,
    type(None),
    type(NotImplemented),
    type(Ellipsis),
    tuple,
    frozenset,
    FrozenDict,
    enum.Enum,
    re.Pattern,
    msgspec.UnsetType,
    types.ModuleType,
    types.BuiltinFunctionType,
    types.GenericAlias,
    types.CodeType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    property,
    staticmethod,
    classmethod,
    weakref.ref,
    # An immutable mapping; what a task does not set itself, it has from whoever started it.
    contextvars.Context,
    contextvars.ContextVar,
)
"""What cannot change. The items of a tuple are looked at on their own."""


_CONTAINERS: Final = (list, dict, set, bytearray, deque)


def can_change(thing: object, /) -> bool:
    """
    Tell whether somebody who holds *thing* could change what another holder sees.
    """
    kind = type(thing)
    if issubclass(kind, (type, *_ATOMS, types.FunctionType)):
        return False
    if attrs.has(kind) and kind.__setattr__ is not object.__setattr__:
        return False
    if issubclass(kind, msgspec.Struct):
        return not kind.__struct_config__.frozen
    # An empty list can change as well as a full one; a bare object() has nothing that could.
    return issubclass(kind, _CONTAINERS) or bool(gc.get_referents(thing)) or hasattr(thing, "__dict__")


def _held_by(thing: object) -> list[object]:
    if isinstance(thing, types.FunctionType):
        # Not its globals: those are the module's, and hold no user.
        return [thing.__closure__, thing.__defaults__, thing.__kwdefaults__]
    if isinstance(thing, type | types.ModuleType | contextvars.Context):
        return []
    return list(gc.get_referents(thing))


def reachable(roots: Sequence[object], stop: Sequence[object], /) -> dict[int, object]:
    """
    Return all that hangs on *roots* by their ids, without what hangs on *stop*.
    """
    found: dict[int, object] = {}
    ends = {id(thing) for thing in stop}
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        if id(thing) in found or id(thing) in ends:
            continue
        found[id(thing)] = thing
        waiting.extend(_held_by(thing))
    return found


def shared(one: Sequence[object], two: Sequence[object], stop: Sequence[object], /) -> list[object]:
    """
    Return the objects that can change and hang on both *one* and *two*.
    """
    left, right = reachable(one, stop), reachable(two, stop)
    return [left[number] for number in left.keys() & right.keys() if can_change(left[number])]


async def user(factory: ManagerFactory, stack: AsyncExitStack, user_id: str, /) -> list[object]:
    """
    Let a user connect, run an agent and send; return the objects that belong to it.
    """
    context = make_context(user_id, claims={"roles": ["admin"], "by": user_id})
    transport = RecordingTransport()
    session = await stack.enter_async_context(factory.attach(context, transport))
    run = await stack.enter_async_context(session.manager.run("assistant"))
    await run.thinking("looking it up")
    tool = await stack.enter_async_context(run.tool("search", {"q": [1, {"a": 2}]}))
    message = await stack.enter_async_context(run.message())
    await message.write("hello")
    await asyncio.sleep(0)
    return [context, context.child(), session, session.manager, run, tool, message, transport]


@pytest.mark.scenario("S18")
@pytest.mark.requirement("I3", "I4")
async def test_two_users_share_nothing() -> None:
    """
    From the contexts, managers, sessions, runs, tools and texts of two users no common mutable object is reached.
    """
    clock = FakeClock()
    factory = ManagerFactory(clock=clock)
    loop = asyncio.get_running_loop()
    async with factory, AsyncExitStack() as stack:
        alice, bob = await user(factory, stack, "alice"), await user(factory, stack, "bob")
        this_test = asyncio.current_task()

        found = shared(alice, bob, [factory, factory._runtime, clock, loop, this_test, inspect.currentframe()])

    assert [] == [repr(thing)[:200] for thing in found]


@pytest.mark.scenario("S18")
async def test_one_user_is_not_reached_from_the_other() -> None:
    """
    Nothing of Bob's hangs on anything of Alice's: no id, no claim, no text.
    """
    clock = FakeClock()
    factory = ManagerFactory(clock=clock)
    async with factory, AsyncExitStack() as stack:
        alice, bob = await user(factory, stack, "alice-6f1e"), await user(factory, stack, "bob-9c2d")
        stop = [factory, factory._runtime, clock, asyncio.get_running_loop(), asyncio.current_task()]
        stop += [inspect.currentframe(), bob, stack]

        texts = [thing for thing in reachable(alice, stop).values() if type(thing) is str]

    assert any("alice-6f1e" in text for text in texts)
    assert [] == [text for text in texts if "bob-9c2d" in text]


@pytest.mark.scenario("S18")
def test_contexts_share_nothing() -> None:
    """
    Contexts made from the same dict of claims, and parent and child, share immutable objects only.
    """
    claims = {"roles": ["admin"], "deep": {"list": [[1], [2]]}}
    build = cast("Callable[..., UserExecutionContext]", UserExecutionContext)
    one, two = build(user_id="a", claims=claims), build(user_id="b", claims=claims)

    assert [] == shared([one], [two], [])
    assert [] == shared([one], [one.child()], [])


class _Leak:
    """
    Something that can change.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []


def _with_default(value: _Leak) -> object:
    def function(given: _Leak = value) -> _Leak:
        return given

    return function


def _holders() -> Iterator[tuple[str, object, object]]:
    leak = _Leak()
    yield "attribute", types.SimpleNamespace(a=leak), types.SimpleNamespace(b=[leak])
    yield "list in a tuple", (1, ([],)), None
    yield "closure", lambda: leak, lambda: leak
    yield "default", _with_default(leak), types.SimpleNamespace(a=leak)
    yield "bound method", leak.seen.append, leak


@pytest.mark.scenario("S65")
@pytest.mark.parametrize(("one", "two"), [pytest.param(one, two, id=name) for name, one, two in _holders()])
def test_shared_objects_are_caught(one: object, two: object) -> None:
    """
    The walk sees a shared object behind attributes, containers, closures, defaults and methods.
    """
    assert shared([one], [one if two is None else two], [])


@pytest.mark.scenario("S09", "S08")
async def test_clean_up_belongs_to_the_session() -> None:
    """
    Clean-ups run once, last first, though children were derived and one of them fails; contexts carry none.
    """
    done: list[str] = []

    async def slow() -> None:
        await asyncio.sleep(0)
        done.append("first registered")

    def failing() -> None:
        done.append("failing")
        raise LookupError

    factory = ManagerFactory(clock=FakeClock())
    async with factory:
        async with factory.attach(make_context(), RecordingTransport()) as session:
            session.on_end(slow)
            session.on_end(failing)
            children = [session.context.child(), session.context.child().child()]
            session.on_end(lambda: done.append("last registered"))
            assert [] == done
        del children
        session.close()

    assert ["last registered", "failing", "first registered"] == done
    assert [] == [name for name in dir(UserExecutionContext) if "end" in name or "clean" in name or "close" in name]


async def _held(value: object) -> AsyncGenerator[object]:
    yield value


@pytest.mark.scenario("S65")
async def test_a_suspended_generator_is_walked() -> None:
    """
    The walk sees what a suspended coroutine holds.
    """
    leak = _Leak()
    one, two = _held(leak), _held(leak)
    await anext(one)
    await anext(two)

    found = shared([one], [two], [])
    await one.aclose()
    await two.aclose()

    assert leak in found
