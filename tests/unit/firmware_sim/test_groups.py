"""Setting groups, the revision counter, checksums: what a device says of itself in any protocol."""

from __future__ import annotations

import struct
import zlib

import pytest

from firmware_sim.contents import Contents, ContentsError, artefact
from firmware_sim.device import CHANGED, CONNECTIONS_MAX, DOWN, Device
from firmware_sim.faults import CATALOGUE, Fault
from firmware_sim.files.setting_list import setting_list
from firmware_sim.modbus.unit import ModbusOptions, Unit
from firmware_sim.settings import SettingsError, values_of
from kit.clock import FakeClock
from tests.unit.firmware_sim.bench import IDENTITY, NOW_MS, device

FIRMWARE = artefact("firmware", "1.2.3", bytes(range(200)))
GROUP_1 = artefact("settings", "2.0", setting_list("a"))
GROUP_2 = artefact("settings", "2.0-b", setting_list("b"))


def contents() -> Contents:
    return Contents.of([GROUP_1, FIRMWARE], [GROUP_2])


def status(shown: Device) -> tuple[int, ...]:
    registers = Unit(shown).input_registers(300, 10)
    assert registers is not None
    return struct.unpack(">IHHQI", registers)


def test_contents_list_their_artefacts_in_one_order() -> None:
    assert list(contents().artefacts) == ["firmware", "settings"]


def test_group_switch_changes_file_and_values_and_back() -> None:
    switched = contents().switched(2)
    assert switched.artefacts["settings"] is GROUP_2
    assert switched.setting_values == values_of(GROUP_2.content) != contents().setting_values
    assert switched.active_group == 2
    assert switched.switched(1) == contents()


@pytest.mark.parametrize("group", [0, 3, -1])
def test_group_that_is_not_there_is_refused(group: int) -> None:
    with pytest.raises(ContentsError, match=f"no setting group {group}, the device has 2"):
        contents().switched(group)


def test_groups_without_settings_are_refused() -> None:
    with pytest.raises(ContentsError, match="need a setting list"):
        Contents.of([FIRMWARE], [GROUP_2])


def test_groups_beyond_eight_are_refused() -> None:
    with pytest.raises(ContentsError, match="9 setting groups, at most 8"):
        Contents.of([GROUP_1], [GROUP_2] * 8)


def test_group_that_is_no_setting_list_is_refused() -> None:
    with pytest.raises(SettingsError, match="does not start with"):
        Contents.of([GROUP_1], [artefact("settings", "1", b"nonsense")])


def test_settings_loaded_go_to_the_active_group_alone() -> None:
    third = artefact("settings", "3", setting_list("c"))
    found = contents().switched(2).loaded(third)
    assert found.groups == (GROUP_1, third)
    assert found.switched(1).setting_values == values_of(GROUP_1.content)


def test_settings_loaded_into_a_device_without_any_make_group_1() -> None:
    found = Contents.of([FIRMWARE]).loaded(GROUP_1)
    assert (found.groups, found.active_group) == ((GROUP_1,), 1)


def test_revision_counter_counts_what_the_device_notices_alone() -> None:
    target = device(FIRMWARE, GROUP_1)
    target.load(target.contents.loaded(GROUP_2))
    assert target.revision_counter == 2
    target.load(target.contents.overwritten(FIRMWARE.with_content(b"x" * 200)), noticed=False)
    assert target.revision_counter == 2


def test_revision_counter_wraps_to_one() -> None:
    target = device(FIRMWARE)
    target.revision_counter = 2**32 - 1
    target.load(target.contents)
    assert target.revision_counter == 1


def test_status_registers_tell_counter_group_clock_and_restarts() -> None:
    target = Device("dev-a", IDENTITY, contents(), lambda: NOW_MS)
    assert status(target) == (1, 1, 2, NOW_MS, 0)
    target.load(contents().switched(2))
    target.restart(1_000)
    target.set_fault(Fault("wrong-clock", offset_ms=-1_500))
    assert status(target) == (2, 2, 2, NOW_MS - 1_500, 1)
    assert status(device(FIRMWARE))[1:3] == (0, 0)


