"""
An HTTP request's own manager, or a status that says as little as it can.
"""

from __future__ import annotations

import pytest

from tests.adapters.shared import authenticate, http_scope
from tests.backplanes.shared import nodes
from ws_isolation import Handshake, ManagerFactory, Settings, UserExecutionContext, errors
from ws_isolation.adapters._asgi import handshake_of, scope_of
from ws_isolation.adapters._requests import Refused, manager_of, running
from ws_isolation.handshake import Credential, Headers


@pytest.mark.requirement("P1")
async def test_the_requests_own_user() -> None:
    """
    The manager is that of the user whom ``authenticate`` found.
    """
    manager = await manager_of(handshake_of(http_scope("alice")), ManagerFactory(), authenticate)

    assert "alice" == manager.context.user_id


@pytest.mark.scenario("S63")
@pytest.mark.parametrize(
    ("token", "status", "text", "headers"),
    [(None, 401, "unauthenticated", {"WWW-Authenticate": "Bearer"}), ("eve", 403, "forbidden", None)],
)
async def test_refused(token: str | None, status: int, text: str, headers: dict[str, str] | None) -> None:
    """
    Without a credential 401, without a right 403, and no more is said.
    """
    with pytest.raises(Refused) as refused:
        await manager_of(handshake_of(http_scope(token)), ManagerFactory(), authenticate)

    assert (status, text, headers) == (refused.value.status, refused.value.text, refused.value.headers)
    assert refused.value.__cause__ is None


@pytest.mark.requirement("WS-30")
async def test_while_the_engine_is_down() -> None:
    """
    Where the backplane does not say whether the user is revoked, 503 with its cause, and no manager.
    """
    engine, (node,) = nodes(1)
    engine.failing = {"bars"}
    with pytest.raises(Refused) as refused:
        await manager_of(handshake_of(http_scope("alice")), node.factory, authenticate)

    assert (503, {"Retry-After": "1"}) == (refused.value.status, refused.value.headers)
    assert isinstance(refused.value.__cause__, errors.EngineUnavailableError)
    assert "canary" not in refused.value.text


@pytest.mark.requirement("WS-25")
async def test_a_proxy_that_cannot_be_read() -> None:
    """
    What a trusted proxy garbles is refused with 403, and nobody is authenticated; behind a good one the client is seen.
    """
    seen: list[str | None] = []

    async def known(handshake: Handshake) -> UserExecutionContext | None:
        seen.append(handshake.client)
        return await authenticate(handshake)

    factory = ManagerFactory(Settings(trusted_proxies=("127.0.0.1",)))
    headers = {"x-forwarded-for": "nonsense", "authorization": "Bearer alice"}
    with pytest.raises(Refused) as refused:
        await manager_of(Handshake(headers=Headers(headers.items()), client="127.0.0.1"), factory, known)
    headers["x-forwarded-for"] = "198.51.100.7"
    await manager_of(Handshake(headers=Headers(headers.items()), client="127.0.0.1"), factory, known)

    assert (403, "forbidden") == (refused.value.status, refused.value.text)
    assert ["198.51.100.7"] == seen


async def test_running() -> None:
    """
    The factory runs inside the block, and not after it.
    """
    factory = ManagerFactory()
    async with running(factory):
        factory.require_running("here()")
    with pytest.raises(errors.InvalidStateError):
        factory.require_running("here()")


@pytest.mark.requirement("WS-08")
async def test_scope_behind_a_handshake() -> None:
    """
    What middleware put into the scope is reached from the handshake; a new credential has to do without it.
    """
    scope = http_scope("alice", user="alice")
    handshake = handshake_of(scope)
    refreshed = handshake.with_credential(Credential("bearer", "new"))

    assert scope is scope_of(handshake)
    assert {} == scope_of(refreshed) == scope_of(Handshake())
    assert "alice" not in repr(handshake)


@pytest.mark.requirement("WS-08")
async def test_broken_refresh_is_caught() -> None:
    """
    A refresh that kept the scope would admit whoever was signed in before, whatever the new credential is.
    """

    async def by_scope(handshake: Handshake) -> UserExecutionContext | None:
        user = scope_of(handshake).get("user")
        return None if user is None else UserExecutionContext(user_id=user)

    handshake = handshake_of(http_scope(None, user="alice"))
    kept = await manager_of(handshake, ManagerFactory(), by_scope)

    assert "alice" == kept.context.user_id
    with pytest.raises(Refused):
        await manager_of(handshake.with_credential(Credential("bearer", "forged")), ManagerFactory(), by_scope)
