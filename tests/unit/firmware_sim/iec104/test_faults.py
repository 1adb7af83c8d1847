"""The faults of the link in IEC 60870-5-104: each does what the catalogue says, and none touches points or files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from firmware_sim.faults import CATALOGUE, LINK, Fault, link_faults
from firmware_sim.iec104.faults import FAULTS, concerns
from tests.unit.firmware_sim.iec104.line import FIRMWARE, STATION, Line, asdu, bay, brief, line_of, port_of
from tests.unit.firmware_sim.iec104.test_files import CALL, CALL_SECTION, SELECT, call
from wire.iec104.apci import IFrame, UFunction, encode_i
from wire.iec104.asdu import FileReady, LastSection, decode_asdu, decode_head
from wire.iec104.errors import AsduError, UnknownTypeError

IC, RD = 100, 102
READ = asdu(RD, 5, b"", address=1)
INTERROGATE = asdu(IC, 6, b"\x14")


def hit(talk: Callable[[Line], Awaitable[None]], fault: Fault, *before: bytes) -> None:
    """Set a fault after some honest requests, and talk."""

    async def main() -> None:
        target = bay()
        line = line_of(target)
        line.start()
        for raw in before:
            line.ask(raw)
        target.set_fault(fault)
        line.frames()
        await talk(line)
        assert target.read_file("firmware", 0, len(FIRMWARE)) == FIRMWARE
        line.station.connection_lost(None)

    asyncio.run(main())


def written(fault: Fault, raw: bytes, *before: bytes) -> bytes:
    """Give the bytes that follow a request."""
    found = bytearray()

    async def talk(line: Line) -> None:
        line.send(raw)
        found.extend(line.wire.written)

    hit(talk, fault, *before)
    return bytes(found)


def test_iec104_knows_exactly_the_link_faults_of_the_catalogue() -> None:
    assert set(FAULTS) == link_faults("iec104")


@pytest.mark.parametrize("kind", [kind for kind, entry in CATALOGUE.items() if entry.changes != LINK])
def test_fault_that_is_none_of_the_link_never_touches_a_reply(kind: str) -> None:
    assert not concerns(Fault(kind), READ)


def test_never_replies_nothing_and_stays() -> None:
    async def talk(line: Line) -> None:
        assert line.ask(READ) == []
        assert not line.wire.is_aborted
        assert line.say(UFunction.TESTFR_ACT) == [UFunction.TESTFR_CON]

    hit(talk, Fault("never"))


def test_busy_refuses_interrogations_reads_and_files() -> None:
    async def talk(line: Line) -> None:
        assert brief(line.ask(INTERROGATE)) == [(IC, 7, True)]
        assert brief(line.ask(READ)) == [(RD, 7, True)]
        (found,) = line.ask(call(SELECT))
        assert found.element == FileReady(1, 0, is_refused=True)

    hit(talk, Fault("busy"))


def test_slow_and_late_wait_before_they_reply() -> None:
    async def talk(line: Line) -> None:
        assert line.ask(READ) == []
        await asyncio.sleep(0.01)
        assert brief(line.rest()) == [(11, 5, False)]

    hit(talk, Fault("late", delay_ms=1))
    hit(talk, Fault("slow", delay_ms=1))


def test_mixed_reply_is_that_of_the_request_before() -> None:
    async def talk(line: Line) -> None:
        assert brief(line.ask(INTERROGATE)) == [(11, 5, False)]

    hit(talk, Fault("mixed-transactions"), READ)


def test_wrong_unit_and_wrong_function_change_the_head_alone() -> None:
    (frame,) = FrameOf(written(Fault("wrong-unit"), READ))
    assert decode_head(frame).common_address == STATION + 1
    (frame,) = FrameOf(written(Fault("wrong-function"), READ))
    assert decode_head(frame).type_id == 9


def FrameOf(data: bytes) -> list[bytes]:  # noqa: N802 - reads as a noun where it is used
    """Cut frames without judging them; give their ASDUs."""
    found = []
    while data:
        found.append(data[6 : 2 + data[1]])
        data = data[2 + data[1] :]
    return found


@pytest.mark.parametrize("kind", ["too-short", "too-long"])
def test_reply_of_a_wrong_length_is_malformed(kind: str) -> None:
    (frame,) = FrameOf(written(Fault(kind), READ))
    with pytest.raises((AsduError, UnknownTypeError)):
        decode_asdu(frame)


def test_wrong_sequence_skips_a_send_number() -> None:
    honest = written(Fault("never"), READ)
    assert honest == b""
    number = int.from_bytes(written(Fault("wrong-sequence"), READ)[2:4], "little") >> 1
    assert number == 2, "the end of the initialisation was 0"


def test_oversize_garbage_and_cut_frames_are_no_frames() -> None:
    assert written(Fault("oversize-length"), READ)[:2] == b"\x68\xff"
    assert written(Fault("garbage"), READ)[0] != 0x68
    cut = written(Fault("cut-frame"), READ)
    assert len(cut) < cut[1] + 2


def test_close_closes() -> None:
    async def talk(line: Line) -> None:
        line.send(READ)
        assert line.wire.is_aborted

    hit(talk, Fault("close"))


def test_half_open_hears_and_says_nothing_any_more_and_a_new_connection_works() -> None:
    async def main() -> None:
        target = bay()
        port = port_of(target)
        line = Line(port)
        line.start()
        target.set_fault(Fault("half-open"))
        assert line.ask(READ) == []
        assert line.say(UFunction.TESTFR_ACT) == []
        assert not line.wire.is_aborted
        other = Line(port)
        other.start()
        assert brief(other.ask(READ)) == [(11, 5, False)]
        for each in (line, other):
            each.station.connection_lost(None)

    asyncio.run(main())


def test_restart_comes_in_the_middle_of_a_section() -> None:
    target = bay()

    async def main() -> None:
        line = line_of(target)
        line.start()
        target.set_fault(Fault("restart-in-transfer"))
        assert len(line.ask(call(SELECT))) == 1
        line.ask(call(CALL))
        assert target.counters.restarts == 0
        found = line.ask(call(CALL_SECTION, section=1))
        assert [item.head.type_id for item in found] == [125, 125, 125]
        assert target.counters.restarts == 1
        assert not target.reachable
        line.station.connection_lost(None)

    asyncio.run(main())


def test_wrong_section_checksum_is_wrong_by_one_bit_and_the_segments_are_right() -> None:
    async def talk(line: Line) -> None:
        *_, last = line.ask(call(CALL_SECTION, section=1))
        assert isinstance(last.element, LastSection)
        assert last.element.checksum == (sum(FIRMWARE[:16_384]) % 256) ^ 1

    hit(talk, Fault("wrong-section-checksum"), call(SELECT), call(CALL))


def test_fault_of_some_types_leaves_others_alone() -> None:
    async def talk(line: Line) -> None:
        assert line.ask(INTERROGATE) == []
        assert brief(line.ask(READ)) == [(11, 5, False)]

    hit(talk, Fault("never", functions=frozenset({IC})))


def test_connection_is_refused_while_the_device_is_away_or_full() -> None:
    async def main() -> None:
        target = bay()
        port = port_of(target)
        target.set_fault(Fault("single-connection"))
        first, second = Line(port), Line(port)
        assert (first.wire.is_aborted, second.wire.is_aborted) == (False, True)
        target.set_fault(Fault("offline"))
        assert Line(port).wire.is_aborted
        first.station.connection_lost(None)

    asyncio.run(main())


def test_frames_of_a_deaf_connection_are_not_even_read() -> None:
    async def talk(line: Line) -> None:
        line.send(READ)
        line.station.data_received(b"\x00")
        line.station.data_received(encode_i(99, 0, b""))
        assert not line.wire.is_aborted
        assert not [frame for frame in line.frames() if isinstance(frame, IFrame)]

    hit(talk, Fault("half-open"))
