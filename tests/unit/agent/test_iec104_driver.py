"""The driver against a controlled station over real sockets, and against one that lies."""

from __future__ import annotations

import asyncio

import pytest

from agent.drivers.errors import DeviceProtocolError, DeviceUnreachableError
from agent.drivers.iec104 import Iec104Driver
from agent.drivers.iec104_profile import (
    ChecksumTable,
    FileTable,
    IdentityTable,
    Iec104Options,
    PointsTable,
    TextPoints,
    VersionTable,
)
from agent.profile import Profile
from rules.fingerprint import fingerprint, fingerprint_word
from tests.unit.agent.bench import NOW_MS
from tests.unit.agent.iec104_bench import (
    CHECKSUMS,
    CONTENTS,
    FILES,
    TIME,
    VERSIONS,
    Station,
    forbidden,
    with_station,
)
from tests.unit.agent.iec104_reads import BITS, EXTRA, changed, failure, measure_once, read_once
from tests.unit.wire.iec104.stored import content_of
from wire.evidence import Identity
from wire.iec104.apci import UFunction, encode_i, encode_u
from wire.iec104.link import LinkParameters
from wire.iec104.points import NOT_TOPICAL, Point
from wire.iec104.responses import encode_point_asdus
from wire.iec104.types import TypeId

pytestmark = pytest.mark.usefixtures("no_pause_before_retries")

# --- what is read -----------------------------------------------------------------------------------------------


def test_read_gives_identity_and_every_byte_of_every_file() -> None:
    found = read_once(Station())
    assert found.identity == Identity("Sample Vendor", "SC", "2.1.0", "SN-0001", "SC-9000")
    assert [part.kind for part in found.files] == ["firmware", "settings", "strategy"]
    for part in found.files:
        assert part.digest == fingerprint(CONTENTS[part.kind])
        assert (part.size, part.version) == (len(CONTENTS[part.kind]), VERSIONS[part.kind])
        assert (part.method, part.errors) == ("full-file", ())
        assert part.content == (None if part.kind == "firmware" else CONTENTS[part.kind])
    assert [part.name for part in found.files] == ["firmware.bin", "settings.csv", "strategy.csv"]


@pytest.mark.parametrize(("size", "section_bytes"), [(0, 1), (1, 1), (2**20, 20_000), (2**20, 2**20), (2**20 + 1, 1)])
def test_file_of_any_size_gives_the_fingerprint_of_its_bytes(size: int, section_bytes: int) -> None:
    station = Station({"firmware": content_of(size)}, section_bytes=section_bytes)
    found = read_once(station)
    assert [(part.kind, part.digest, part.errors) for part in found.files] == [
        ("firmware", fingerprint(content_of(size)), ())
    ]


def test_changed_byte_changes_the_fingerprint_though_directory_and_versions_stay() -> None:
    flipped = bytearray(CONTENTS["firmware"])
    flipped[31_337] ^= 1
    before, after = read_once(Station()), read_once(Station({**CONTENTS, "firmware": bytes(flipped)}))
    assert (before.listed, before.identity) == (after.listed, after.identity)
    assert before.files[0].digest != after.files[0].digest
    assert before.files[1:] == after.files[1:]


def test_read_of_some_kinds_lists_all_and_reads_only_those() -> None:
    found = read_once(Station(), kinds=frozenset({"strategy"}))
    assert [entry.kind for entry in found.listed] == ["firmware", "settings", "strategy"]
    assert [part.kind for part in found.files] == ["strategy"]


def test_file_that_the_device_does_not_have_is_not_listed() -> None:
    kept = {kind: CONTENTS[kind] for kind in ("firmware", "settings")}
    assert [entry.kind for entry in read_once(Station(kept)).listed] == ["firmware", "settings"]
    assert [entry.kind for entry in read_once(Station(kept), CHECKSUMS).listed] == ["firmware", "settings"]


def test_file_that_ends_early_is_read_to_its_last_octet_and_marked() -> None:
    part = read_once(Station(lengths={"strategy": 20_000})).files[2]
    assert part.errors == ("short-read",)
    assert part.size == 20_000
    assert part.digest == fingerprint(CONTENTS["strategy"])
    assert part.content is None


def test_checksum_points_give_the_devices_word_and_no_bytes() -> None:
    station = Station(checksum={"firmware": 0x01020304, "strategy": 0, "settings": 0xFFFFFFFF})
    found = read_once(station, CHECKSUMS)
    words = {"firmware": b"\1\2\3\4", "strategy": b"\0\0\0\0", "settings": b"\xff\xff\xff\xff"}
    for part in found.files:
        assert (part.method, part.word) == ("vendor-checksum", words[part.kind])
        assert part.digest == fingerprint_word("vendor-checksum", words[part.kind])
        assert (part.size, part.version) == (len(CONTENTS[part.kind]), VERSIONS[part.kind])
    assert b"\x7a" not in {piece[6:7] for piece in station.tap}


