"""
Public keys from where their issuer publishes them, as keys come and go.

The asyncio shell around :mod:`ws_isolation.credentials.jwks_rules`: it fetches, within bounds of time and size, and
decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, TypeAlias, final
from urllib.parse import urlsplit
from urllib.request import HTTPDefaultErrorHandler, HTTPErrorProcessor, HTTPHandler, HTTPSHandler

from ..clockwork import SystemClock
from ..errors import IsolationError, SettingsError, shown
from ..oplog import report
from .jwks_rules import MOST_BYTES, KeySet, MalformedKeysError, keys_in

if TYPE_CHECKING:
    from ..typing import Clock
    from .jwt_keys import Key

__all__ = ("Fetch", "Jwks", "KeysUnavailableError")

Fetch: TypeAlias = Callable[[str], Awaitable[bytes]]
"""Returns the body behind an address; raises whatever it likes where there is none."""

_SECONDS: Final = {
    "max_age_seconds": (2.0, 86_400.0),
    "retry_seconds": (1.0, 3_600.0),
    "fetch_seconds": (0.1, 60.0),
}


_PIECE: Final = 65_536


class KeysUnavailableError(IsolationError):
    """The issuer's keys cannot be had now: no client is at fault, each is told to come back (4300)."""

    def __str__(self) -> str:
        return "the issuer's keys cannot be had now: see the log for why"


@final
class Jwks:
    """
    A source of keys that an issuer publishes as a JSON Web Key Set. Share one per application.

    Making it is configuration and nothing else; it asks by its first use, in whatever event loop that is.

    Args:
        url: Where the set is: ``https``, or ``http`` on this very machine. No redirect is followed, no proxy is used.
        fetch: Gets the set in another way, such as with the application's HTTP client.
        max_age_seconds: A key that the issuer has taken out counts for at most that long, 2 to 86,400. If the issuer
            does not answer for that long, nobody gets in.
        retry_seconds: The issuer is asked at most that often, 1 to 3,600, also where tokens name unknown keys.
        fetch_seconds: How long it may take to answer, 0.1 to 60. Must be below ``Settings.auth_seconds`` to be of use.
        clock: Where time comes from; the process's clocks where None.

    Raises:
        SettingsError: An argument is not allowed; says what would be.
    """

    __slots__ = ("_clock", "_fetch", "_fetch_seconds", "_fetching", "_set", "_url")

    def __init__(
        self,
        url: str,
        /,
        *,
        fetch: Fetch | None = None,
        max_age_seconds: float = 600.0,
        retry_seconds: float = 30.0,
        fetch_seconds: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        given = {
            "max_age_seconds": max_age_seconds, "retry_seconds": retry_seconds, "fetch_seconds": fetch_seconds,
        }  # fmt: skip
        for name, value in given.items():
            low, high = _SECONDS[name]
            if type(value) not in (int, float) or not low <= value <= high:
                raise SettingsError(f"{name}={shown(value)} must be from {low:g} to {high:g}")
        if retry_seconds > max_age_seconds / 2:
            raise SettingsError("retry_seconds must not exceed half of max_age_seconds: the set would get too old")
        _check_address(url)
        self._url = url
        self._fetch: Fetch = partial(_fetched, seconds=fetch_seconds) if fetch is None else fetch
        self._fetch_seconds = fetch_seconds
        self._clock: Clock = SystemClock() if clock is None else clock
        self._set = KeySet(max_age=max_age_seconds, retry_seconds=retry_seconds)
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str, /) -> Sequence[Key]:
        """
        Do the same as ``KeySource.find()``.

        Raises:
            KeysUnavailableError: There is no set that is young enough.

        Cancelling is safe: others may wait for the same answer, and get it.
        """
        answer = self._set.find(key_id, algorithm, self._clock.monotonic())
        if answer.ask and not self._is_fetching():
            self._set.asked(self._clock.monotonic())
            # With no context variable of whoever asks: it is for everybody.
            self._fetching = asyncio.create_task(self._ask(), name="ws-jwks", context=Context())
        if not answer.keys and self._fetching is not None and self._is_fetching():
            await asyncio.shield(self._fetching)
            answer = self._set.find(key_id, algorithm, self._clock.monotonic())
        if not answer.keys and not answer.is_current:
            raise KeysUnavailableError
        return answer.keys

    def _is_fetching(self) -> bool:
        """Tell whether an answer is on its way in this very loop."""
        task = self._fetching
        return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()

    async def _ask(self) -> None:
        asked = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._fetch_seconds):
                text = await self._fetch(self._url)
            self._set.take(keys_in(text), asked)
        except Exception as error:  # noqa: BLE001  # whatever the network, the issuer or a fetch of others does
            # The type of a foreign error only: its text may quote what came.
            problem = str(error) if isinstance(error, MalformedKeysError) else type(error).__name__
            report(logging.ERROR, "an issuer's keys could not be had", problem=problem, url=self._url)


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in ("https", "http") or not host or parts.username is not None:
        raise SettingsError("the address of the key set must be https://host/path, without user and password")
    if parts.scheme == "http" and not _is_loopback(host):
        raise SettingsError("the key set must come by https: whoever can change it on its way can sign as anybody")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


async def _fetched(url: str, *, seconds: float) -> bytes:
    """Get the body, in a thread; the thread ends with its socket's time-outs at the latest."""
    return await asyncio.get_running_loop().run_in_executor(None, _read, url, seconds)


def _read(url: str, seconds: float) -> bytes:
    """Get the body within a time and a size; whoever drips it is left alone."""
    due = time.monotonic() + seconds
    # By hand, for what is not in it: no redirects, and no proxies, which are named by the environment.
    opener = urllib.request.OpenerDirector()
    for handler in (HTTPHandler(), HTTPSHandler(), HTTPDefaultErrorHandler(), HTTPErrorProcessor()):
        opener.add_handler(handler)
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310  # _check_address() did
    body = b""
    with opener.open(request, timeout=seconds) as answer:
        while len(body) <= MOST_BYTES and time.monotonic() < due:
            piece: bytes = answer.read1(_PIECE)
            if not piece:
                return body
            body += piece
    raise MalformedKeysError(f"the key set has more than {MOST_BYTES:,} bytes, or comes too slowly")
