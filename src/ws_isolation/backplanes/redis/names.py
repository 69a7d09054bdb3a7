"""
What belongs to an identity on the engine: keys and channel, from its hash alone.

Rule 1: no id of a user or tenant stands in a name; nothing in a name is special
to the engine but the tag that we set. Rule 2: what one script touches has one
tag, so that it lies in one slot of a Cluster. Rule 3: every name begins with the
application's, so that two that share an engine never meet.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

from ...errors import SettingsError, shown

if TYPE_CHECKING:
    from ...keys import Identity

__all__ = ("Names",)

PARTITIONS: Final = 256
"""Tags. As many as are subscribed to together on a Cluster; every node must count the same."""

_APP: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")


@final
class Names:
    """
    The names of one application in one database.

    Args:
        app: 1 to 32 characters: lower-case letters, digits, ``_``, ``.``, ``-``.
        database: Its number. Channels know no databases, so it stands in their names.

    Raises:
        SettingsError: The application's name has other characters.
    """

    __slots__ = ("_start",)

    def __init__(self, app: str, database: int) -> None:
        if _APP.fullmatch(app) is None:
            msg = f"app={shown(app)} must be 1 to 32 of a-z, 0-9, '_', '.', '-', beginning with a letter or digit"
            raise SettingsError(msg)
        self._start = f"{{{app}.{database}."

    def _of(self, identity: Identity, what: str) -> str:
        key = identity.key
        return f"{self._start}{int(key[:4], 16) % PARTITIONS}}}:{what}:{key}"

    def stream(self, identity: Identity, /) -> tuple[str, str, str]:
        """Return the names of the top, of the window, and of the channel."""
        key = identity.key
        start = f"{self._start}{int(key[:4], 16) % PARTITIONS}}}:"
        return f"{start}top:{key}", f"{start}window:{key}", f"{start}channel:{key}"

    def bar(self, identity: Identity, /) -> str:
        """Return the name of the record of its revocation."""
        return self._of(identity, "bar")

    def leases(self, identity: Identity, /) -> tuple[str, str]:
        """Return the names of its leases' ends, and of what is known of each."""
        return self._of(identity, "ends"), self._of(identity, "leases")

    def given(self, identity: Identity, /) -> str:
        """Return the name of when each connect ticket that it was given ends."""
        return self._of(identity, "given")

    def ticket(self, key: str, /) -> str:
        """Return the name of a connect ticket, by its hash: whoever brings one has not said whose it is."""
        return f"{self._start}{int(key[:4], 16) % PARTITIONS}}}:ticket:{key}"

    @property
    def agreement(self) -> str:
        """The name of what the processes say of their settings."""
        return f"{self._start}agreement}}:settings"

    def pulse(self, node: str, /) -> str:
        """Return the channel on which a node hears itself."""
        return f"{self._start}pulse}}:{node}"
