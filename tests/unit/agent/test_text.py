from __future__ import annotations

import pytest

from agent.drivers.text import device_text
from wire.cbor import check_text
from wire.fields import is_plain


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (b"NSR-9000\x00\x00", "NSR-9000"),
        ("Südwerk".encode(), "Südwerk"),
        ("Su\u0308dwerk".encode(), "Südwerk"),
        ("南瑞".encode("gbk"), "\\xc4\\xcf\\xc8\\xf0"),
        (b"a\x00b", "a\\x00b"),
        (b"line\nbreak\x1b[2J", "line\\nbreak\\x1b[2J"),
        ("a\u202eb".encode(), "a\\u202eb"),
        ("SC\u31642\ufe0f".encode(), "SC\\u31642\\ufe0f"),
        ("\U0001fae8".encode(), "\\xf0\\x9f\\xab\\xa8"),
    ],
)
def test_device_text_shows_what_came_and_what_is_no_text_as_escapes(raw: bytes, text: str) -> None:
    shown = device_text(raw)
    assert shown == text
    check_text(shown)
    assert is_plain(shown)


def test_device_text_is_cut_at_256_characters() -> None:
    assert len(device_text(b"\xff" * 255)) == 256
