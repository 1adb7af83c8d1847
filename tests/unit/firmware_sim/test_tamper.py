from __future__ import annotations

import pytest

from firmware_sim.contents import Contents
from firmware_sim.errors import BadRequestError, RefusedError, UnknownDeviceError
from firmware_sim.faults import CATALOGUE
from firmware_sim.files.setting_list import setting_list
from firmware_sim.fleet import Fleet
from firmware_sim.modbus.unit import Unit


def state(fleet: Fleet) -> dict[str, Contents]:
    return {name: place.device.contents for name, place in fleet.bench.places.items()}


def unit(fleet: Fleet) -> Unit:
    return Unit(fleet.device("dev-a"))


def content(fleet: Fleet, name: str, kind: str) -> bytes:
    return fleet.device(name).contents.artefacts[kind].content


def test_flip_byte_changes_this_byte_alone(fleet: Fleet) -> None:
    before = content(fleet, "dev-a", "firmware")
    (change,) = fleet.tamper(["dev-a"], {"action": "flip-byte", "offset": 30_000, "mask": 1})
    after = content(fleet, "dev-a", "firmware")
    assert change == {
        "device": "dev-a",
        "artefact": "firmware",
        "offset": 30_000,
        "old_byte": before[30_000],
        "new_byte": before[30_000] ^ 1,
        "seed": None,
    }
    assert [index for index in range(len(before)) if before[index] != after[index]] == [30_000]
    assert unit(fleet).file_part(2, 0, 20_000) == after[20_000:40_000]


def test_flip_byte_last_byte_is_within_the_file(fleet: Fleet) -> None:
    size = len(content(fleet, "dev-a", "strategy"))
    body = {"action": "flip-byte", "artefact": "strategy", "offset": size - 1}
    assert fleet.tamper(["dev-a"], body)[0]["offset"] == size - 1
    with pytest.raises(RefusedError, match=f"offset {size} is past the end"):
        fleet.tamper(["dev-a"], {**body, "offset": size})


def test_flip_byte_with_a_seed_is_repeatable(fleet: Fleet) -> None:
    body = {"action": "flip-byte", "seed": "s"}
    first = fleet.tamper(["dev-a"], body)[0]["offset"]
    assert fleet.tamper(["dev-a"], body)[0]["offset"] == first
    assert fleet.describe("dev-a")["state"] == "original"
    assert fleet.tamper(["dev-b"], body)[0]["offset"] != first


def test_flip_byte_without_a_seed_reports_the_one_it_drew(fleet: Fleet) -> None:
    (change,) = fleet.tamper(["dev-a"], {"action": "flip-byte"})
    again = fleet.tamper(["dev-a"], {"action": "flip-byte", "seed": change["seed"]})[0]
    assert again["offset"] == change["offset"]


def test_flip_byte_in_the_setting_list_leaves_the_registers(fleet: Fleet) -> None:
    registers = unit(fleet).holding
    fleet.tamper(["dev-a"], {"action": "flip-byte", "artefact": "settings", "offset": 0})
    assert unit(fleet).holding == registers


def test_change_setting_reaches_file_and_register(fleet: Fleet) -> None:
    before = content(fleet, "dev-a", "settings")
    (change,) = fleet.tamper(["dev-a"], {"action": "change-setting", "number": 17, "value": "48.50"})
    assert (change["old_value"], change["new_value"], change["register"]) == ("49.00", "48.50", 16)
    after = content(fleet, "dev-a", "settings")
    assert len(after) == len(before)
    assert b",48.50,Hz" in after
    assert unit(fleet).holding[32:34] == (4850).to_bytes(2, "big")


def test_swap_exchanges_all_files_and_keeps_identities(fleet: Fleet) -> None:
    before = state(fleet)
    changes = fleet.tamper(["dev-a"], {"action": "swap", "with": "dev-b"})
    assert state(fleet) == {"dev-a": before["dev-b"], "dev-b": before["dev-a"]}
    assert [(item["device"], item["from"]) for item in changes] == [("dev-a", "dev-b")] * 3 + [("dev-b", "dev-a")] * 3
    assert unit(fleet).identification[0x80] == b"NG-0001"
    fleet.tamper(["dev-b"], {"action": "swap", "with": "dev-a"})
    assert state(fleet) == before


