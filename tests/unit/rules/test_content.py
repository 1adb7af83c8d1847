from __future__ import annotations

import pytest

from rules.content import FileBytes
from rules.fingerprint import fingerprint
from rules.items.model import CONTENT_BYTES_MAX


def taken(kind: str, *pieces: bytes) -> FileBytes:
    made = FileBytes(kind)
    for piece in pieces:
        made.update(piece)
    return made


@pytest.mark.parametrize("kind", ["settings", "strategy"])
def test_content_of_a_readable_file_is_kept_to_its_bound(kind: str) -> None:
    half = bytes(CONTENT_BYTES_MAX // 2)
    assert taken(kind).content() == b""
    assert taken(kind, b"ab", b"c").content() == b"abc"
    assert taken(kind, half, half).content() == half + half
    beyond = taken(kind, half, half, b"!", b"!")
    assert beyond.content() is None
    assert beyond.result() == fingerprint(half + half + b"!!")


def test_content_of_firmware_is_never_kept() -> None:
    firmware = taken("firmware", b"abc")
    assert firmware.content() is None
    assert firmware.result() == fingerprint(b"abc")
