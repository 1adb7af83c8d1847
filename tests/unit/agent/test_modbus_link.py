"""The connection against a device that sends what no device may send."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from agent.drivers.errors import DeviceProtocolError, DeviceUnreachableError
from agent.drivers.link import LinkCounters, LinkError, dial
from agent.drivers.modbus import ModbusDriver
from agent.drivers.modbus_files import FileRecords
from agent.drivers.modbus_link import Link, LinkLimits
from rules.fingerprint import Fingerprint, fingerprint
from tests.unit.agent.bench import Answer, lying, with_driver

CONTENT = bytes(range(256)) * 4
LIMITS = LinkLimits(unit_id=1, timeout_ms=10_000, pacing_ms=0)
HASTY = replace(LIMITS, timeout_ms=80)


def frame(request: bytes, pdu: bytes, *, transaction: int | None = None, unit: int = 1, protocol: int = 0) -> bytes:
    number = int.from_bytes(request[:2], "big") if transaction is None else transaction
    return struct.pack(">HHHB", number & 0xFFFF, protocol, len(pdu) + 1, unit) + pdu


def records_of(request: bytes) -> bytes:
    """Answer FC20, or FC4 for one register, as it should be."""
    if request[7] == 4:
        return b"\x04\x02\x00\x01"
    _, record, count = struct.unpack(">HHH", request[10:16])
    data = CONTENT[2 * record : 2 * (record + count)]
    return bytes((20, len(data) + 2, len(data) + 1, 6)) + data


async def dialled(host: str, port: int, limits: LinkLimits, counters: LinkCounters) -> Link:
    return await dial(lambda: Link(limits, counters), host, port, limits.timeout_ms)


def ask(answer: Answer, pdu: bytes = b"\x04\x00\x00\x00\x01", *, limits: LinkLimits = LIMITS) -> bytes:
    async def work() -> bytes:
        async with lying(answer) as port:
            link = await dialled("127.0.0.1", port, limits, LinkCounters())
            try:
                return await link.ask(pdu)
            finally:
                link.abort()

    return asyncio.run(work())


def transfer(answer: Answer, size: int = len(CONTENT), *, limits: LinkLimits = LIMITS) -> Fingerprint:
    async def work() -> Fingerprint:
        running = Fingerprint()
        async with lying(answer) as port:
            link = await dialled("127.0.0.1", port, limits, LinkCounters())
            records = FileRecords(1, size, running)
            try:
                await link.read_file(records)
                records.flush()
                assert records.code == 0
            finally:
                link.abort()
        return running

    return asyncio.run(work())


def failure(answer: Answer, work: Callable[[Answer], object] = ask) -> LinkError:
    with pytest.raises(LinkError) as caught:
        work(answer)
    return caught.value


def test_answer_in_single_bytes_is_put_together() -> None:
    pdu = b"\x04\x02\x12\x34"
    assert ask(lambda request: [bytes((byte,)) for byte in frame(request, pdu)]) == pdu


@pytest.mark.parametrize("cut", [1, 5, 6, 7, 8, 11, 12, 200])
def test_file_answer_in_two_parts_is_put_together(cut: int) -> None:
    def answer(request: bytes) -> Sequence[bytes]:
        whole = frame(request, records_of(request))
        return [whole[:cut], whole[cut:]]

    assert transfer(answer).result() == fingerprint(CONTENT)


# holds PF-7
@pytest.mark.parametrize("work", [ask, transfer])
def test_answer_under_another_transaction_is_refused(work: Callable[[Answer], object]) -> None:
    error = failure(
        lambda request: [frame(request, records_of(request), transaction=int.from_bytes(request[:2], "big") - 1)], work
    )
    assert error.reason == "wrong-transaction"


def test_answer_under_transaction_zero_is_refused() -> None:
    error = failure(lambda request: [frame(request, b"\x04\x02\x00\x01", transaction=0)])
    assert error.reason == "wrong-transaction"


# holds PF-7
@pytest.mark.parametrize("work", [ask, transfer])
def test_answer_of_another_unit_is_refused(work: Callable[[Answer], object]) -> None:
    assert failure(lambda request: [frame(request, records_of(request), unit=2)], work).reason == "wrong-unit"


# holds PF-7
@pytest.mark.parametrize("work", [ask, transfer])
def test_answer_of_another_function_is_refused(work: Callable[[Answer], object]) -> None:
    assert failure(lambda request: [frame(request, b"\x03\x02\x00\x01")], work).reason == "wrong-function"


@pytest.mark.parametrize("work", [ask, transfer])
def test_exception_of_another_function_is_refused(work: Callable[[Answer], object]) -> None:
    assert failure(lambda request: [frame(request, b"\x83\x02")], work).reason == "wrong-function"


@pytest.mark.parametrize("work", [ask, transfer])
def test_exception_of_a_wrong_length_is_refused(work: Callable[[Answer], object]) -> None:
    def answer(request: bytes) -> Sequence[bytes]:
        return [frame(request, bytes((request[7] | 0x80, 2, 0)))]

    assert failure(answer, work).reason == "wrong-length"


def test_bytes_that_are_no_modbus_are_refused_at_once() -> None:
    error = failure(lambda request: [b"HTTP/1.1 400 Bad Request\r\n\r\n"])
    assert error.reason == "garbage"


@pytest.mark.parametrize("length", [0, 1, 255, 65_535])
def test_length_that_no_frame_can_have_is_refused_at_once(length: int) -> None:
    error = failure(lambda request: [request[:2] + b"\x00\x00" + length.to_bytes(2, "big") + b"\x01\x04"])
    assert error.reason == "wrong-length"


@pytest.mark.parametrize("work", [ask, transfer])
def test_second_answer_to_one_request_is_refused(work: Callable[[Answer], object]) -> None:
    def answer(request: bytes) -> Sequence[bytes]:
        whole = frame(request, records_of(request))
        return [whole + whole]

    assert failure(answer, work).reason == "unasked"


def test_whole_answer_behind_a_part_of_one_is_refused() -> None:
    def answer(request: bytes) -> Sequence[bytes]:
        whole = frame(request, records_of(request))
        return [whole[:3], whole]

    assert failure(answer, transfer).reason in {"garbage", "wrong-length", "unasked"}


def test_answer_that_comes_late_ends_the_connection_and_is_never_taken_for_the_next() -> None:
    async def work() -> None:
        async with lying(lambda request: [b"", *([b""] * 60), frame(request, b"\x04\x02\x00\x01")]) as port:
            link = await dialled("127.0.0.1", port, LIMITS, LinkCounters())
            link.serve(HASTY, LinkCounters())
            with pytest.raises(LinkError, match="no answer to function 4 within 80 ms"):
                await link.ask(b"\x04\x00\x00\x00\x01")
            assert not link.is_open
            with pytest.raises(LinkError):
                await link.ask(b"\x04\x00\x00\x00\x01")

    asyncio.run(work())


def test_bytes_between_two_requests_end_the_connection() -> None:
    async def work() -> None:
        async with lying(lambda request: [frame(request, b"\x04\x02\x00\x01"), b"\x00"]) as port:
            link = await dialled("127.0.0.1", port, LIMITS, LinkCounters())
            await link.ask(b"\x04\x00\x00\x00\x01")
            while link.is_open:  # noqa: ASYNC110 - the link has no event
                await asyncio.sleep(0.001)
            with pytest.raises(LinkError, match="nobody asked for"):
                await link.ask(b"\x04\x00\x00\x00\x01")

    asyncio.run(work())


def test_answer_during_the_pause_before_a_request_is_refused() -> None:
    limits = LinkLimits(unit_id=1, timeout_ms=10_000, pacing_ms=10_000)

    def answer(request: bytes) -> Sequence[bytes]:
        whole = frame(request, records_of(request))
        return [whole, whole]  # the second comes 2 ms later, the next request would come 10 s later

    assert failure(answer, lambda lie: transfer(lie, limits=limits)).reason == "unasked"


@pytest.mark.parametrize("change", [-2, -1, 1, 2])
def test_file_answer_of_another_length_is_refused(change: int) -> None:
    def answer(request: bytes) -> Sequence[bytes]:
        pdu = records_of(request)
        data = (pdu[4:] + b"\x00\x00")[: len(pdu) - 4 + change]
        return [frame(request, bytes((20, len(data) + 2, len(data) + 1, 6)) + data)]

    assert failure(answer, transfer).reason == "wrong-length"


@pytest.mark.parametrize("place", [1, 2, 3])
def test_file_answer_with_an_odd_heading_is_refused(place: int) -> None:
    def answer(request: bytes) -> Sequence[bytes]:
        pdu = bytearray(records_of(request))
        pdu[place] ^= 1
        return [frame(request, bytes(pdu))]

    assert failure(answer, transfer).reason == "wrong-length"


def test_transaction_numbers_wrap_and_go_on() -> None:
    async def work() -> bytes:
        async with lying(lambda request: [frame(request, b"\x04\x02\x00\x01")]) as port:
            link = await dialled("127.0.0.1", port, LIMITS, LinkCounters())
            link._transaction = 0xFFFF
            await link.ask(b"\x04\x00\x00\x00\x01")
            answer = await link.ask(b"\x04\x00\x00\x00\x01")
            link.abort()
            return answer

    assert asyncio.run(work()) == b"\x04\x02\x00\x01"


def test_empty_transfer_asks_nothing() -> None:
    async def work() -> int:
        counters = LinkCounters()
        async with lying(lambda request: None) as port:
            link = await dialled("127.0.0.1", port, LIMITS, counters)
            await link.read_file(FileRecords(1, 0, Fingerprint()))
            link.abort()
        return counters.requests

    assert asyncio.run(work()) == 0


def test_address_that_does_not_answer_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: object, **kwargs: object) -> tuple[object, Link]:
        await asyncio.sleep(3600)
        raise AssertionError

    async def work() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
        with pytest.raises(LinkError, match=r"no connection to 192\.0\.2\.1:502 within 80 ms"):
            await dialled("192.0.2.1", 502, HASTY, LinkCounters())

    asyncio.run(work())


# --- what only a driver can judge ---------------------------------------------------------------------------------


def drive(answers: Callable[[bytes], bytes | None]) -> DeviceProtocolError:
    """Read a device whose answers (PDUs, to whole requests) a test gives."""

    def answer(request: bytes) -> Sequence[bytes] | None:
        pdu = answers(request[7:])
        return None if pdu is None else [frame(request, pdu)]

    async def work() -> None:
        async def read(driver: ModbusDriver) -> None:
            await driver.read()

        async with lying(answer) as port:
            await with_driver(port, read)

    with pytest.raises(DeviceProtocolError) as caught:
        asyncio.run(work())
    return caught.value


def identity(*objects: tuple[int, bytes], more: int = 0, following: int = 0, count: int | None = None) -> bytes:
    packed = b"".join(bytes((key, len(value))) + value for key, value in objects)
    return bytes((43, 14, 3, 0x83, more, following, len(objects) if count is None else count)) + packed


IDENTITY = identity((0, b"V"), (1, b"P"), (2, b"1"), (5, b"M"), (0x80, b"S"))


@pytest.mark.parametrize(
    ("pdu", "message"),
    [
        (identity((0, b"V"), (0, b"W")), "twice in one page"),
        (identity((0, b"V"), more=0xFF), "object 0 twice"),
        (identity((0, b"V"), count=2), "do not add up"),
        (identity((0, b"V"))[:-1], "do not add up"),
        (identity((0, b"V")) + b"\x01", "ends too early"),
        (identity()[:4], "ends too early"),
        (b"\x2b\x0d" + identity((0, b"V"))[2:], "do not add up"),
        (identity(more=0xFF), "more than 32 pages"),
        (b"\x2b\x0e\x01" + identity((0, b"V"))[3:], "of category 1, 3 was asked"),
        (b"\xab\x01", r"FC43 with exception 1 \(illegal function\)"),
        (b"\xab\x63", r"exception 99 \(unknown code\)"),
    ],
)
def test_identification_that_makes_no_sense_is_a_protocol_error(pdu: bytes, message: str) -> None:
    assert_matches(drive(lambda request: pdu), message)


@pytest.mark.parametrize(
    ("pdu", "message"),
    [
        (b"\x04\x04\x00\x01\x00\x02", "4 bytes for 1 registers|5 bytes for 1 registers"),
        (b"\x04\x02\x00", "end too early"),
        (b"\x04\x02\x00\x01\x00", "for 1 registers"),
        (b"\x04\x00", "for 1 registers"),
        (b"\x84\x04", "server device failure"),
    ],
)
def test_registers_that_do_not_fit_the_request_are_a_protocol_error(pdu: bytes, message: str) -> None:
    assert_matches(drive(lambda request: IDENTITY if request[0] == 43 else pdu), message)


def assert_matches(error: Exception, message: str) -> None:
    with pytest.raises(type(error), match=message):
        raise error


def test_gateway_that_loses_its_device_in_the_middle_of_a_file_is_unreachable() -> None:
    directory = b"\x04\x02\x00\x01", b"\x04\x20" + struct.pack(">HHI24s", 1, 1, 1000, b"1")

    def answer(request: bytes) -> Sequence[bytes]:
        function, place = request[7], int.from_bytes(request[8:10], "big")
        if function == 4:
            return [frame(request, directory[place - 100])]
        if function == 43:
            return [frame(request, IDENTITY)]
        first = int.from_bytes(request[12:14], "big") == 0
        return [frame(request, records_of(request) if first else b"\x94\x0b")]

    async def work() -> None:
        async def read(driver: ModbusDriver) -> None:
            await driver.read()

        async with lying(answer) as port:
            await with_driver(port, read)

    with pytest.raises(DeviceUnreachableError, match="FC20 with exception 11"):
        asyncio.run(work())


def test_identification_over_several_pages_is_joined() -> None:
    asked: list[int] = []

    def answers(request: bytes) -> bytes | None:
        if request[0] != 43:
            return None
        asked.append(request[3])
        if request[3] == 0:
            return identity((0, b"V"), (1, b"P"), more=0xFF, following=2)
        return identity((2, b"1"), (4, b"Name"), (0x80, b"S"))

    async def work() -> tuple[str, str]:
        async def read(driver: ModbusDriver) -> None:
            found = await driver._read_identity()
            names.extend((found.serial, found.model))

        names: list[str] = []
        async with lying(lambda request: _framed(request, answers)) as port:
            await with_driver(port, read)
        return names[0], names[1]

    assert asyncio.run(work()) == ("S", "Name")
    assert asked == [0, 2]


def _framed(request: bytes, answers: Callable[[bytes], bytes | None]) -> Sequence[bytes] | None:
    pdu = answers(request[7:])
    return None if pdu is None else [frame(request, pdu)]
