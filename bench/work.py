"""
The work that every peer does: one thinking event of about 350 bytes, to one user who has one session.

Standard library only: the load generator, the servers and the tests of the harness share it.
"""

from __future__ import annotations

import importlib
import time
from typing import Any, Final

TEXT_BYTES: Final = 40
"""Bytes of a thought, stamp included: the whole frame then has about 350."""

MARK: Final = "@@"
"""Stands before and after the stamp."""

KEY: Final = "benchmark-key-that-protects-nothing-at-all"
"""The HS256 key of the handshake measurement."""


def user_name(number: int, /) -> str:
    """Return the name of the user with this number."""
    return f"user{number:06d}"


def thought(user: str, n: int, size: int = TEXT_BYTES, /) -> str:
    """
    Return a thought of *size* bytes (or its stamp, if that is longer).

    The stamp says whose it is, the how-manieth of this user, from 0, and when it was emitted.
    """
    return f"{MARK}{user}|{n}|{time.monotonic_ns()}{MARK}".ljust(size, "x")


def as_dict(user: str, n: int, size: int = TEXT_BYTES, /) -> dict[str, Any]:
    """
    Return the event as somebody who writes by hand would build it: the members that this library sends.

    Ids are made from the user and the count, which is cheaper than any UUID.
    """
    run = f"{user}-4b5c-7000-8000-0123456789ab"
    return {
        "type": "agent_thinking",
        "v": "1.0",
        "id": f"{run}-{n}",
        "seq": n,
        "run_seq": n,
        "time": time.time(),
        "thread_id": run,
        "run_id": run,
        "data": {"thought_id": f"{run}-{n}", "mode": "summary", "text": thought(user, n, size)},
    }


def identify(authorization: str, /, *, token: bool) -> str:
    """
    Return the user that a handshake's Authorization header names.

    Args:
        authorization: ``Bearer`` and the user's name, or a token that says it.
        token: Verify an HS256 token; else the name is taken as it stands, which no service should do.
    """
    credential = authorization.removeprefix("Bearer ")
    if not token:
        return credential
    # By name: only the group `bench` has it, and the types are checked without.
    jwt: Any = importlib.import_module("jwt")
    return str(jwt.decode(credential, KEY, algorithms=["HS256"])["sub"])


def make_token(user: str, /) -> str:
    """Return an HS256 token that says *user* for ten minutes."""
    jwt: Any = importlib.import_module("jwt")
    return str(jwt.encode({"sub": user, "exp": int(time.time()) + 600}, KEY, algorithm="HS256"))
