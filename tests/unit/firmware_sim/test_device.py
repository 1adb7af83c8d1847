from __future__ import annotations

import struct

import pytest

from firmware_sim.contents import (
    ARTEFACT_BYTES_MAX,
    Artefact,
    Contents,
    ContentsError,
    artefact,
)
from firmware_sim.device import Device, Identity, IdentityError
from firmware_sim.files.setting_list import setting_list
from firmware_sim.measurements import MEASUREMENTS, measurement_values
from firmware_sim.modbus.unit import Unit
from firmware_sim.settings import SettingsError, parse_settings
from tests.unit.firmware_sim.bench import IDENTITY, NOW_MS, clock_ms, device

SETTINGS = artefact("settings", "2.0", setting_list("a"))


def whole(target: Device, first: int, size: int) -> bytes:
    """Read an artefact as a client does: consecutive file numbers until the size is there."""
    unit = Unit(target)
    found = b""
    while len(found) < size:
        count = min(20_000, size - len(found))
        part = unit.file_part(first, 0, count + count % 2)
        assert part is not None
        found += part
        first += 1
    return found[:size]


@pytest.mark.parametrize("size", [1, 2, 19_999, 20_000, 20_001, 40_000, 300_001, ARTEFACT_BYTES_MAX])
def test_artefact_of_any_size_is_cut_into_files_and_back(size: int) -> None:
    content = bytes(index % 251 for index in range(min(size, 1_000))) * (size // 1_000 + 1)
    found = artefact("strategy", "1", content[:size])
    target = device(found)
    assert whole(target, 1001, size) == content[:size]
    last, rest = divmod(size - 1, 20_000)
    assert Unit(target).file_part(1001 + last, 0, (rest + 2) // 2 * 2) is not None
    assert Unit(target).file_part(1001 + last, 0, (rest + 2) // 2 * 2 + 2) is None
    assert Unit(target).file_part(1001 + last + 1, 0, 2) is None


def test_artefact_odd_last_byte_is_padded_with_zero() -> None:
    assert Unit(device(artefact("firmware", "1", b"abc"))).file_part(1, 2, 2) == b"c\x00"


@pytest.mark.parametrize("number", [0, 999, 1001, 2001, 3001, 65_535])
def test_file_number_without_a_file_has_no_part(number: int) -> None:
    assert Unit(device(artefact("firmware", "1", b"abc"))).file_part(number, 0, 2) is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (("photo", "1", b"x", 1), "unknown artefact kind 'photo'"),
        (("firmware", "", b"x", 1), "version"),
        (("firmware", "v" * 25, b"x", 1), "version"),
        (("firmware", "1\n", b"x", 1), "version"),
        (("firmware", "é", b"x", 1), "version"),
        (("firmware", "1", b"xy", 1), "firmware of 1 bytes"),
        (("firmware", "1", b"x", ARTEFACT_BYTES_MAX + 1), "at most 4194304"),
    ],
)
def test_artefact_out_of_bounds_is_refused(values: tuple[str, str, bytes, int], reason: str) -> None:
    with pytest.raises(ContentsError, match=reason):
        Artefact(*values)


def test_contents_without_artefacts_are_refused() -> None:
    with pytest.raises(ContentsError, match="at least one"):
        Contents.of([])


def test_directory_names_count_kind_file_size_and_version() -> None:
    target = device(SETTINGS, artefact("firmware", "1.2.3", bytes(70_001)))
    registers = Unit(target).input_registers(100, 33)
    assert registers is not None
    assert struct.unpack_from(">H", registers) == (2,)
    firmware = struct.unpack_from(">HHHH24s", registers, 2)
    settings = struct.unpack_from(">HHHH24s", registers, 34)
    assert firmware == (1, 1, 1, 70_001 - 65_536, b"1.2.3".ljust(24, b"\x00"))
    assert settings == (3, 2001, 0, len(SETTINGS.content), b"2.0".ljust(24, b"\x00"))


@pytest.mark.parametrize(("address", "count"), [(0, 32), (31, 1), (100, 1), (100, 125), (228, 1)])
def test_input_registers_inside_a_block_are_read(address: int, count: int) -> None:
    found = Unit(device()).input_registers(address, count)
    assert found is not None
    assert len(found) == 2 * count


@pytest.mark.parametrize(("address", "count"), [(0, 33), (32, 1), (31, 2), (99, 2), (229, 1), (200, 60), (65_535, 1)])
def test_input_registers_outside_a_block_are_not_there(address: int, count: int) -> None:
    assert Unit(device()).input_registers(address, count) is None


def test_measurements_move_slowly_around_their_middle() -> None:
    first = measurement_values(7, NOW_MS)
    later = measurement_values(7, NOW_MS + 1_000)
    much_later = measurement_values(7, NOW_MS + 20_000)
    assert first != much_later
    for item, a, b in zip(MEASUREMENTS, first, later, strict=True):
        assert abs(a - item.middle) <= item.swing
        assert abs(a - b) <= max(1, item.swing * 7 // item.period_s + 1)


def test_measurements_frequency_is_common_and_voltage_is_not() -> None:
    here = measurement_values(7, NOW_MS)
    there = measurement_values(200, NOW_MS)
    assert here[0] == there[0]
    assert here[2] != there[2]


def test_holding_registers_are_the_setting_values_in_order() -> None:
    target = device(SETTINGS)
    settings = parse_settings(SETTINGS.content)
    values = struct.unpack(f">{len(settings)}h", Unit(target).holding)
    assert values[16] == 4900
    assert list(values) == [item.register for item in settings]


def test_holding_registers_without_settings_are_none() -> None:
    assert Unit(device()).holding == b""


def test_contents_overwritten_file_leaves_the_registers() -> None:
    contents = Contents.of([SETTINGS])
    broken = contents.overwritten(SETTINGS.with_content(b"nonsense", 8))
    assert broken.setting_values == contents.setting_values
    assert broken.artefacts["settings"].content == b"nonsense"


def test_contents_loaded_file_that_is_no_setting_list_is_refused() -> None:
    with pytest.raises(SettingsError, match="does not start with"):
        Contents.of([SETTINGS]).loaded(SETTINGS.with_content(b"nonsense"))


def test_identity_objects_hold_the_loaded_firmware_as_revision() -> None:
    target = device(artefact("firmware", "4.5.6", b"x"))
    expected = {0: "Northgrid Controls", 1: "SCD-220", 2: "4.5.6", 4: "Stability control device"}
    assert Unit(target).identification == {
        **{key: text.encode() for key, text in expected.items()},
        5: b"SCD-220/8",
        0x80: b"NG-1",
    }
    target.load(target.contents.loaded(artefact("firmware", "4.5.7", b"y")))
    assert Unit(target).identification[2] == b"4.5.7"


def test_identity_without_firmware_has_no_revision() -> None:
    assert Unit(device(SETTINGS)).identification[2] == b"none"


def test_identity_is_one_a_device_and_not_one_a_process() -> None:
    other = Identity("Eastworks", "X", "Y", "Z", "S-2")
    first = device()
    second = Device("dev-b", other, first.baseline, clock_ms)
    assert Unit(first).identification[0] == IDENTITY.vendor.encode()
    assert Unit(second).identification[0] == b"Eastworks"


@pytest.mark.parametrize("text", ["", "x" * 65, "é", "a\tb"])
def test_identity_text_that_no_object_holds_is_refused(text: str) -> None:
    with pytest.raises(IdentityError, match="serial"):
        Identity("v", "p", "n", "m", text)
