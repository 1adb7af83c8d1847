"""What nodes say to bring a blob to one that lacks it (docs/spec, clause BL-8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from wire import cbor
from wire.blob import BLOB_BYTES_MAX
from wire.fields import Fields
from wire.types import Digest

PART_BYTES_MAX: Final = 512 * 1024
"""Of one answer."""


@dataclass(frozen=True, slots=True)
class GetBlob:
    """Asks for the bytes of a blob from a place on."""

    digest: Digest
    offset: int
    """0 .. `BLOB_BYTES_MAX` - 1."""


@dataclass(frozen=True, slots=True)
class BlobPart:
    """Bytes of a blob from a place on, as many as an answer holds; none when the sender lacks it."""

    digest: Digest
    offset: int
    data: bytes


BlobMessage: TypeAlias = "GetBlob | BlobPart"


def _decode_get_blob(value: object) -> GetBlob:
    fields = Fields(value, ("digest", "offset"), "get-blob")
    return GetBlob(fields.digest("digest"), fields.integer("offset", 0, BLOB_BYTES_MAX - 1))


def _decode_blob_part(value: object) -> BlobPart:
    fields = Fields(value, ("digest", "offset", "data"), "blob-part")
    offset = fields.integer("offset", 0, BLOB_BYTES_MAX - 1)
    return BlobPart(fields.digest("digest"), offset, fields.octets("data", 0, PART_BYTES_MAX))


DECODERS: Final[dict[str, Callable[[object], Any]]] = {"get-blob": _decode_get_blob, "blob-part": _decode_blob_part}

ENCODERS: Final[dict[type, tuple[str, Callable[[Any], dict[str, cbor.Value]]]]] = {
    GetBlob: ("get-blob", lambda request: {"digest": request.digest, "offset": request.offset}),
    BlobPart: ("blob-part", lambda part: {"digest": part.digest, "offset": part.offset, "data": part.data}),
}
