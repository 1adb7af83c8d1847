"""What the server does with a line: pipelining, cut frames, garbage, bounds, faults."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_sim.contents import ARTEFACT_BYTES_MAX, artefact
from firmware_sim.device import CONNECTIONS_MAX
from firmware_sim.faults import Fault
from firmware_sim.modbus.server import LATE_ANSWERS_MAX
from tests.interop.modbus_line import (
    FIRMWARE,
    Line,
    connect,
    firmware_device,
    framed,
    on_line,
    read_file,
    run,
    serve,
)
from tests.unit.firmware_sim.bench import FixedUnit

pytestmark = pytest.mark.interop


def test_pipelined_requests_in_one_segment_are_all_answered_in_order() -> None:
    async def talk(line: Line) -> None:
        numbers = range(300)
        line.send(b"".join(framed(read_file(1, number, 1), transaction=number) for number in numbers))
        for number in numbers:
            assert await line.frame() == (number, 1, b"\x14\x04\x03\x06" + FIRMWARE[2 * number : 2 * number + 2])

    on_line(firmware_device(), talk)


def test_request_cut_into_single_bytes_is_answered() -> None:
    async def talk(line: Line) -> None:
        for byte in framed(read_file(1, 5, 2)):
            line.send(bytes((byte,)))
            await line.drain()
            await asyncio.sleep(0)
        assert (await line.frame())[2] == b"\x14\x06\x05\x06" + FIRMWARE[10:14]

    on_line(firmware_device(), talk)


def test_file_of_4_mib_is_read_whole() -> None:
    content = bytes(range(256)) * (ARTEFACT_BYTES_MAX // 256)
    target = firmware_device(artefact("strategy", "1", content))

    async def talk(line: Line) -> None:
        found = bytearray()
        file_number, record, left = 1001, 0, ARTEFACT_BYTES_MAX // 2
        while left:
            count = min(124, 10_000 - record, left)
            answer = await line.ask(read_file(file_number, record, count))
            found += answer[4:]
            left -= count
            file_number, record = (file_number, record + count) if record + count < 10_000 else (file_number + 1, 0)
        assert bytes(found) == content
        assert await line.ask(read_file(file_number, record, 1)) == b"\x94\x02"

    on_line(target, talk)


def test_read_past_a_truncated_end_gets_exception_2() -> None:
    target = firmware_device()
    item = target.contents.artefacts["firmware"]
    target.load(target.contents.overwritten(item.with_content(FIRMWARE[:100], len(FIRMWARE))))

    async def talk(line: Line) -> None:
        assert (await line.ask(read_file(1, 49, 1)))[4:] == FIRMWARE[98:100]
        assert await line.ask(read_file(1, 49, 2)) == b"\x94\x02"
        assert await line.ask(read_file(2, 0, 1)) == b"\x94\x02"

    on_line(target, talk)


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", bytes.fromhex("0001 0001 0006 01"), bytes.fromhex("0001 0000 0001 01"), b"\xff" * 300],
)
def test_malformed_header_closes_the_connection_and_no_other(data: bytes) -> None:
    target = firmware_device()

    async def main() -> None:
        async with serve(target) as port, connect(port) as good, connect(port) as bad:
            bad.send(framed(read_file(1, 0, 1)) + data)
            assert (await bad.frame())[2] == b"\x14\x04\x03\x06" + FIRMWARE[:2]
            assert await bad.ended()
            assert (await good.ask(read_file(1, 0, 1)))[0] == 20
        assert target.counters.framing_errors == 1

    run(main())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(min_size=1, max_size=400), max_size=5))
def test_arbitrary_bytes_never_stop_the_server(parts: list[bytes]) -> None:
    target = firmware_device()

    async def main() -> None:
        async with serve(target) as port:
            async with connect(port) as bad:
                for part in parts:
                    bad.send(part)
            async with connect(port) as good:
                assert (await good.ask(read_file(1, 0, 1)))[4:] == FIRMWARE[:2]

    run(main())


def test_one_connection_too_many_is_closed_and_a_place_comes_free() -> None:
    target = firmware_device()

    async def main() -> None:
        async with serve(target) as port:
            lines = [connect(port) for _ in range(CONNECTIONS_MAX)]
            opened = [await line.__aenter__() for line in lines]
            for line in opened:
                assert (await line.ask(read_file(1, 0, 1)))[0] == 20
            async with connect(port) as extra:
                assert await extra.ended()
            await lines[0].__aexit__(None, None, None)
            while target.counters.connections < CONNECTIONS_MAX + 1:
                async with connect(port) as again:
                    again.send(framed(read_file(1, 0, 1)))
                    await again.ended()
            for line_context in lines[1:]:
                await line_context.__aexit__(None, None, None)
        assert target.counters.refused >= 1

    run(main())


def test_client_that_does_not_read_is_not_served_without_bound() -> None:
    target = firmware_device()
    request = framed(read_file(1, 0, 124))
    total = 60_000

    async def talk(line: Line) -> None:
        line.send(request * total)
        seen = -1
        while seen != target.counters.requests:
            seen = target.counters.requests
            await asyncio.sleep(0.1)
        assert 0 < seen < total
        expected = b"\x14\xfa\xf9\x06" + FIRMWARE[:248]
        for _ in range(total):
            assert (await line.frame())[2] == expected
        assert target.counters.requests == total

    on_line(target, talk)


def test_devices_of_one_process_keep_their_own_identity() -> None:
    first = firmware_device()
    second = FixedUnit(firmware_device(), objects={0: b"Eastworks", 1: b"E1", 2: b"9"})

    async def main() -> None:
        async with serve(first) as one, serve(second) as two, connect(one) as a, connect(two) as b:
            assert b"Northgrid Controls" in await a.ask(bytes.fromhex("2b 0e 01 00"))
            assert b"Eastworks" in await b.ask(bytes.fromhex("2b 0e 01 00"))
            assert b"Northgrid Controls" in await a.ask(bytes.fromhex("2b 0e 01 00"))

    run(main())


def test_fault_never_keeps_silent_and_ends_by_its_count() -> None:
    target = firmware_device()
    target.set_fault(Fault("never", requests=1))

    async def talk(line: Line) -> None:
        line.send(framed(read_file(1, 0, 1), transaction=1))
        assert await line.silent(0.1)
        assert (await line.ask(read_file(1, 0, 1), transaction=2))[0] == 20

    on_line(target, talk)


def test_fault_late_answers_after_its_delay_and_in_order() -> None:
    target = firmware_device()
    target.set_fault(Fault("late", delay_ms=150))

    async def talk(line: Line) -> None:
        line.send(b"".join(framed(read_file(1, 0, 1), transaction=number) for number in range(5)))
        assert await line.silent(0.05)
        assert [(await line.frame())[0] for _ in range(5)] == list(range(5))

    on_line(target, talk)


def test_fault_late_holds_back_a_bounded_number_of_answers() -> None:
    target = firmware_device()
    target.set_fault(Fault("late", delay_ms=200))
    count = 3 * LATE_ANSWERS_MAX

    async def talk(line: Line) -> None:
        line.send(b"".join(framed(read_file(1, 0, 1), transaction=number) for number in range(count)))
        await asyncio.sleep(0.05)
        assert target.counters.requests == LATE_ANSWERS_MAX
        assert [(await line.frame())[0] for _ in range(count)] == list(range(count))

    on_line(target, talk)


def test_fault_late_of_a_closed_connection_disturbs_nobody() -> None:
    target = firmware_device()
    target.set_fault(Fault("late", delay_ms=50, requests=1))

    async def main() -> None:
        async with serve(target) as port:
            async with connect(port) as gone:
                gone.send(framed(read_file(1, 0, 1)))
                assert await gone.silent(0.02)
                assert target.counters.requests == 1
            async with connect(port) as line:
                assert (await line.ask(read_file(1, 0, 1)))[0] == 20
                assert await line.silent(0.1)

    run(main())


def test_fault_close_ends_the_connection() -> None:
    target = firmware_device()
    target.set_fault(Fault("close"))

    async def talk(line: Line) -> None:
        line.send(framed(read_file(1, 0, 1)))
        assert await line.ended()

    on_line(target, talk)
    assert target.counters.framing_errors == 0


def test_fault_offline_refuses_new_connections_until_cleared() -> None:
    target = firmware_device()

    async def main() -> None:
        async with serve(target) as port:
            target.set_fault(Fault("offline"))
            async with connect(port) as line:
                assert await line.ended()
            target.set_fault(None)
            async with connect(port) as line:
                assert (await line.ask(read_file(1, 0, 1)))[0] == 20

    run(main())


def test_fault_garbage_and_too_long_send_their_bytes() -> None:
    target = firmware_device()

    async def talk(line: Line) -> None:
        target.set_fault(Fault("too-long", requests=1))
        line.send(framed(read_file(1, 0, 1)))
        _, _, pdu = await line.frame()
        assert len(pdu) == 6 + 1024
        target.set_fault(Fault("garbage", requests=1))
        line.send(framed(read_file(1, 0, 1)))
        header = await line.take(64)
        assert struct.unpack_from(">H", header, 2) != (0,)
        assert (await line.ask(read_file(1, 0, 1)))[0] == 20

    on_line(target, talk)