# holds IC-23
def test_counter_of_changes_is_read_where_the_device_has_one() -> None:
    assert read_once(Station(revision=2**32 - 1)).revision == 2**32 - 1
    assert read_once(Station({"settings": b"1"})).revision is None
    assert read_once(Station(), changed(FILES, revision_at=None)).revision is None


# holds IC-23
@pytest.mark.parametrize(
    ("address", "type_id", "reason", "detail"),
    [
        (6209, BITS, "invalid-point", "marks point 6209 as invalid or not topical"),
        (9000, TypeId.M_SP_NA_1, "wrong-type", "sends point 9000 as M_SP_NA_1"),
        (9001, BITS, "incomplete", "point 9001 is the first that is missing"),
    ],
)
def test_counter_of_changes_that_is_no_count_of_now_is_refused(
    address: int, type_id: TypeId, reason: str, detail: str
) -> None:
    def lie(raw: bytes) -> list[bytes]:
        odd = Point(min(address, 9000), 1, NOT_TOPICAL)
        return [raw, *encode_point_asdus(type_id, 23, 1, [odd])] if raw[0] == BITS else [raw]

    error = failure(Station(lie=lie), changed(FILES, revision_at=address))
    assert (error.reason, detail in error.detail) == (reason, True)


def test_versions_alone_give_version_strings() -> None:
    profile = changed(
        FILES,
        files=(),
        directory=None,
        revision_at=None,
        identity=IdentityTable(serial=TextPoints(address=6065, count=2)),
        versions=(VersionTable(kind="firmware", version_at=TextPoints(address=6201, count=6)),),
    )
    found = read_once(Station(), profile)
    assert found.identity == Identity("", "", "", "SN-0001", "")
    assert [(part.method, part.word, part.version, part.size) for part in found.files] == [
        ("version-string", b"2.1.0", "2.1.0", 0)
    ]


def test_texts_may_be_read_point_by_point() -> None:
    station = Station()
    assert read_once(station, changed(CHECKSUMS, texts="read")) == read_once(Station(), CHECKSUMS)
    assert not any(piece[6:7] == b"\x64" for piece in station.tap)
    assert sum(piece[6:7] == b"\x66" for piece in station.tap) == 5 * 16 + 3 * 8 + 1


def test_device_without_a_directory_is_asked_for_the_length_of_each_file() -> None:
    plain = FileTable(kind="firmware", address=7001, file=1)
    profile = changed(FILES, directory=None, files=(plain,), identity=IdentityTable())
    found = read_once(Station(), profile)
    assert [(part.name, part.version, part.digest) for part in found.files] == [
        ("iec104-file-7001-1", "", fingerprint(CONTENTS["firmware"]))
    ]


def test_connection_is_kept_between_reads_and_opened_anew_after_close() -> None:
    station = Station()

    async def work(driver: Iec104Driver) -> None:
        first = await driver.read()
        assert await driver.read() == first
        assert driver.counters.connections == 1
        await driver.close()
        assert await driver.read() == first
        assert driver.counters.connections == 2
        assert driver.counters.bytes_read == 3 * sum(map(len, CONTENTS.values()))

    asyncio.run(with_station(station, work))


def test_common_address_of_the_device_is_that_of_its_options_or_its_unit() -> None:
    error = failure(Station(), options=Iec104Options(common_address=2))
    assert (error.reason, error.status) == ("wrong-station", "protocol-error")
    assert read_once(Station(), unit_id=9, options=Iec104Options(common_address=1)).files


# --- measured values --------------------------------------------------------------------------------------------


def measuring(count: int = EXTRA) -> Profile:
    table = PointsTable(type="M_ME_NB_1", address=10_001, count=count)
    return changed(FILES, points=(table, PointsTable(type="M_IT_NA_1", address=701, count=2)))


def station_of(count: int) -> Station:
    measured: dict[int, list[Point]] = {
        TypeId.M_ME_NB_1: [Point(10_001 + number, number % 100, 0) for number in range(count)]
    }
    return Station(measured=measured, counters=[Point(701, 5, 3), Point(702, -1, 0)])


def test_interrogation_of_twenty_thousand_points_is_complete() -> None:
    found = measure_once(station_of(EXTRA), measuring())
    measured = [point for point in found.points if point.address > 10_000]
    assert [(point.address, point.value) for point in measured] == [(10_001 + n, n % 100) for n in range(EXTRA)]
    assert {point.type for point in measured} == {"M_ME_NB_1"}
    assert [point[1:] for point in found.points if point.address in {701, 702}] == [
        ("M_IT_NA_1", 5, 3, None),
        ("M_IT_NA_1", -1, 0, None),
    ]
    assert (found.device, found.read_from_ms) == ("dev-a", NOW_MS)


