"""Frames on a peer connection: four bytes of length, then a message; no I/O of its own."""

from __future__ import annotations

from typing import Final

from master.consensus.message_codec import MESSAGE_BYTES_MAX

_LENGTH_BYTES: Final = 4


class FrameError(ValueError):
    """The other side announced a frame that is empty or longer than a message may be."""


class FrameDecoder:
    """Collects bytes and hands out whole frames; holds at most one unfinished frame."""

    def __init__(self, bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._buffer = bytearray()

    @property
    def is_between_frames(self) -> bool:
        """Tell whether no frame has begun that is not complete."""
        return not self._buffer

    def receive(self, data: bytes) -> list[bytes]:
        """Take bytes from the connection and return the frames that are complete now.

        Raises:
            FrameError: A frame is empty or too long; the connection must be closed.
        """
        self._buffer += data
        frames: list[bytes] = []
        at = 0
        while len(self._buffer) - at >= _LENGTH_BYTES:
            length = int.from_bytes(self._buffer[at : at + _LENGTH_BYTES], "big")
            if not 0 < length <= self._bytes_max:
                raise FrameError(f"frame of {length} bytes, 1..{self._bytes_max} are allowed")
            end = at + _LENGTH_BYTES + length
            if len(self._buffer) < end:
                break
            frames.append(bytes(self._buffer[at + _LENGTH_BYTES : end]))
            at = end
        del self._buffer[:at]
        return frames


def frame(message: bytes) -> bytes:
    """Return a message with its length in front."""
    return len(message).to_bytes(_LENGTH_BYTES, "big") + message
