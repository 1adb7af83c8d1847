"""Small types, limits and checks that every format shares."""

from __future__ import annotations

import hashlib
import re
from typing import Final, TypeAlias

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
        message = f"{what}: {text!r} is no identifier (1 to 64 of a-z, 0-9 and '-')"
        raise FormatError(message)
    return text
