from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.modbus.framing import (
    BUFFER_BYTES_MAX,
    Framer,
    FramingError,
    Request,
    encode_frame,
)
from firmware_sim.modbus.pdu import answer
from firmware_sim.modbus.unit import Unit
from tests.unit.firmware_sim.bench import device

PDUS = st.binary(min_size=1, max_size=253)


def drain(framer: Framer) -> list[Request]:
    found = []
    while (request := framer.take()) is not None:
        found.append(request)
    return found


def test_framer_example_of_the_messaging_guide_gives_the_request() -> None:
    # Origin: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3, example ADU.
    framer = Framer()
    framer.feed(bytes.fromhex("15 01 00 00 00 06 ff 03 00 04 00 01"))
    assert framer.take() == Request(0x1501, 0xFF, bytes.fromhex("03 00 04 00 01"))
    assert framer.take() is None
    assert framer.pending_bytes == 0


@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 255), PDUS), max_size=8), st.data())
def test_framer_frames_cut_anywhere_come_back_whole(frames: list[tuple[int, int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(*frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    framer = Framer()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        framer.feed(stream[start:end])
        found += drain(framer)
    assert [tuple(item) for item in found] == frames


@given(st.lists(st.binary(max_size=600), max_size=8))
def test_framer_arbitrary_bytes_end_in_requests_or_one_error(parts: list[bytes]) -> None:
    framer = Framer()
    taken = 0
    try:
        for part in parts:
            framer.feed(part)
            taken += sum(len(request.pdu) + 7 for request in drain(framer))
    except FramingError:
        return
    assert taken + framer.pending_bytes == sum(map(len, parts))
    assert framer.pending_bytes < 260


@given(PDUS)
def test_answer_arbitrary_pdu_is_a_bounded_answer(pdu: bytes) -> None:
    found = answer(Unit(device()), pdu)
    assert 2 <= len(found) <= 253
    assert found[0] & 0x7F == pdu[0] & 0x7F


@given(st.integers(3, 4) | st.sampled_from([20, 43]), st.binary(max_size=30))
def test_answer_arbitrary_data_of_known_functions_is_bounded(function: int, data: bytes) -> None:
    found = answer(Unit(device()), bytes((function,)) + data)
    assert 2 <= len(found) <= 253
    assert found[0] & 0x7F == function


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("0000 0001 0006 01", "protocol id is 1"),
        ("0000 0000 0001 01", "length is 1"),
        ("0000 0000 0000 01", "length is 0"),
        ("0000 0000 00ff 01", "length is 255"),
        ("0000 0000 ffff 01", "length is 65535"),
        ("4745 5420 2f20", "protocol id is 21536"),
    ],
)
def test_framer_hopeless_header_is_refused_at_once(header: str, reason: str) -> None:
    framer = Framer()
    framer.feed(bytes.fromhex(header))
    with pytest.raises(FramingError, match=reason):
        framer.take()


def test_framer_length_at_its_bounds_is_taken() -> None:
    framer = Framer()
    framer.feed(encode_frame(1, 1, b"\x03") + encode_frame(2, 1, bytes(253)))
    assert [len(item.pdu) for item in drain(framer)] == [1, 253]


def test_framer_more_than_the_buffer_holds_is_refused() -> None:
    framer = Framer()
    framer.feed(bytes(BUFFER_BYTES_MAX))
    with pytest.raises(FramingError, match="unanswered bytes"):
        framer.feed(b"\x00")
