"""What a simulated controlled station answers, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from firmware_sim.device import Device
from firmware_sim.faults import WRONG_CLOCK, Fault
from firmware_sim.iec104.points import ARTEFACT_FIRST, COUNTER_FIRST, EXTRA_FIRST
from tests.unit.firmware_sim.bench import NOW_MS
from tests.unit.firmware_sim.iec104.line import STATION, Line, asdu, bay, brief, line_of
from wire.iec104.apci import UFunction, encode_i
from wire.iec104.time56 import encode_time, time_of_epoch_ms

IC, CI, RD, CS, TS = 100, 101, 102, 103, 107
OWN = 165


def on_line(talk: Callable[[Line], None], target: Device | None = None, **options: object) -> None:
    async def main() -> None:
        line = line_of(bay() if target is None else target, **options)
        line.start()
        talk(line)
        line.station.connection_lost(None)

    asyncio.run(main())


def test_station_interrogation_gives_every_point_between_confirmation_and_termination() -> None:
    def talk(line: Line) -> None:
        first, *found, last = line.ask(asdu(IC, 6, b"\x14"))
        assert brief([first, last]) == [(IC, 7, False), (IC, 10, False)]
        assert {item.head.cause for item in found} == {20}
        assert sum(len(item.points) for item in found) == OWN

    on_line(talk)


def test_interrogation_of_twenty_thousand_points_is_whole() -> None:
    def talk(line: Line) -> None:
        found = line.ask(asdu(IC, 6, b"\x14"))
        addresses = [point.address for item in found for point in item.points if point.address >= EXTRA_FIRST]
        assert addresses == list(range(EXTRA_FIRST, EXTRA_FIRST + 20_000))

    on_line(talk, extra_points=20_000)


def test_interrogation_sends_no_more_frames_than_the_window_until_they_are_acknowledged() -> None:
    def talk(line: Line) -> None:
        line.send(asdu(IC, 6, b"\x14"))
        line.acknowledge()
        assert len(line.frames()) <= 12
        for _ in range(5):
            line.station.wake()
            assert line.frames() == []

    on_line(talk, extra_points=5_000)


def test_wide_window_is_written_in_batches_and_stops_where_nobody_reads() -> None:
    def talk(line: Line) -> None:
        write = line.wire.write

        def write_and_be_full(data: bytes | bytearray | memoryview) -> None:
            write(data)
            line.station.pause_writing()

        line.wire.write = write_and_be_full  # type: ignore[method-assign]
        line.send(asdu(IC, 6, b"\x14"))
        assert 0 < len(line.wire.written) < 64 * 256

    on_line(talk, extra_points=50_000, k=32_767, w=20_000)


def test_interrogation_waits_for_a_reader_that_does_not_read() -> None:
    def talk(line: Line) -> None:
        line.station.pause_writing()
        line.send(asdu(IC, 6, b"\x14"))
        assert line.frames() == []
        line.station.resume_writing()
        assert sum(len(item.points) for item in line.rest()) == OWN

    on_line(talk)


@pytest.mark.parametrize(("group", "count"), [(1, 34), (2, 8), (3, 123), (4, 50), (5, 0)])
def test_group_interrogation_gives_the_points_of_the_group(group: int, count: int) -> None:
    def talk(line: Line) -> None:
        _, *found, _ = line.ask(asdu(IC, 6, bytes((20 + group,))))
        assert sum(len(item.points) for item in found) == count
        assert {item.head.cause for item in found} <= {20 + group}

    on_line(talk, extra_points=50)


def test_counters_are_given_to_their_own_interrogation() -> None:
    def talk(line: Line) -> None:
        for request, cause, count in ((5, 37, 2), (1, 38, 2), (2, 39, 0)):
            _, *found, _ = line.ask(asdu(CI, 6, bytes((request,))))
            assert [(item.head.cause, len(item.points)) for item in found] == [(cause, count)] * bool(count)
        assert line.ask(asdu(RD, 5, b"", address=COUNTER_FIRST))[0].points[0].value == 1

    on_line(talk)


@pytest.mark.parametrize("request_octet", [0x45, 0x85, 0xC5, 0x06, 0x00])
def test_counters_are_not_frozen_reset_or_asked_for_in_a_group_that_is_none(request_octet: int) -> None:
    on_line(lambda line: _refused(line, asdu(CI, 6, bytes((request_octet,))), (CI, 7, True)))


@pytest.mark.parametrize(
    ("raw", "refusal"),
    [
        (asdu(IC, 6, b"\x13"), (IC, 7, True)),
        (asdu(IC, 6, b"\x25"), (IC, 7, True)),
        (asdu(IC, 5, b"\x14"), (IC, 45, True)),
        (asdu(IC, 6, b"\x14", station=STATION + 1), (IC, 46, True)),
        (asdu(RD, 5, b"", address=5_000), (RD, 47, True)),
        (asdu(RD, 6, b"", address=1), (RD, 45, True)),
        (asdu(CS, 6, b"\xff" * 7), (CS, 7, True)),
    ],
    ids=["qualifier below", "qualifier above", "cause", "station", "address", "cause of read", "time"],
)
def test_request_out_of_range_is_refused(raw: bytes, refusal: tuple[int, int, bool]) -> None:
    on_line(lambda line: _refused(line, raw, refusal))


@pytest.mark.parametrize("type_id", [45, 46, 47, 48, 49, 50, 51, 58, 59, 60, 61, 62, 63, 64, 105, 110, 111, 112, 113])
def test_command_set_point_parameter_and_reset_are_unknown_types(type_id: int) -> None:
    def talk(line: Line) -> None:
        line.send(asdu(type_id, 6, b"\x01", address=101))
        (frame,) = [frame for frame in line.frames() if not isinstance(frame, UFunction)]
        assert getattr(frame, "asdu")[:3] == bytes((type_id, 1, 0x40 | 44))  # noqa: B009 - an I frame, if anything

    on_line(talk)


def _refused(line: Line, raw: bytes, refusal: tuple[int, int, bool]) -> None:
    assert brief(line.ask(raw)) == [refusal]


def test_read_gives_the_one_point() -> None:
    def talk(line: Line) -> None:
        (found,) = line.ask(asdu(RD, 5, b"", address=ARTEFACT_FIRST))
        assert (found.head.cause, len(found.points), found.address) == (5, 1, ARTEFACT_FIRST)

    on_line(talk)


def test_broadcast_is_answered_as_the_station() -> None:
    def talk(line: Line) -> None:
        _, *found, _ = line.ask(asdu(IC, 6, b"\x14", station=0xFFFF))
        assert {item.head.common_address for item in found} == {STATION}

    on_line(talk)


def test_deactivation_ends_an_interrogation() -> None:
    def talk(line: Line) -> None:
        line.send(asdu(IC, 6, b"\x14"))
        found = line.ask(asdu(IC, 8, b"\x14"))
        assert brief(found)[-1] == (IC, 9, False)
        assert sum(len(item.points) for item in found) < 5_000

    on_line(talk, extra_points=5_000)


def test_clock_synchronisation_sets_the_time_of_later_events() -> None:
    target = bay()
    target.set_fault(Fault(WRONG_CLOCK, offset_ms=-3_600_000))

    def talk(line: Line) -> None:
        target.listen(lambda _: line.station._group.look(measured=False))
        target.load(target.contents)
        wrong = line.rest()
        assert {point.time.epoch_ms() for item in wrong for point in item.points if point.time} == {NOW_MS - 3_600_000}
        assert brief(line.ask(asdu(CS, 6, encode_time(time_of_epoch_ms(NOW_MS))))) == [(CS, 7, False)]
        target.load(target.contents)
        right = line.rest()
        assert {point.time.epoch_ms() for item in right for point in item.points if point.time} == {NOW_MS}

    on_line(talk, target)


@pytest.mark.parametrize(
    "data",
    [b"\x00", bytes.fromhex("680307"), encode_i(5, 0, b""), encode_i(0, 9, b""), encode_i(0, 0, bytes(3))],
    ids=["start", "length", "send number", "receive number", "short"],
)
def test_stream_that_is_none_closes_the_connection(data: bytes) -> None:
    target = bay()

    def talk(line: Line) -> None:
        line.station.data_received(data)
        assert line.wire.is_aborted
        assert target.counters.framing_errors == 1

    on_line(talk, target)


def test_too_many_requests_at_once_close_the_connection() -> None:
    def talk(line: Line) -> None:
        line.station.pause_writing()
        for _ in range(70):
            line.send(asdu(IC, 6, b"\x14"))
        assert line.wire.is_aborted

    on_line(talk)
