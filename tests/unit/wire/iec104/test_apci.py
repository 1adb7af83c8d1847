"""Frames: their bytes as the standard draws them, and everything that is none."""

from __future__ import annotations

import pytest

from wire.iec104.apci import Frame, FrameDecoder, IFrame, SFrame, UFunction, encode_i, encode_s, encode_u
from wire.iec104.errors import BAD_CONTROL, CODES, NOT_APCI, ApciError, Iec104Error

ASDU = bytes.fromhex("640106000100000000 14")
FRAMES: list[tuple[Frame, str]] = [
    (UFunction.STARTDT_ACT, "68 04 07 00 00 00"),
    (UFunction.STARTDT_CON, "68 04 0b 00 00 00"),
    (UFunction.STOPDT_ACT, "68 04 13 00 00 00"),
    (UFunction.STOPDT_CON, "68 04 23 00 00 00"),
    (UFunction.TESTFR_ACT, "68 04 43 00 00 00"),
    (UFunction.TESTFR_CON, "68 04 83 00 00 00"),
    (SFrame(0), "68 04 01 00 00 00"),
    (SFrame(5), "68 04 01 00 0a 00"),
    (SFrame(32_767), "68 04 01 00 fe ff"),
    (IFrame(0, 0, ASDU), "68 0e 00 00 00 00 64 01 06 00 01 00 00 00 00 14"),
    (IFrame(130, 3, ASDU), "68 0e 04 01 06 00 64 01 06 00 01 00 00 00 00 14"),
    (IFrame(32_767, 32_767, b""), "68 04 fe ff fe ff"),
]


def encoded(frame: Frame) -> bytes:
    if isinstance(frame, IFrame):
        return encode_i(frame.send_number, frame.receive_number, frame.asdu)
    return encode_s(frame.receive_number) if isinstance(frame, SFrame) else encode_u(frame)


# holds IC-1 IC-2
@pytest.mark.parametrize(("frame", "octets"), FRAMES)
def test_frame_has_the_octets_of_the_standard(frame: Frame, octets: str) -> None:
    assert encoded(frame) == bytes.fromhex(octets)
    assert FrameDecoder().receive(bytes.fromhex(octets)) == [frame]


# holds IC-1
def test_frames_come_out_alike_however_the_stream_is_cut() -> None:
    stream = b"".join(bytes.fromhex(octets) for _, octets in FRAMES)
    for size in range(1, len(stream) + 1):
        decoder = FrameDecoder()
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert [frame for piece in pieces for frame in decoder.receive(piece)] == [frame for frame, _ in FRAMES]
        assert decoder.held_bytes == 0


# holds IC-1
def test_frame_of_the_greatest_length_is_accepted_and_its_part_held_back() -> None:
    raw = encode_i(0, 0, bytes(249))
    decoder = FrameDecoder()
    assert raw[:2] == b"\x68\xfd"
    assert decoder.receive(raw[:-1]) == []
    assert decoder.held_bytes == 254
    assert decoder.receive(raw[-1:]) == [IFrame(0, 0, bytes(249))]


# holds IC-1 IC-2
@pytest.mark.parametrize(
    ("octets", "code"),
    [
        ("69 04 07 00 00 00", NOT_APCI),
        ("00", NOT_APCI),
        ("68 04 07 00 00 00 00", NOT_APCI),
        ("68 03 07 00 00", NOT_APCI),
        ("68 00", NOT_APCI),
        ("68 fe", NOT_APCI),
        ("68 ff", NOT_APCI),
        ("68 04 03 00 00 00", BAD_CONTROL),  # a U frame without a function
        ("68 04 0f 00 00 00", BAD_CONTROL),  # two functions at once
        ("68 04 07 01 00 00", BAD_CONTROL),  # other octets of a U frame are 0
        ("68 04 07 00 02 00", BAD_CONTROL),
        ("68 04 07 00 01 00", BAD_CONTROL),
        ("68 04 05 00 00 00", BAD_CONTROL),  # no S frame
        ("68 04 01 01 00 00", BAD_CONTROL),
        ("68 04 01 00 01 00", BAD_CONTROL),  # bit 1 of the third octet is 0
        ("68 04 00 00 01 00", BAD_CONTROL),
        ("68 05 01 00 00 00 00", BAD_CONTROL),  # an S frame with an ASDU
        ("68 05 07 00 00 00 00", BAD_CONTROL),
    ],
)
def test_octets_that_are_no_frame_are_refused(octets: str, code: str) -> None:
    with pytest.raises(ApciError) as caught:
        FrameDecoder().receive(bytes.fromhex(octets))
    assert caught.value.code == code


def classes(kind: type[Iec104Error]) -> list[type[Iec104Error]]:
    return [kind, *(heir for child in kind.__subclasses__() for heir in classes(child))]


def test_error_of_every_class_has_a_code_of_the_closed_set() -> None:
    found = classes(Iec104Error)[1:]
    assert len(found) >= 5
    assert {kind.default_code for kind in found} <= set(CODES)
    assert len(set(CODES)) == len(CODES)