def test_old_release_of_the_scenario_changes_files_and_versions(fleet: Fleet) -> None:
    changes = fleet.tamper(["dev-a"], {"action": "old-release"})
    assert {(item["old_version"], item["new_version"]) for item in changes} == {("2.0.0", "1.0.0")}
    assert unit(fleet).identification[2] == b"1.0.0"


def test_old_release_by_a_folder_relative_to_the_scenario_is_found(fleet: Fleet) -> None:
    fleet.tamper(["dev-b"], {"action": "old-release", "release": "releases/a-1"})
    assert content(fleet, "dev-b", "settings") == setting_list("gridwitness/dev-a", "1.0.0")


def test_truncate_keeps_the_declared_size(fleet: Fleet) -> None:
    directory = unit(fleet).input_registers(100, 49)
    size = len(content(fleet, "dev-a", "firmware"))
    (change,) = fleet.tamper(["dev-a"], {"action": "truncate", "size": 25_001})
    assert (change["old_bytes"], change["new_bytes"], change["declared_bytes"]) == (size, 25_001, size)
    assert unit(fleet).input_registers(100, 49) == directory
    assert unit(fleet).file_part(2, 0, 5_002) is not None
    assert unit(fleet).file_part(2, 0, 5_004) is None
    assert unit(fleet).file_part(3, 0, 2) is None


def test_truncate_without_a_size_keeps_half(fleet: Fleet) -> None:
    size = len(content(fleet, "dev-a", "strategy"))
    assert fleet.tamper(["dev-a"], {"action": "truncate", "artefact": "strategy"})[0]["new_bytes"] == size // 2


def test_truncate_to_nothing_leaves_no_file_and_no_byte_to_flip(fleet: Fleet) -> None:
    fleet.tamper(["dev-a"], {"action": "truncate", "size": 0})
    assert unit(fleet).file_part(1, 0, 2) is None
    with pytest.raises(RefusedError, match="is empty"):
        fleet.tamper(["dev-a"], {"action": "flip-byte"})


def test_restore_names_what_came_back_and_nothing_when_untouched(fleet: Fleet) -> None:
    before = state(fleet)
    fleet.tamper(["dev-a"], {"action": "flip-byte"})
    assert fleet.describe("dev-a")["state"] == "tampered"
    changes = fleet.tamper(["dev-a", "dev-b"], {"action": "restore"})
    assert [(item["device"], item["artefact"]) for item in changes] == [("dev-a", "firmware")]
    assert state(fleet) == before
    assert fleet.tamper(["dev-a"], {"action": "restore"}) == []


@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        ([], BadRequestError, "not a JSON object"),
        ({}, BadRequestError, "action is missing"),
        ({"action": "melt"}, BadRequestError, "unknown action, expected one of flip-byte"),
        ({"action": "flip-byte", "ofset": 1}, BadRequestError, "unknown member ofset"),
        ({"action": "flip-byte", "offset": -1}, BadRequestError, "offset is -1"),
        ({"action": "flip-byte", "offset": True}, BadRequestError, "offset is True"),
        ({"action": "flip-byte", "offset": "7"}, BadRequestError, "offset is '7'"),
        ({"action": "flip-byte", "mask": 0}, BadRequestError, "mask is 0"),
        ({"action": "flip-byte", "artefact": "photo"}, BadRequestError, "artefact is 'photo'"),
        ({"action": "change-setting", "number": 17, "value": 48.5}, BadRequestError, "no text"),
        ({"action": "change-setting", "number": 17, "value": "1", "force": 1}, BadRequestError, "true or false"),
        ({"action": "change-setting", "number": 17, "value": "49.00"}, RefusedError, "49.00 Hz already"),
        ({"action": "change-setting", "number": 17, "value": "60"}, RefusedError, "outside the range"),
        ({"action": "change-setting", "number": 999, "value": "60"}, RefusedError, "no setting 999"),
        ({"action": "swap"}, BadRequestError, "with is missing"),
        ({"action": "swap", "with": "dev-a"}, BadRequestError, "with itself"),
        ({"action": "swap", "with": "dev-c"}, UnknownDeviceError, "no device 'dev-c'"),
        ({"action": "old-release", "release": "releases/none"}, RefusedError, "cannot be read"),
        ({"action": "old-release", "release": "releases/a-2"}, RefusedError, "already"),
        ({"action": "truncate", "size": 65_537}, RefusedError, "has 65537 bytes"),
        ({"action": "truncate", "size": -1}, BadRequestError, "size is -1"),
        ({"action": "restore", "all": True}, BadRequestError, "unknown member all"),
    ],
)
def test_tamper_refused_changes_nothing(fleet: Fleet, body: object, error: type[Exception], reason: str) -> None:
    before = state(fleet)
    with pytest.raises(error, match=reason):
        fleet.tamper(["dev-a"], body)
    assert state(fleet) == before


