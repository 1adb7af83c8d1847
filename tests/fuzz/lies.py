"""What a lying device does with one frame, whatever the protocol."""

from __future__ import annotations

from typing import NamedTuple

from tests.fuzz.virtual import Act


class Lie(NamedTuple):
    """What is done with one request or frame.

    Attributes:
        kind: A key of the protocol's ``LIES``.
        number: 0..255, whatever the kind makes of it.
        data: Bytes that the kind may use.
    """

    kind: str
    number: int = 0
    data: bytes = b""


def pieces(frame: bytes, number: int) -> list[Act]:
    """Send the frame in pieces, each a little later."""
    step = number % 16 + 1
    return [Act(number % 5, frame[at : at + step]) for at in range(0, len(frame), step)]
