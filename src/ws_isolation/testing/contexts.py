"""Contexts for tests: shorter to write than a mock, and accepted by the gate."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ..context import UserExecutionContext
from ..frozen import Json
from ..identifiers import DEFAULT_POLICY, IdPolicy

__all__ = ("make_context",)


def make_context(
    user_id: str = "alice",
    /,
    *,
    tenant_id: str | None = None,
    thread_id: str | None = "thread-1",
    run_id: str | None = None,
    request_id: str | None = None,
    expires_at: datetime | None = None,
    claims: Mapping[str, Json] | None = None,
    policy: IdPolicy = DEFAULT_POLICY,
) -> UserExecutionContext:
    """
    Return a genuine context: the ordinary constructor with ready ids.

    Same arguments and errors as ``UserExecutionContext``.
    """
    return UserExecutionContext(
        user_id=user_id,
        tenant_id=tenant_id,
        thread_id=thread_id,
        run_id=run_id,
        request_id=request_id,
        expires_at=expires_at,
        claims=claims,
        policy=policy,
    )