def test_swap_of_equal_files_is_refused(fleet: Fleet) -> None:
    fleet.tamper(["dev-b"], {"action": "old-release", "release": "releases/a-2"})
    with pytest.raises(RefusedError, match="hold the same files"):
        fleet.tamper(["dev-a"], {"action": "swap", "with": "dev-b"})


def test_old_release_that_the_scenario_does_not_name_is_refused(fleet: Fleet) -> None:
    with pytest.raises(BadRequestError, match="no old_release in the scenario"):
        fleet.tamper(["dev-b"], {"action": "old-release"})


def test_flip_byte_of_a_file_that_is_not_there_is_refused(fleet: Fleet) -> None:
    device = fleet.device("dev-a")
    device.load(Contents.of([device.contents.artefacts["firmware"]]))
    with pytest.raises(RefusedError, match="dev-a has no strategy"):
        fleet.tamper(["dev-a"], {"action": "flip-byte", "artefact": "strategy"})


def test_fleet_action_is_done_on_all_devices_or_on_none(fleet: Fleet) -> None:
    before = state(fleet)
    with pytest.raises(BadRequestError, match="dev-b has no old_release"):
        fleet.tamper(["dev-a", "dev-b"], {"action": "old-release"})
    assert state(fleet) == before
    assert len(fleet.tamper(["dev-a", "dev-b"], {"action": "flip-byte"})) == 2


def test_fleet_action_that_touches_a_device_twice_is_refused(fleet: Fleet) -> None:
    with pytest.raises(RefusedError, match="twice"):
        fleet.tamper(["dev-a", "dev-a"], {"action": "flip-byte"})


def test_change_setting_without_number_and_value_chooses_them(fleet: Fleet) -> None:
    (change,) = fleet.tamper(["dev-a"], {"action": "change-setting"})
    assert (change["number"], change["old_value"]) == (17, "49.00")
    assert change["new_value"] == "45.00"
    again = fleet.tamper(["dev-a"], {"action": "change-setting"})[0]
    assert again["new_value"] == "49.50"


def test_change_back_is_seen_by_the_revision_counter_alone(fleet: Fleet) -> None:
    before = fleet.device("dev-a").contents
    (change,) = fleet.tamper(["dev-a"], {"action": "change-back", "number": 18})
    assert change["old_value"] == change["new_value"]
    assert fleet.device("dev-a").contents is before
    assert fleet.describe("dev-a")["revision_counter"] == 3


def test_flip_byte_and_truncate_are_not_seen_by_the_revision_counter(fleet: Fleet) -> None:
    fleet.tamper(["dev-a"], {"action": "flip-byte"})
    fleet.tamper(["dev-a"], {"action": "truncate", "artefact": "strategy"})
    assert fleet.describe("dev-a")["revision_counter"] == 1
    fleet.tamper(["dev-a"], {"action": "restore"})
    assert fleet.describe("dev-a")["revision_counter"] == 2


def test_restart_keeps_files_and_takes_no_connection_meanwhile(fleet: Fleet) -> None:
    before = state(fleet)
    fleet.tamper(["dev-a", "dev-b"], {"action": "restart", "down_ms": 300})
    assert [fleet.describe(name)["reachable"] for name in ("dev-a", "dev-b")] == [False, False]
    assert state(fleet) == before


def test_upgrade_loads_a_release_and_restarts(fleet: Fleet) -> None:
    changes = fleet.tamper(["dev-a"], {"action": "upgrade", "down_ms": 9})
    assert changes[-1] == {"device": "dev-a", "down_ms": 9}
    shown = fleet.describe("dev-a")
    assert (shown["revision"], shown["reachable"], shown["counters"]["restarts"]) == ("1.0.0", False, 1)


