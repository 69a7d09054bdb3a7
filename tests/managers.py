"""
Managers of an application's own, around the shipped one: some wait, some fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from ws_isolation import Delivery, IsolatedManager, UserExecutionContext
from ws_isolation.delivery import ManagerStats
from ws_isolation.events import Event
from ws_isolation.manager import RunMixin

Failure: TypeAlias = Callable[[Event], BaseException | None]
"""Says what the send of an event raises; None where it goes well."""


class Around(RunMixin):
    """
    Does nothing but pass on: the least that an implementation needs.
    """

    def __init__(self, inner: IsolatedManager) -> None:
        self.inner = inner

    @property
    def context(self) -> UserExecutionContext:
        """
        The inner one's context.
        """
        return self.inner.context

    async def send(self, event: Event, /) -> Delivery:
        """
        Pass *event* on.
        """
        return await self.inner.send(event)

    def stats(self) -> ManagerStats:
        """
        The inner one's counts.
        """
        return self.inner.stats()


class Slow(Around):
    """
    Waits some turns before and after each send, as one with a network behind it does.
    """

    def __init__(self, inner: IsolatedManager, *, before: int = 1, after: int = 1) -> None:
        super().__init__(inner)
        self.before = before
        self.after = after

    async def send(self, event: Event, /) -> Delivery:
        """
        Wait, pass *event* on, wait.
        """
        for _ in range(self.before):
            await asyncio.sleep(0)
        delivery = await self.inner.send(event)
        for _ in range(self.after):
            await asyncio.sleep(0)
        return delivery


class Failing(Around):
    """
    Raises instead of sending, where it is told to.
    """

    def __init__(self, inner: IsolatedManager, failure: Failure) -> None:
        super().__init__(inner)
        self.failure = failure

    async def send(self, event: Event, /) -> Delivery:
        """
        Pass *event* on, unless it is to fail.
        """
        error = self.failure(event)
        if error is not None:
            raise error
        return await self.inner.send(event)
