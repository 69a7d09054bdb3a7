"""
Identities and the storage keys that stand for them.

Rule: a key is never joined from ids. ``("a:b", "c")`` and ``("a", "b:c")`` are
two users; every part is preceded by whether it is there and how long it is.
"""

from __future__ import annotations

import hashlib
from typing import Final, final

import attrs

from .context import UserExecutionContext

__all__ = ("Identity", "identity_of")

_LABEL: Final = b"ws_isolation identity v1"


@final
@attrs.frozen
class Identity:
    """
    Tenant and user of a context: the border that isolation guards.

    Attributes:
        tenant_id: The tenant, or None.
        user_id: The user.
        key: 64 hexadecimal digits, injective over (tenant, user), None included.
            A pseudonym, no secret: ids can be guessed.
    """

    tenant_id: str | None
    user_id: str
    key: str = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        """Compute the key."""
        digest = hashlib.sha256(_LABEL)
        digest.update(_encoded(self.tenant_id))
        digest.update(_encoded(self.user_id))
        object.__setattr__(self, "key", digest.hexdigest())


def _encoded(part: str | None) -> bytes:
    if part is None:
        return b"\x00"
    raw = part.encode("utf-8")
    return b"\x01" + len(raw).to_bytes(4, "big") + raw


def identity_of(context: UserExecutionContext, /) -> Identity:
    """Return the identity of *context*: nothing else takes part in it."""
    return Identity(context.tenant_id, context.user_id)
