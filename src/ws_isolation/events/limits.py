"""
The limits of event fields, each under one name: what a class declares is what is checked.

Rule 1: a limit stands in a ``msgspec.Meta`` and nowhere else. The constructors'
checks are compiled from it, and decoders and schemas read the same object.

Rule 2: ``Meta(max_length=...)`` counts characters, the only thing a schema can
state. Where bytes are limited, ``extra["bytes"]`` holds the limit in
UTF-8 and ``max_length`` the same number, the looser one.

Three names mean one thing to a type checker and another to msgspec. A recursive
JSON type is nothing that a decoder can be built from, and msgspec's literals are
str and int only; the checks make up for both.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from msgspec import Meta

from ..frozen import MAX_INT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..frozen import Json

    _JsonValue: TypeAlias = Json
    _JsonObject: TypeAlias = Mapping[str, Json]
    _Metadata: TypeAlias = Mapping[str, Json]
    _True: TypeAlias = Literal[True]
else:
    _JsonValue = Any
    _JsonObject = dict[str, Any]
    _Metadata = dict[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]*(\.[A-Za-z0-9_-]+)+$", max_length=128)], Any]
    _True = bool

__all__ = (
    "ENVELOPE",
    "FRAME_BYTES",
    "PAYLOAD_DEPTH",
    "Arguments",
    "ArgumentsText",
    "Count",
    "CustomName",
    "Duration",
    "FrameJson",
    "FrameText",
    "FullText",
    "HttpStatus",
    "Id",
    "InputJson",
    "Metadata",
    "Name",
    "OnlyTrue",
    "ParentRunId",
    "Positive",
    "Slug",
    "Synthetic",
    "Text16K",
    "Text64",
    "Text128",
    "Text200",
    "Text1000",
    "Text4000",
    "Title",
    "Uri",
    "UrnUuid",
    "Uuid",
)

FRAME_BYTES: Final = 16_777_216
"""The most that ``Settings.event_bytes`` allows; what really fits is known when the event is sealed."""

PAYLOAD_DEPTH: Final = 30
"""Containers inside each other in a payload: 32 for the frame, less the frame and ``data``."""


class _Place(Enum):
    ENVELOPE = "envelope"


ENVELOPE: Final = _Place.ENVELOPE
"""Marks a field that stands beside ``data``: ``Annotated[str, ..., ENVELOPE]``."""

Id: TypeAlias = Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,255}$")]
"""1 to 255 printable ASCII characters."""

ParentRunId: TypeAlias = Annotated[Id, ENVELOPE]
"""An ``Id`` that stands beside ``data``."""

Uuid: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
"""Lower case with hyphens, as a pattern: ``format`` only annotates."""

UrnUuid: TypeAlias = Annotated[str, Meta(pattern=r"^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
"""A ``Uuid`` as a URN (RFC 9562 §4)."""

Uri: TypeAlias = Annotated[str, Meta(pattern=r"^[\x21-\x7e]+$", max_length=2048)]
"""A URI or a reference to one: printable ASCII without spaces (RFC 3986 §2); readers parse it."""

Slug: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.]{0,63}$")]
"""A lower-case name; readers accept values that they do not know."""

CustomName: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)+$", max_length=128)]
"""A name with a namespace: ``billing.invoice_paid``."""

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
"""1 to 128 characters."""

Title: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
"""1 to 200 characters."""

Text64: TypeAlias = Annotated[str, Meta(max_length=64)]
"""At most 64 characters."""

Text128: TypeAlias = Annotated[str, Meta(max_length=128)]
"""At most 128 characters."""

Text200: TypeAlias = Annotated[str, Meta(max_length=200)]
"""At most 200 characters."""

Text1000: TypeAlias = Annotated[str, Meta(max_length=1000)]
"""At most 1,000 characters."""

Text4000: TypeAlias = Annotated[str, Meta(max_length=4000)]
"""At most 4,000 characters."""

Text16K: TypeAlias = Annotated[str, Meta(max_length=16_384, extra={"bytes": 16_384})]
"""At most 16 KiB in UTF-8."""

ArgumentsText: TypeAlias = Annotated[str, Meta(max_length=32_768, extra={"bytes": 32_768})]
"""At most 32 KiB in UTF-8."""

FullText: TypeAlias = Annotated[str, Meta(max_length=49_152, extra={"bytes": 49_152})]
"""At most 48 KiB in UTF-8."""

FrameText: TypeAlias = Annotated[str, Meta(extra={"bytes": FRAME_BYTES})]
"""A text of which only the whole frame is limited."""

FrameJson: TypeAlias = Annotated[_JsonValue, Meta(extra={"bytes": FRAME_BYTES})]
"""Any JSON value; only the whole frame is limited."""

InputJson: TypeAlias = Annotated[_JsonValue, Meta(extra={"bytes": 16_384})]
"""Any JSON value of at most 16 KiB, encoded."""

Arguments: TypeAlias = Annotated[_JsonObject, Meta(extra={"bytes": 32_768})]
"""A JSON object of at most 32 KiB, encoded."""

Metadata: TypeAlias = Annotated[_Metadata, Meta(extra={"bytes": 4096}), ENVELOPE]
"""A JSON object of at most 4 KiB, encoded; its keys have a namespace: ``my_app.trace``."""

OnlyTrue: TypeAlias = Annotated[_True, Meta(extra={"const": True}, extra_json_schema={"const": True})]
"""True, or absent."""

Synthetic: TypeAlias = Annotated[OnlyTrue, ENVELOPE]
"""True, or absent; stands beside ``data``."""

Count: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_INT)]
"""0 to 2^53-1."""

Positive: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_INT)]
"""1 to 2^53-1."""

HttpStatus: TypeAlias = Annotated[int, Meta(ge=100, le=599)]
"""An HTTP status code (RFC 9110 §15)."""

Duration: TypeAlias = Annotated[float, Meta(ge=0)]
"""A finite number, 0 or more."""
