"""Where a Modbus profile says that things are: registers, checksums, versions, groups, identity."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.drivers.errors import DeviceError, DeviceProtocolError
from agent.drivers.modbus import ModbusDriver
from agent.drivers.table import profile_schemas
from agent.model import Reading
from agent.profile import Profile, read_profile
from firmware_sim.contents import artefact
from firmware_sim.files.setting_list import setting_list
from firmware_sim.modbus.unit import ModbusOptions, Unit, first_file
from firmware_sim.settings import values_of
from kit.config import ConfigProblemsError
from rules.fingerprint import fingerprint, fingerprint_word
from tests.unit.agent.bench import PACKAGED, PROFILES, lying, served, with_driver
from tests.unit.firmware_sim.bench import device

HEAD = 'protocol = "modbus"\nabout = "sample"\n[modbus.identity]\naccess = "none"\n'
SETTINGS = '[[modbus.registers]]\nkind = "settings"\nblocks = [{ address = 10, count = 3 }]\n'


def profile_of(folder: Path, text: str) -> Profile:
    path = folder / "sample.toml"
    path.write_text(text)
    return read_profile(path, profile_schemas())


@dataclass(slots=True)
class Bank:
    """Registers and identification objects, answered as the standard asks, without code of the simulator."""

    holding: dict[int, int] = field(default_factory=dict)
    input: dict[int, int] = field(default_factory=dict)
    objects: dict[int, bytes] = field(default_factory=dict)
    asked: list[tuple[int, ...]] = field(default_factory=list)
    after: Callable[[Bank], None] = lambda _: None
    """Called after each answer."""

    def __call__(self, request: bytes) -> list[bytes]:
        pdu = self.answer(request[7:])
        self.after(self)
        return [request[:4] + struct.pack(">HB", len(pdu) + 1, request[6]) + pdu]

    def answer(self, pdu: bytes) -> bytes:
        if pdu[0] == 43:
            self.asked.append((43, pdu[2]))
            kept = {key: value for key, value in self.objects.items() if key <= {1: 2, 2: 0x7F, 3: 0xFF}[pdu[2]]}
            packed = b"".join(bytes((key, len(value))) + value for key, value in kept.items())
            return bytes((43, 14, pdu[2], 0x83, 0, 0, len(kept))) + packed
        function, address, count = struct.unpack(">BHH", pdu)
        self.asked.append((function, address, count))
        table: Mapping[int, int] = {3: self.holding, 4: self.input}[function]
        wanted = range(address, address + count)
        if any(place not in table for place in wanted):
            return bytes((function | 0x80, 2))
        return bytes((function, 2 * count)) + struct.pack(f">{count}H", *(table[place] for place in wanted))


def read(bank: Bank, profile: Profile) -> Reading:
    found: list[Reading] = []

    async def work() -> None:
        async def once(driver: ModbusDriver) -> None:
            found.append(await driver.read())

        async with lying(bank) as port:
            await with_driver(port, once, profile=profile)

    asyncio.run(work())
    return found[0]


def failure(bank: Bank, profile: Profile) -> DeviceError:
    with pytest.raises(DeviceProtocolError) as caught:
        read(bank, profile)
    return caught.value


def ascii_at(address: int, text: str, count: int) -> dict[int, int]:
    raw = text.encode().ljust(2 * count, b"\x00")
    return {address + i: int.from_bytes(raw[2 * i : 2 * i + 2], "big") for i in range(count)}


# holds EV-15
def test_settings_in_registers_are_read_as_their_bytes_in_the_order_of_the_profile(tmp_path: Path) -> None:
    text = HEAD + (
        '[[modbus.registers]]\nkind = "settings"\nname = "set values"\n'
        'blocks = [{ address = 10, count = 2 }, { table = "input", address = 5 }, { address = 0, count = 1 }]\n'
        'version_at = { address = 20, count = 2, format = "dotted" }\n'
    )
    bank = Bank(holding={10: 0x0102, 11: 0x0304, 0: 0xFFFE, 20: 0x0203, 21: 0x0001}, input={5: 0x0506})
    (part,) = read(bank, profile_of(tmp_path, text)).files
    content = bytes.fromhex("010203040506fffe")
    assert (part.kind, part.name, part.version, part.method) == ("settings", "set values", "2.3.0.1", "record-read")
    assert (part.size, part.digest, part.errors) == (8, fingerprint(content), ())
    assert part.content == content
    assert bank.asked == [(3, 20, 2), (3, 10, 2), (4, 5, 1), (3, 0, 1)]


# holds EV-15
def test_one_register_that_differs_gives_another_fingerprint(tmp_path: Path) -> None:
    profile = profile_of(tmp_path, HEAD + SETTINGS)
    before = read(Bank(holding={10: 1, 11: 2, 12: 3}), profile)
    after = read(Bank(holding={10: 1, 11: 2, 12: 4}), profile)
    assert before.files[0].digest.sha256 != after.files[0].digest.sha256


def test_long_blocks_are_asked_for_in_requests_that_the_model_takes(tmp_path: Path) -> None:
    text = HEAD.replace("[modbus.identity]", "[modbus]\nregisters_max = 40\n[modbus.identity]")
    profile = profile_of(tmp_path, text + SETTINGS.replace("count = 3", "count = 100"))
    bank = Bank(holding={place: place for place in range(200)})
    (part,) = read(bank, profile).files
    assert bank.asked == [(3, 10, 40), (3, 50, 40), (3, 90, 20)]
    assert part.digest == fingerprint(struct.pack(">100H", *range(10, 110)))


def test_registers_that_the_device_does_not_have_are_a_protocol_error(tmp_path: Path) -> None:
    error = failure(Bank(holding={10: 1}), profile_of(tmp_path, HEAD + SETTINGS))
    assert str(error) == "device dev-a: answers FC3 with exception 2 (illegal data address)"


GROUPS = SETTINGS + "active_group = { address = 100, groups = 4, stride = 1000 }\n"


def test_active_setting_group_is_read_and_named(tmp_path: Path) -> None:
    holding = {100: 3} | {2010: 7, 2011: 8, 2012: 9}
    (part,) = read(Bank(holding=holding), profile_of(tmp_path, HEAD + GROUPS)).files
    assert part.name == "settings, group 3"
    assert part.digest == fingerprint(struct.pack(">3H", 7, 8, 9))


@pytest.mark.parametrize("group", [0, 5, 65_535])
def test_setting_group_that_there_is_not_is_a_protocol_error(tmp_path: Path, group: int) -> None:
    error = failure(Bank(holding={100: group}), profile_of(tmp_path, HEAD + GROUPS))
    assert error.detail == f"says that group {group} is active, there are 1..4"


def test_setting_group_that_is_switched_during_the_read_is_a_protocol_error(tmp_path: Path) -> None:
    def switch(bank: Bank) -> None:
        if bank.asked[-1][1] == 10:
            bank.holding[100] = 2

    bank = Bank(holding={100: 1, 10: 7, 11: 8, 12: 9}, after=switch)
    assert failure(bank, profile_of(tmp_path, HEAD + GROUPS)).reason == "group"


def test_revision_counter_is_asked_before_what_it_counts(tmp_path: Path) -> None:
    text = HEAD.replace("[modbus.identity]", "[modbus]\nrevision_at = { address = 90, count = 2 }\n[modbus.identity]")
    bank = Bank(holding={90: 1, 91: 2, 10: 1, 11: 2, 12: 3})
    assert read(bank, profile_of(tmp_path, text + SETTINGS)).revision == 65_538
    assert bank.asked == [(3, 90, 2), (3, 10, 3)]
    assert read(bank, profile_of(tmp_path, HEAD + SETTINGS)).revision is None


def test_revision_counter_beyond_what_evidence_carries_is_a_protocol_error(tmp_path: Path) -> None:
    text = HEAD.replace("[modbus.identity]", "[modbus]\nrevision_at = { address = 90, count = 4 }\n[modbus.identity]")
    error = failure(Bank(holding=dict.fromkeys(range(90, 94), 0xFFFF)), profile_of(tmp_path, text + SETTINGS))
    assert error.reason == "revision"


def test_changed_and_changed_back_shows_in_the_counter_alone() -> None:
    simulated = device(artefact("firmware", "2.0", b"image"), artefact("settings", "9", setting_list("relay", "1")))
    found: list[Reading] = []

    async def work() -> None:
        async def twice(driver: ModbusDriver) -> None:
            found.append(await driver.read())
            contents = simulated.contents
            simulated.load(device(artefact("firmware", "2.0", b"other")).contents)
            simulated.load(contents)
            found.append(await driver.read())

        async with served(simulated) as port:
            await with_driver(port, twice, profile=PACKAGED)

    asyncio.run(work())
    before, after = found
    assert [part.digest for part in before.files] == [part.digest for part in after.files]
    assert before.revision is not None
    assert after.revision == before.revision + 2


def test_checksum_register_is_the_devices_word_and_no_content(tmp_path: Path) -> None:
    text = HEAD + (
        '[[modbus.checksum]]\nkind = "firmware"\nname = "crc32"\naddress = 40\n'
        "version_at = { address = 50, count = 3 }\n"
    )
    bank = Bank(holding={40: 0x9F8A, 41: 0x6C01} | ascii_at(50, "3.1.4", 3))
    (part,) = read(bank, profile_of(tmp_path, text)).files
    assert (part.name, part.version, part.method) == ("crc32", "3.1.4", "vendor-checksum")
    assert part.word == bytes.fromhex("9f8a6c01")
    assert part.digest == fingerprint_word("vendor-checksum", part.word)
    assert (part.size, part.content) == (0, None)


LISTED = '[modbus.checksum_list]\naddress = 320\nkinds = ["firmware", "strategy"]\n'


def listing(*entries: tuple[int, int, int, bytes]) -> dict[int, int]:
    raw = len(entries).to_bytes(2, "big") + b"".join(struct.pack(">HHI24s", *entry) for entry in entries)
    return {320 + at: value for at, (value,) in enumerate(struct.iter_unpack(">H", raw))}


def test_listed_checksums_of_the_profiles_kinds_are_the_devices_word(tmp_path: Path) -> None:
    bank = Bank(input=listing((3, 1, 7, b"5"), (1, 1, 0x9F8A6C01, b"3.1.4"), (2, 9, 1, b"7"), (9, 1, 1, b"")))
    firmware, strategy = read(bank, profile_of(tmp_path, HEAD + LISTED)).files
    assert (firmware.name, firmware.version, firmware.word) == ("crc32", "3.1.4", bytes.fromhex("9f8a6c01"))
    assert (strategy.name, strategy.method, strategy.word) == ("checksum of kind 9", "vendor-checksum", b"\0\0\0\1")


def test_kind_that_is_listed_twice_is_a_protocol_error(tmp_path: Path) -> None:
    bank = Bank(input=listing((1, 1, 7, b"5"), (1, 1, 8, b"3.1.4")))
    assert failure(bank, profile_of(tmp_path, HEAD + LISTED)).reason == "directory"


def test_relay_of_checksums_alone_is_read_by_its_packaged_profile() -> None:
    settings = setting_list("relay", "1")
    simulated = device(
        artefact("firmware", "2.0", b"image"), artefact("strategy", "4", b"rows"), artefact("settings", "9", settings)
    )
    found: list[Reading] = []

    async def once(driver: ModbusDriver) -> None:
        found.append(await driver.read())

    async def work() -> None:
        async with served(Unit(simulated, ModbusOptions(files=False))) as port:
            await with_driver(port, once, profile=PROFILES["relay-modbus-checksum"])

    asyncio.run(work())
    assert [(part.kind, part.method) for part in found[0].files] == [
        ("firmware", "vendor-checksum"),
        ("settings", "record-read"),
        ("strategy", "vendor-checksum"),
    ]
    values = values_of(settings)
    assert found[0].files[0].word == zlib.crc32(b"image").to_bytes(4, "big")
    assert found[0].files[1].digest == fingerprint(struct.pack(f">{len(values)}h", *values))
    assert found[0].files[1].name == "settings, group 1"


def test_version_register_is_the_weakest_word(tmp_path: Path) -> None:
    text = HEAD + '[[modbus.version]]\nkind = "strategy"\nversion_at = { address = 50, count = 2, format = "number" }\n'
    (part,) = read(Bank(holding={50: 1, 51: 2}), profile_of(tmp_path, text)).files
    assert (part.version, part.method, part.word) == ("65538", "version-string", b"65538")


def test_device_that_says_no_version_is_a_protocol_error(tmp_path: Path) -> None:
    text = HEAD + '[[modbus.version]]\nkind = "strategy"\nversion_at = { address = 50, count = 2 }\n'
    error = failure(Bank(holding={50: 0, 51: 0}), profile_of(tmp_path, text))
    assert error.detail == "says no version of its strategy"


@pytest.mark.parametrize("size", ["size = 25600", 'size_at = { table = "input", address = 103, count = 2 }'])
def test_file_of_a_known_number_is_read_whole(tmp_path: Path, size: str) -> None:
    content = bytes(range(256)) * 100
    simulated = device(artefact("firmware", "1", content))
    number = first_file("firmware")
    text = (
        'protocol = "modbus"\nabout = "sample"\n[modbus]\nrecords_max = 50\n'
        f'[[modbus.file]]\nkind = "firmware"\nname = "image"\nnumber = {number}\n{size}\n'
    )
    profile = profile_of(tmp_path, text)
    found: list[Reading] = []

    async def once(driver: ModbusDriver) -> None:
        found.append(await driver.read())

    async def work() -> None:
        async with served(simulated) as port:
            await with_driver(port, once, profile=profile)

    asyncio.run(work())
    (part,) = found[0].files
    assert (part.name, part.method, part.size) == ("image", "full-file", 25_600)
    assert part.digest == fingerprint(content)
    assert simulated.counters.requests >= 25_600 / 100


OBJECTS = {0: b"V", 1: b"P", 2: b"1", 4: b"Name", 5: b"Model", 0x80: b"S"}


@pytest.mark.parametrize(
    ("access", "code", "model", "serial"),
    [("basic", 1, "", ""), ("regular", 2, "Model", ""), ("extended", 3, "Model", "S")],
)
def test_identification_is_asked_for_in_the_category_of_the_profile(
    tmp_path: Path, access: str, code: int, model: str, serial: str
) -> None:
    bank = Bank(holding={10: 1, 11: 2, 12: 3}, objects=OBJECTS)
    identity = read(bank, profile_of(tmp_path, HEAD.replace("none", access) + SETTINGS)).identity
    assert (identity.vendor, identity.product, identity.revision) == ("V", "P", "1")
    assert (identity.model, identity.serial) == (model, serial)
    assert bank.asked[0] == (43, code)


def test_identity_in_registers_wins_over_the_identification(tmp_path: Path) -> None:
    serial = 'serial = { table = "input", address = 30, count = 2, format = "hex" }\n'
    text = HEAD.replace('"none"\n', '"basic"\n' + serial) + SETTINGS
    bank = Bank(holding={10: 1, 11: 2, 12: 3}, input={30: 0x00AB, 31: 0xCDEF}, objects=OBJECTS)
    identity = read(bank, profile_of(tmp_path, text)).identity
    assert (identity.vendor, identity.serial) == ("V", "00abcdef")


def test_device_without_any_identification_is_read_all_the_same(tmp_path: Path) -> None:
    found = read(Bank(holding={10: 1, 11: 2, 12: 3}), profile_of(tmp_path, HEAD + SETTINGS))
    assert set(vars_of(found)) == {""}


def vars_of(reading: Reading) -> list[str]:
    identity = reading.identity
    return [identity.vendor, identity.product, identity.revision, identity.serial, identity.model]


def test_all_shapes_at_once_come_sorted_by_kind_with_their_methods(tmp_path: Path) -> None:
    text = (
        HEAD
        + SETTINGS
        + (
            '[[modbus.checksum]]\nkind = "firmware"\naddress = 40\n'
            '[[modbus.version]]\nkind = "strategy"\nversion_at = { address = 50 , format = "hex" }\n'
        )
    )
    profile = profile_of(tmp_path, text)
    found = read(Bank(holding=dict.fromkeys(range(64), 0x3132)), profile)
    assert {part.kind: part.method for part in found.files} == profile.specifics.methods()
    assert [part.kind for part in found.listed] == ["firmware", "settings", "strategy"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD, "modbus: no artefact: name a directory, files"),
        (HEAD + LISTED.replace("strategy", "firmware"), "'firmware' stands twice"),
        (
            HEAD + LISTED + '[[modbus.version]]\nkind = "strategy"\nversion_at = { address = 5 }\n',
            "'strategy' is in two places",
        ),
        (HEAD + SETTINGS + SETTINGS, "'settings' is in two places"),
        (HEAD + SETTINGS.replace("address = 10", "address = 65534"), "registers 65534..65536: the last one is 65535"),
        (HEAD + SETTINGS.replace("count = 3", "count = 0"), "expected a whole number 1..4096"),
        (HEAD + SETTINGS.replace("{ address", '{ table = "coil", address'), "expected one of 'holding', 'input'"),
        (HEAD + GROUPS.replace("1000", "30000"), "the last one is 65535"),
        (HEAD + '[[modbus.file]]\nkind = "firmware"\nnumber = 1\n', "a file has either a size or registers"),
        (
            HEAD + '[[modbus.file]]\nkind = "firmware"\nnumber = 1\nsize_at = { address = 1, count = 3 }\n',
            "a size is in one or two registers",
        ),
        (HEAD + '[[modbus.checksum]]\nkind = "firmware"\naddress = 65535\n', "registers 65535..65536"),
        (
            HEAD + '[[modbus.version]]\nkind = "firmware"\nversion_at = { address = 65535, count = 2 }\n',
            "registers 65535..65536",
        ),
        (HEAD.replace('"none"', '"all"') + SETTINGS, "expected one of 'none', 'basic', 'regular', 'extended'"),
    ],
)
def test_modbus_table_that_makes_no_sense_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigProblemsError) as caught:
        profile_of(tmp_path, text)
    assert message in str(caught.value)
