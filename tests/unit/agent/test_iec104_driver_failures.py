"""Stations that refuse, lie, are slow or away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest

from agent.drivers.errors import DeviceBusyError, DeviceProtocolError, DeviceUnreachableError
from agent.drivers.iec104 import Iec104Driver
from agent.drivers.iec104_profile import (
    TextPoints,
    VersionTable,
)
from rules.fingerprint import fingerprint
from tests.unit.agent.iec104_bench import (
    FILES,
    Station,
    with_station,
)
from tests.unit.agent.iec104_reads import BITS, changed, failure, read_once
from tests.unit.wire.iec104.stored import content_of
from wire.iec104.apci import UFunction, encode_i, encode_u
from wire.iec104.points import INVALID, NOT_TOPICAL, Point
from wire.iec104.responses import encode_point_asdus, mirror
from wire.iec104.types import Cause, TypeId

pytestmark = pytest.mark.usefixtures("no_pause_before_retries")

# --- devices that refuse, lie, are slow or away -----------------------------------------------------------------


def in_place_of(type_id: int, other: Callable[[bytes], Iterable[bytes]]) -> Callable[[bytes], Iterable[bytes]]:
    return lambda raw: other(raw) if raw[0] == type_id else [raw]


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (in_place_of(BITS, lambda _: []), "incomplete"),
        (in_place_of(BITS, lambda raw: [raw[:-1]]), "malformed"),
        (in_place_of(BITS, lambda raw: [bytes((raw[0] ^ 2,)) + raw[1:]]), "malformed"),
        (in_place_of(BITS, lambda raw: [raw[:4] + b"\2" + raw[5:]]), "wrong-station"),
        (in_place_of(BITS, lambda raw: [raw[:2] + b"\x14" + raw[3:]]), "unasked"),
        (in_place_of(TypeId.C_IC_NA_1, lambda raw: [raw[:-1] + b"\x14"]), "wrong-order"),
        (in_place_of(TypeId.C_IC_NA_1, lambda raw: [raw, raw]), "wrong-order"),
        (in_place_of(TypeId.C_IC_NA_1, lambda raw: [mirror(raw, Cause.UNKNOWN_TYPE)]), "request-refused"),
        (in_place_of(TypeId.F_DR_TA_1, lambda raw: [raw, raw]), "unasked"),
        (in_place_of(TypeId.F_DR_TA_1, lambda raw: [raw[:-13]]), "malformed"),
        (in_place_of(TypeId.F_FR_NA_1, lambda raw: [raw[:11] + b"\xff\xff\0" + raw[14:]]), "wrong-length"),
        (in_place_of(TypeId.F_FR_NA_1, lambda raw: [raw[:11] + b"\1\0\0" + raw[14:]]), "wrong-length"),
        (in_place_of(TypeId.F_FR_NA_1, lambda raw: [raw[:9] + b"\2" + raw[10:]]), "wrong-file"),
        (in_place_of(TypeId.F_LS_NA_1, lambda raw: [raw[:-1] + bytes((raw[-1] ^ 1,))]), "bad-checksum"),
        (in_place_of(TypeId.F_SG_NA_1, lambda _: []), "wrong-length"),
        (in_place_of(TypeId.F_SG_NA_1, lambda raw: [raw, raw]), "wrong-length"),
    ],
)
def test_device_that_answers_wrongly_is_a_protocol_error_and_no_fingerprint(
    lie: Callable[[bytes], Iterable[bytes]], reason: str
) -> None:
    error = failure(Station(lie=lie))
    assert isinstance(error, DeviceProtocolError)
    assert (error.reason, error.status) == (reason, "protocol-error")


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "not-apci"),
        (b"\x68\xff", "not-apci"),
        (b"\x68\x04\x03\0\0\0", "bad-control"),
        (encode_u(UFunction.STOPDT_CON), "unasked"),
        (encode_i(0, 0, b""), "not-started"),
    ],
)
def test_device_that_speaks_something_else_is_a_protocol_error(greeting: bytes, reason: str) -> None:
    assert failure(Station(greeting=greeting, is_deaf=True)).reason == reason


def test_device_that_sends_numbers_out_of_order_is_a_protocol_error() -> None:
    started = encode_u(UFunction.STARTDT_CON) + encode_i(5, 0, bytes(9))

    error = failure(Station(instead=started))
    assert (error.reason, error.detail) == (
        "wrong-send-number",
        "I frame 5 came, 0 is next: a frame was lost or repeated",
    )


@pytest.mark.parametrize("point", [Point(6001, 0, INVALID), Point(6201, 0, NOT_TOPICAL)])
def test_text_that_the_device_marks_as_invalid_is_no_text(point: Point) -> None:
    def lie(raw: bytes) -> list[bytes]:
        (other,) = encode_point_asdus(BITS, 23, 1, [point])
        return [raw, other] if raw[0] == BITS else [raw]

    assert failure(Station(lie=lie)).reason == "invalid-point"


def test_text_in_points_that_hold_none_is_a_protocol_error() -> None:
    def lie(raw: bytes) -> list[bytes]:
        (other,) = encode_point_asdus(TypeId.M_SP_NA_1, 23, 1, [Point(6001, 1, 0)])
        return [raw, other] if raw[0] == BITS else [raw]

    assert failure(Station(lie=lie)).reason == "wrong-type"


def test_version_that_is_empty_is_no_version_string() -> None:
    table = VersionTable(kind="firmware", version_at=TextPoints(address=6008, count=2))
    profile = changed(FILES, files=(), directory=None, versions=(table,))
    assert failure(Station(), profile).reason == "no-version"


def test_device_that_is_not_ready_is_asked_again_and_after_too_many_times_busy() -> None:
    for lie in (
        in_place_of(TypeId.F_FR_NA_1, lambda raw: [raw[:-1] + b"\x80"]),
        lambda raw: [mirror(raw, Cause.ACTIVATION_CON, is_negative=True)] if raw[2] == Cause.ACTIVATION_CON else [],
    ):
        station = Station(lie=lie)
        error = failure(station)
        assert isinstance(error, DeviceBusyError)
        assert (error.reason, error.status) == ("busy", "unreachable")
        assert "is still not ready after 3 repeats" in error.detail
        assert len(station.talks) == 1


def test_device_that_is_ready_after_a_while_is_read() -> None:
    refused: list[int] = []

    def lie(raw: bytes) -> list[bytes]:
        if raw[0] == TypeId.F_FR_NA_1 and len(refused) < 3:
            refused.append(1)
            return [raw[:-1] + b"\x80"]
        return [raw]

    station = Station(lie=lie)
    assert len(read_once(station).files) == 3
    assert len(station.talks) == 1


def test_device_that_never_answers_is_unreachable() -> None:
    error = failure(Station(is_deaf=True), timeout_ms=200)
    assert isinstance(error, DeviceUnreachableError)
    assert error.detail == "no answer to STARTDT within 200 ms"
    error = failure(Station(lie=in_place_of(TypeId.F_DR_TA_1, lambda _: [])), timeout_ms=200)
    assert error.detail == "no answer to RequestFile within 200 ms after 0 answers"


def test_device_that_only_chatters_is_unreachable_all_the_same() -> None:
    (chatter,) = encode_point_asdus(TypeId.M_SP_NA_1, 3, 1, [Point(1, 1, 0)])
    station = Station(lie=in_place_of(TypeId.F_DR_TA_1, lambda _: []))

    async def work(driver: Iec104Driver) -> None:
        async def talk() -> None:
            while True:
                await asyncio.sleep(0.005)
                if station.talks and station.talks[0].link.send_room:
                    station.talks[0].say(chatter)

        talking = asyncio.create_task(talk())
        with pytest.raises(DeviceUnreachableError, match="no answer to RequestFile"):
            await driver.read()
        talking.cancel()

    asyncio.run(with_station(station, work, timeout_ms=300))


def test_slow_device_is_read_as_long_as_each_answer_comes_in_time() -> None:
    station = Station({"firmware": content_of(1000)}, section_bytes=25)

    def lie(raw: bytes) -> list[bytes]:
        if raw[0] == TypeId.F_SR_NA_1:
            asyncio.get_running_loop().call_later(0.05, station.talks[0].pump)
        return [raw]

    station.lie = lie
    assert read_once(station, timeout_ms=400).files[0].digest == fingerprint(content_of(1000))


def test_spontaneous_points_and_unknown_types_are_passed_over() -> None:
    (spontaneous,) = encode_point_asdus(TypeId.M_SP_NA_1, 3, 1, [Point(6001, 1, 0)])
    private = bytes((150, 1, 3, 0, 1, 0, 1, 2, 3))
    started = bytes.fromhex("46 01 04 00 01 00 000000 00")
    other = spontaneous[:4] + b"\2" + spontaneous[5:]
    found = read_once(Station(lie=lambda raw: [spontaneous, private, started, other, raw]))
    assert [part.digest for part in found.files] == [part.digest for part in read_once(Station()).files]


def test_late_answer_closes_the_connection_and_the_next_read_is_clean() -> None:
    station = Station()
    late = next(iter(encode_point_asdus(BITS, 23, 1, station.texts()[:3])))

    async def work(driver: Iec104Driver) -> None:
        first = await driver.read()
        station.talks[0].say(late)
        await station.talks[0].is_lost.wait()
        assert await driver.read() == first
        assert len(station.talks) == 2

    asyncio.run(with_station(station, work))