def test_checksum_registers_are_true_unless_the_device_lies() -> None:
    target = device(FIRMWARE)
    target.load(target.contents.overwritten(FIRMWARE.with_content(b"changed")), noticed=False)
    count, kind, method, checksum, version = struct.unpack_from(
        ">HHHI24s", Unit(target).input_registers(320, 17) or b""
    )
    assert (count, kind, method, checksum) == (1, 1, 1, zlib.crc32(b"changed"))
    assert version.rstrip(b"\0") == b"1.2.3"
    target.set_fault(Fault("lying-checksum"))
    lie = struct.unpack_from(">HHHI", Unit(target).input_registers(320, 17) or b"")[3]
    assert lie == zlib.crc32(FIRMWARE.content)


def test_checksum_of_a_kind_that_was_not_loaded_at_the_start_cannot_lie() -> None:
    target = device(FIRMWARE)
    target.set_fault(Fault("lying-checksum"))
    target.load(target.contents.loaded(GROUP_1))
    assert target.checksum("settings") == GROUP_1.crc32


@pytest.mark.parametrize(
    ("options", "address"),
    [(ModbusOptions(files=False), 100), (ModbusOptions(checksums=False), 320)],
)
def test_registers_of_a_service_that_is_not_there_do_not_exist(options: ModbusOptions, address: int) -> None:
    assert Unit(device(), options).input_registers(address, 1) is None
    assert Unit(device()).input_registers(address, 1) is not None


def test_settings_that_are_not_shown_have_no_registers() -> None:
    assert Unit(device(GROUP_1), ModbusOptions(settings=False)).holding == b""
    assert Unit(device(GROUP_1)).holding != b""


def test_changing_file_differs_in_every_part_and_ends_with_its_fault() -> None:
    target = device(FIRMWARE)
    target.set_fault(Fault("changing-file"))
    seen = {target.read_file("firmware", 10, 4) for _ in range(20)}
    assert len(seen) == 20
    assert FIRMWARE.content[10:14] not in seen
    assert target.read_file("firmware", 200, 4) == b""
    target.set_fault(None)
    assert target.read_file("firmware", 10, 4) == FIRMWARE.content[10:14]


def test_wrong_identity_has_another_serial_of_a_legal_length() -> None:
    target = device(FIRMWARE)
    target.set_fault(Fault("wrong-identity"))
    assert target.shown_identity.serial != IDENTITY.serial
    assert target.shown_identity.model == IDENTITY.model
    assert Unit(target).identification[0x80] == target.shown_identity.serial.encode()
    target.set_fault(None)
    assert target.shown_identity is target.identity


def test_restart_is_away_until_its_time_is_over() -> None:
    clock = FakeClock(NOW_MS)
    target = Device("dev-a", IDENTITY, contents(), clock.now_ms)
    heard: list[str] = []
    target.listen(heard.append)
    target.restart(500)
    assert (heard, target.reachable) == ([DOWN], False)
    clock.advance(499)
    assert not target.reachable
    clock.advance(1)
    assert target.reachable


def test_listeners_hear_of_changes_and_of_lost_connections() -> None:
    target = device(FIRMWARE)
    heard: list[str] = []
    target.listen(heard.append)
    target.load(target.contents)
    target.set_fault(Fault("offline"))
    target.set_fault(Fault("wrong-clock"))
    target.set_fault(Fault("single-connection"))
    target.set_fault(None)
    assert heard == [CHANGED, DOWN, CHANGED, DOWN, CHANGED]


def test_single_connection_is_the_only_fault_that_lowers_the_number() -> None:
    target = device(FIRMWARE)
    found = {}
    for kind in CATALOGUE:
        target.set_fault(Fault(kind))
        found[kind] = target.connections_max
    assert found.pop("single-connection") == 1
    assert set(found.values()) == {CONNECTIONS_MAX}
