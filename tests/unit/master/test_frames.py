"""Framing on peer connections."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.io.frames import FrameDecoder, FrameError, frame


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.integers(1, 9))
def test_frames_cut_anywhere_come_out_whole(messages: list[bytes], step: int) -> None:
    stream = b"".join(map(frame, messages))
    decoder = FrameDecoder()
    received = [message for at in range(0, len(stream), step) for message in decoder.receive(stream[at : at + step])]
    assert received == messages


# holds CM-1
def test_frames_longest_allowed_message_passes() -> None:
    assert FrameDecoder(bytes_max=5).receive(frame(b"12345")) == [b"12345"]


# holds CM-1
def test_frames_longer_than_allowed_are_refused_before_they_arrive() -> None:
    with pytest.raises(FrameError, match="frame of 6 bytes"):
        FrameDecoder(bytes_max=5).receive(frame(b"123456")[:4])


def test_frames_empty_frame_is_refused() -> None:
    with pytest.raises(FrameError, match="frame of 0 bytes"):
        FrameDecoder().receive(bytes(4))
