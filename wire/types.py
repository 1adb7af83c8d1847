"""Small types, limits and checks that every format shares."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final, TypeAlias

from wire.errors import FormatError

Digest: TypeAlias = bytes
"""32 bytes of SHA-256."""

DIGEST_BYTES: Final = 32
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
TX_BYTES_MAX: Final = 65_536
EVIDENCE_BYTES_MAX: Final = 48 * 1024
EVIDENCE_DEVICES_MAX: Final = 64
CHUNK_BYTES: Final = 65_536
_SHOWN_MAX: Final = 64
IDENTIFIER_PATTERN: Final = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)


def sha256(data: bytes) -> Digest:
    """Return the SHA-256 digest of ``data``, 32 bytes."""
    return hashlib.sha256(data).digest()


def check_identifier(text: object, what: str) -> str:
    """Return ``text`` when it is an identifier, ASCII ``[a-z0-9-]{1,64}``.

    Raises:
        FormatError: Anything else; ``what`` names the field.
    """
    if not isinstance(text, str) or IDENTIFIER_PATTERN.fullmatch(text) is None:
        raise FormatError(f"{what}: {shown(text)} is no identifier (1 to 64 of a-z, 0-9 and '-')")
    return text


def check_ascending(keys: Iterable[Any], what: str) -> None:
    """Refuse keys that are not sorted strictly ascending, so that a table has one order and no entry twice.

    Raises:
        FormatError: Two neighbours are equal or the wrong way round; ``what`` names the table.

    Source: docs/spec CBOR-19.
    """
    if not all(first < second for first, second in pairwise(keys)):
        raise FormatError(f"{what}: not sorted or not unique")


def shown(value: object) -> str:
    """Return a value of unknown origin for an error message, in at most 64 characters."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, dict | list):
        return f"a {type(value).__name__} of {len(value)} entries"
    text = repr(value[:_SHOWN_MAX] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..."
