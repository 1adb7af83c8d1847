"""Text that a device sends, as text that evidence can carry."""

from __future__ import annotations

import unicodedata

from wire.cbor import check_text
from wire.errors import CborError
from wire.fields import is_plain

CHARACTERS_MAX = 256


def device_text(raw: bytes) -> str:
    """Return what a device calls itself; what is no readable text is shown as escapes, never dropped.

    Args:
        raw: At most 255 bytes, often padded with NUL.

    Returns:
        At most 256 characters without control characters, in NFC and within Unicode 14. Two different inputs
        may give the same text only where they differ in padding, in normal form or behind character 256.
    """
    padded = raw.rstrip(b"\x00")
    text = unicodedata.normalize("NFC", padded.decode("utf-8", "backslashreplace"))
    try:
        check_text(text)
    except CborError:
        text = padded.decode("ascii", "backslashreplace")
    shown = "".join(one if one.isprintable() and is_plain(one) else _escape(one) for one in text)
    return shown[:CHARACTERS_MAX]


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