def test_switch_group_goes_round(fleet: Fleet) -> None:
    device = fleet.device("dev-a")
    second = fleet.device("dev-b").contents.artefacts["settings"]
    device.load(Contents.of(device.contents.artefacts.values(), [second]))
    changes = [fleet.tamper(["dev-a"], {"action": "switch-group"})[0] for _ in range(2)]
    assert [change["new_group"] for change in changes] == [2, 1]
    assert fleet.tamper(["dev-a"], {"action": "switch-group", "group": 2})[0]["old_group"] == 1
    assert content(fleet, "dev-a", "settings") == second.content


def test_fault_that_changes_bytes_is_an_action_with_its_members(fleet: Fleet) -> None:
    (change,) = fleet.tamper(["dev-a"], {"action": "fault", "fault": "changed-byte", "offset": 5})
    assert (change["artefact"], change["offset"]) == ("firmware", 5)
    assert fleet.device("dev-a").fault is None


def test_fault_lying_checksum_changes_a_byte_and_keeps_the_checksum(fleet: Fleet) -> None:
    before = fleet.describe("dev-a", digests=True)["artefacts"][0]
    changes = fleet.tamper(["dev-a"], {"action": "fault", "fault": "lying-checksum"})
    after = fleet.describe("dev-a", digests=True)["artefacts"][0]
    assert [list(change)[1] for change in changes] == ["fault", "artefact"]
    assert before["sha256"] != after["sha256"]
    assert before["checksum"] == after["checksum"]
    fleet.tamper(["dev-a"], {"action": "clear-fault"})
    assert fleet.describe("dev-a")["artefacts"][0]["checksum"] != before["checksum"]


@pytest.mark.parametrize(
    ("name", "protocol"), [(name, protocol) for name, entry in CATALOGUE.items() for protocol in entry.protocols]
)
def test_every_fault_of_the_catalogue_can_be_brought_about_and_undone(fleet: Fleet, name: str, protocol: str) -> None:
    fleet.device("dev-a").protocol = protocol
    extra = {"with": "dev-b"} if name == "swapped-files" else {}
    fleet.tamper(["dev-a"], {"action": "fault", "fault": name, **extra})
    shown = fleet.describe("dev-a")
    counted = shown["revision_counter"] > 1
    assert shown["fault"] is not None or shown["state"] == "tampered" or counted
    fleet.tamper(["dev-a"], {"action": "clear-fault"})
    fleet.tamper(["dev-a", "dev-b"], {"action": "restore"})
    shown = fleet.describe("dev-a")
    assert (shown["fault"], shown["state"]) == (None, "original")


@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        ({"action": "switch-group", "group": 2}, RefusedError, "no setting group 2, the device has 1"),
        ({"action": "switch-group"}, RefusedError, "setting group 1 of dev-a is active already"),
        ({"action": "restart", "down_ms": 0}, BadRequestError, "down_ms is 0"),
        ({"action": "fault", "fault": "gone"}, BadRequestError, "unknown fault 'gone'"),
        ({"action": "fault"}, BadRequestError, "fault is missing"),
        ({"action": "fault", "fault": "late", "delay": 1}, BadRequestError, "unknown member delay"),
        ({"action": "fault", "fault": "changed-byte", "number": 1}, BadRequestError, "unknown member number"),
        ({"action": "fault", "fault": "swapped-files"}, BadRequestError, "with is missing"),
        ({"action": "clear-fault", "fault": "late"}, BadRequestError, "unknown member fault"),
        ({"action": "change-setting", "number": 999}, RefusedError, "there is no setting 999"),
    ],
)
def test_event_refused_changes_nothing(fleet: Fleet, body: object, error: type[Exception], reason: str) -> None:
    before = state(fleet)
    with pytest.raises(error, match=reason):
        fleet.tamper(["dev-a"], body)
    assert state(fleet) == before
    assert fleet.device("dev-a").fault is None


def test_fault_of_another_protocol_is_refused(fleet: Fleet) -> None:
    fleet.device("dev-a").protocol = "mms"
    with pytest.raises(RefusedError, match="speaks mms, where the fault wrong-unit does not exist"):
        fleet.tamper(["dev-a"], {"action": "fault", "fault": "wrong-unit"})


def test_device_without_settings_or_groups_refuses_what_needs_them(fleet: Fleet) -> None:
    device = fleet.device("dev-a")
    device.load(Contents.of([device.contents.artefacts["firmware"]]))
    for action, reason in (("switch-group", "has no setting groups"), ("change-setting", "has no settings")):
        with pytest.raises(RefusedError, match=reason):
            fleet.tamper(["dev-a"], {"action": action})
