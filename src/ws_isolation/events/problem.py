"""
Values that stand inside events: what went wrong, and what was used.
"""

# No `from __future__ import annotations`: the annotations are the declaration, and are read at import.

from typing import final

from msgspec import UNSET, UnsetType

from .declaration import Value, declared
from .limits import Count, HttpStatus, Name, Slug, Text4000, Title, Uri, UrnUuid

__all__ = ("Problem", "Usage")


@final
@declared
class Problem(Value, frozen=True, kw_only=True):
    """
    What went wrong, for the user who sees it and the program that reacts to it.

    Raises:
        InvalidEventError: A field has a value that its declaration does not allow.

    Source: RFC 9457; ``code`` and what follows it are extension members.
    """

    type: Uri | UnsetType = UNSET
    """A URI reference that names the kind of problem; absent means ``about:blank``."""
    title: Title
    """A short summary, 1 to 200 characters, the same each time the problem occurs."""
    status: HttpStatus | UnsetType = UNSET
    """The HTTP status that fits, 100 to 599."""
    detail: Text4000 | UnsetType = UNSET
    """What happened this time, at most 4,000 characters: no stack trace, nobody else's ids."""
    instance: UrnUuid | UnsetType = UNSET
    """This occurrence: ``urn:uuid:...``."""
    code: Slug
    """What programs switch on; readers accept codes that they do not know."""
    retryable: bool | UnsetType = UNSET
    """Whether the same may work later."""
    retry_after_ms: Count | UnsetType = UNSET
    """Milliseconds before which it will not."""


@final
@declared
class Usage(Value, frozen=True, kw_only=True):
    """
    What one model was used for; absent is not zero.

    ``total_tokens`` is the whole; reasoning and cached tokens are parts of it.

    Raises:
        InvalidEventError: A field has a value that its declaration does not allow.

    Source: AG-UI 1.0.
    """

    provider: Name | UnsetType = UNSET
    """Who runs the model."""
    model: Name | UnsetType = UNSET
    """The model's name."""
    input_tokens: Count | UnsetType = UNSET
    """All tokens that went in."""
    output_tokens: Count | UnsetType = UNSET
    """All tokens that came out."""
    total_tokens: Count | UnsetType = UNSET
    """Both together."""
    reasoning_tokens: Count | UnsetType = UNSET
    """The part of the output that was thinking."""
    cached_input_tokens: Count | UnsetType = UNSET
    """The part of the input that a cache had."""
    cache_write_input_tokens: Count | UnsetType = UNSET
    """The part of the input that a cache took."""
