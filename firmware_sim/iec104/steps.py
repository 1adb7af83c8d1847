"""What a station does on a connection; a reply is an iterator of steps, taken when there is room.

May live here: values. An ASDU alone is the usual step; the others are how faults reach the line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Altered:
    """Send an ASDU in a frame that is spoilt on its way."""

    asdu: bytes
    alter: Callable[[bytes], bytes]
    """The I frame in, the bytes for the line out."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Send bytes that are no frame of ours."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Send nothing more for so long."""

    ms: int


@dataclass(frozen=True, slots=True)
class Deaf:
    """From here on neither send nor hear anything; the connection stays open."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection."""


Step = bytes | Altered | Raw | Wait | Deaf | Close
Reply = Iterator[Step]
