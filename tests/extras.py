"""
Each extra alone: ``python -m tests.extras EXTRA`` where the wheel is installed with this extra and nothing else.

What the extra promises can be imported, and made as its page makes it; what another extra brings is missing with an
error that names it.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

import ws_isolation
from ws_isolation import ManagerFactory
from ws_isolation.errors import MissingExtraError

PROMISED: Final[dict[str, tuple[str, ...]]] = {
    "starlette": ("adapters.starlette",),
    "aiohttp": ("adapters.aiohttp",),
    "websockets": ("adapters.websockets",),
    "litestar": ("adapters.litestar",),
    "quart": ("adapters.quart",),
    "channels": ("adapters.channels",),
    "redis": ("backplanes.redis",),
    "cli": ("cli",),
    "workers": ("context_tokens",),
    "jwt": ("credentials.jwt", "credentials.jwks", "context_tokens"),
    "sessions": ("credentials.starlette_sessions",),
    "django": ("credentials.django",),
    "demo": ("adapters.starlette", "adapters.websockets", "adapters.uvicorn", "cli", "demo"),
}
"""The modules that each extra promises."""

ALWAYS: Final = ("credentials.tickets", "observe", "testing")
"""What needs no extra."""


def missing(module: str) -> str:
    """
    Return why *module* cannot be imported, empty where it can.

    Raises:
        Exception: It failed for another reason than a missing extra.
    """
    try:
        importlib.import_module(f"{ws_isolation.__name__}.{module}")
    except MissingExtraError as error:
        return str(error)
    return ""


def main(extra: str) -> None:
    """
    Check one extra in this environment.
    """
    for module in (*PROMISED[extra], *ALWAYS):
        reason = missing(module)
        assert not reason, f"the extra {extra} promises {module}: {reason}"
    factory = ManagerFactory()
    factory.self_check().raise_for_problems()
    others = {module for modules in PROMISED.values() for module in modules} - set(PROMISED[extra])
    absent = {module: reason for module in sorted(others) if (reason := missing(module))}
    for module, reason in absent.items():
        assert "pip install '" in reason, f"{module} does not say what to install: {reason}"
    sys.stdout.write(f"{extra}: {', '.join(PROMISED[extra])}; of {len(others)} others {len(absent)} name their extra\n")


if __name__ == "__main__":
    main(sys.argv[1])