def test_interrogation_that_brings_fewer_points_than_the_profile_lists_is_no_frame() -> None:
    with pytest.raises(
        DeviceProtocolError, match=r"brings 5461 of 20000 points .*, point 15462 is the first"
    ) as caught:
        measure_once(station_of(5461), measuring())
    assert caught.value.reason == "incomplete"
    with pytest.raises(DeviceProtocolError, match="sends point 10001 as M_ME_NB_1, the profile says M_ME_NA_1"):
        measure_once(station_of(1), changed(FILES, points=(PointsTable(type="M_ME_NA_1", address=10_001),)))


def test_points_with_time_tags_are_measured_with_their_time() -> None:
    tagged: dict[int, list[Point]] = {TypeId.M_ME_TF_1: [Point(501, 0x4244_0000, NOT_TOPICAL, TIME)]}
    profile = changed(FILES, points=(PointsTable(type="M_ME_NC_1", address=501),))
    found = measure_once(Station(measured=tagged), profile)
    assert [tuple(point) for point in found.points if point.address == 501] == [
        (501, "M_ME_TF_1", 0x4244_0000, NOT_TOPICAL, NOW_MS)
    ]


def test_read_goes_on_over_a_new_connection_as_often_as_retries_allow() -> None:
    cuts = [3]

    def lie(raw: bytes) -> list[bytes] | None:
        if raw[0] == TypeId.F_LS_NA_1 and cuts[0]:
            cuts[0] -= 1
            return None
        return [raw]

    station = Station(lie=lie)
    assert len(read_once(station, retries=3).files) == 3
    assert len(station.talks) == 4
    cuts[0] = 3
    error = failure(Station(lie=lie), retries=2)
    assert isinstance(error, DeviceUnreachableError)
    assert error.reason == "closed"


def test_driver_paces_its_requests_and_keeps_the_windows_of_its_profile() -> None:
    station = Station({"firmware": b"x"}, parameters=LinkParameters(k=1, w=1))
    profile = changed(FILES, k=1, w=1)
    found = read_once(station, profile, pacing_ms=2)
    assert found.files[0].digest == fingerprint(b"x")


# --- nothing but reading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "profile", [FILES, CHECKSUMS, changed(CHECKSUMS, texts="read"), changed(FILES, directory=None)]
)
def test_driver_sends_nothing_that_could_change_a_device(profile: Profile) -> None:
    station = station_of(300)
    station.measured = {**station.measured, TypeId.M_SP_NA_1: [Point(101, 1, 0)]}

    async def work(driver: Iec104Driver) -> None:
        await driver.read()
        with pytest.raises(DeviceProtocolError):
            await driver.measure()

    asyncio.run(with_station(station, work, profile))
    stream = b"".join(station.tap)
    assert len(stream) > 30
    assert forbidden(stream) == []


@pytest.mark.parametrize(
    "octets",
    [
        "2d 01 06 00 01 00 010000 01",  # single command
        "67 01 06 00 01 00 000000 00000000000000",  # clock synchronisation
        "65 01 06 00 01 00 000000 45",  # counters, with freeze
        "64 01 08 00 01 00 000000 14",  # deactivation of an interrogation
        "7a 01 0d 00 01 00 591b00 0100 00 04",  # delete a file
        "7a 01 0d 00 01 00 591b00 0100 00 03",  # deactivate a file
        "7d 01 0d 00 01 00 591b00 0100 01 01 00",  # a segment towards the device
        "69 01 06 00 01 00 000000 01",  # reset of the process
        "6e 01 06 00 01 00 010000 0000 01",  # a parameter
    ],
)
def test_tap_sees_what_could_change_a_device(octets: str) -> None:
    assert len(forbidden(encode_i(0, 0, bytes.fromhex(octets)))) == 1
    assert forbidden(b"\0") != []
    assert forbidden(encode_u(UFunction.STARTDT_CON)) == ["STARTDT_CON"]


def test_checksum_in_a_counter_is_taken_as_its_four_octets() -> None:
    table = ChecksumTable(kind="firmware", address=701)
    profile = changed(CHECKSUMS, checksums=(table,), identity=IdentityTable(), texts_qualifier=20)

    def lie(raw: bytes) -> list[bytes]:
        (counter,) = encode_point_asdus(TypeId.M_IT_NA_1, 20, 1, [Point(701, -2, 0x45)])
        return [raw, counter] if raw[0] == BITS else [raw]

    assert read_once(Station(lie=lie), profile).files[0].word == b"\xff\xff\xff\xfe"
