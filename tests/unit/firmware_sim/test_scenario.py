from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from firmware_sim.errors import ReleaseError, ScenarioError
from firmware_sim.modbus.unit import ModbusOptions
from firmware_sim.scenario import build_places, load_scenario, ports_of
from kit.config import ConfigProblemsError, HostPort
from tests.unit.firmware_sim.bench import SCENARIO, clock_ms


@pytest.fixture
def folder(tmp_path: Path, scenario_path: Path) -> Path:
    shutil.copytree(scenario_path.parent / "releases", tmp_path / "releases")
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "bench.toml"
    path.write_text(text)
    return path


def test_scenario_gives_devices_with_defaults_and_paths(scenario_path: Path) -> None:
    scenario = load_scenario(scenario_path)
    first, second = scenario.devices
    assert (scenario.scenario.name, scenario.control.listen) == ("two-devices", HostPort("127.0.0.1", 0))
    assert (first.unit_id, second.unit_id) == (1, 3)
    assert first.listen == HostPort("127.0.0.1", 0)
    assert first.old_release == scenario_path.parent / "releases" / "a-1"
    assert second.old_release is None


def test_scenario_devices_hold_their_releases(scenario_path: Path) -> None:
    places = build_places(load_scenario(scenario_path), clock_ms)
    held = places["dev-a"].device.contents.artefacts["firmware"].content
    assert held == (scenario_path.parent / "releases" / "a-2" / "firmware.bin").read_bytes()
    assert places["dev-b"].device.unit_id == 3


def test_scenario_release_of_many_devices_is_held_once(folder: Path) -> None:
    manifest = folder / "releases" / "b-2" / "release.toml"
    manifest.write_text(manifest.read_text().replace('device = "dev-b"', 'model = "SCD-220/8"'))
    text = SCENARIO.replace('release = "releases/a-2"', 'release = "releases/b-2"')
    places = build_places(load_scenario(write(folder, text)), clock_ms)
    assert places["dev-a"].device.contents is places["dev-b"].device.contents


def test_scenario_extra_release_replaces_what_it_holds(folder: Path) -> None:
    manifest = folder / "releases" / "a-1" / "release.toml"
    head, _, _ = manifest.read_text().partition('\n[[artefact]]\nkind = "strategy"')
    manifest.write_text(head)
    text = SCENARIO.replace('release = "releases/a-2"', 'release = "releases/a-2"\nextra_releases = ["releases/a-1"]')
    held = build_places(load_scenario(write(folder, text)), clock_ms)["dev-a"].device.contents.artefacts
    assert {kind: item.version for kind, item in held.items()} == {
        "firmware": "1.0.0",
        "strategy": "2.0.0",
        "settings": "2.0.0",
    }


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('name = "two-devices"', "nam = 1", r"bench.toml:2: unknown key 'nam'.*did you mean 'name'"),
        ('id = "dev-b"', 'id = "dev-a"', "id 'dev-a' is already taken"),
        ('id = "dev-b"', 'id = "Dev B"', r"bench.toml:17: device\[1\].id: expected"),
        ('id = "dev-b"', 'id = "all"', "stands for the whole fleet"),
        ("unit_id = 3", "unit_id = 256", "unit_id: expected"),
        ('serial = "NG-0002"', "", "'serial' is missing"),
        ('serial = "NG-0002"', 'serial = "é"', "serial 'é' is not"),
        ('release = "releases/b-2"', 'release = "releases/c"', "there is no folder"),
        ('listen = "127.0.0.1:0"', 'listen = "everywhere"', "control.listen: expected"),
        ("unit_id = 3", 'listen = "127.0.0.1:x"', "listen: expected"),
        ("[scenario]", "[scenario", "bench.toml:1"),
    ],
)
def test_scenario_mistake_is_named_with_its_place(folder: Path, old: str, new: str, reason: str) -> None:
    assert old in SCENARIO
    with pytest.raises(ConfigProblemsError, match=reason):
        load_scenario(write(folder, SCENARIO.replace(old, new)))


def test_scenario_without_devices_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigProblemsError, match="'device' is missing"):
        load_scenario(write(folder, '[scenario]\nname = "x"\n'))


def test_scenario_two_listeners_on_one_port_are_refused(folder: Path) -> None:
    text = SCENARIO.replace("unit_id = 3", 'listen = "127.0.0.1:5020"')
    text = text.replace('id = "dev-a"', 'id = "dev-a"\nlisten = "127.0.0.1:5020"')
    with pytest.raises(ConfigProblemsError, match=r"dev-b listens on 127.0.0.1:5020, which device dev-a has"):
        load_scenario(write(folder, text))


def test_scenario_release_for_another_device_is_refused(folder: Path) -> None:
    text = SCENARIO.replace('release = "releases/b-2"', 'release = "releases/a-2"')
    with pytest.raises(ScenarioError, match=r"dev-b: .* is a release for device dev-a"):
        build_places(load_scenario(write(folder, text)), clock_ms)


def test_scenario_release_for_another_model_is_refused(folder: Path) -> None:
    manifest = folder / "releases" / "b-2" / "release.toml"
    manifest.write_text(manifest.read_text().replace('device = "dev-b"', 'model = "SCD-500"'))
    with pytest.raises(ScenarioError, match=r"is a SCD-220/8: .* is for model SCD-500"):
        build_places(load_scenario(write(folder, SCENARIO)), clock_ms)


MANY = """\
[scenario]
name = "many"

[[gateway]]
id = "bay-1"

[[device]]
id = "relay-{n}"
count = 3
first = 7
gateway = "bay-1"
unit_id = 5
vendor = "V"
product = "P"
model = "SCD-220/8"
serial = "S-{n}"
release = "releases/b-2"

[[device]]
id = "own-{n}"
count = 2
listen = "127.0.0.1:5020"
vendor = "V"
product = "P"
model = "SCD-220/8"
serial = "S-{n}"
release = "releases/b-2"
modbus = {files = false}
"""


@pytest.fixture
def for_model(folder: Path) -> Path:
    manifest = folder / "releases" / "b-2" / "release.toml"
    manifest.write_text(manifest.read_text().replace('device = "dev-b"', 'model = "SCD-220/8"'))
    return folder


def test_scenario_count_numbers_ids_serials_units_and_ports(for_model: Path) -> None:
    scenario = load_scenario(write(for_model, MANY))
    shown = [(table.id, table.serial, table.unit_id, table.listen.port) for table in scenario.devices]
    assert shown == [
        ("relay-7", "S-7", 5, 0),
        ("relay-8", "S-8", 6, 0),
        ("relay-9", "S-9", 7, 0),
        ("own-1", "S-1", 1, 5020),
        ("own-2", "S-2", 1, 5021),
    ]


def test_scenario_devices_of_a_gateway_share_its_port(for_model: Path) -> None:
    scenario = load_scenario(write(for_model, MANY))
    assert list(ports_of(scenario)) == ["gateway bay-1", "device own-1", "device own-2"]
    places = build_places(scenario, clock_ms)
    assert [place.port for place in places.values()] == ["gateway bay-1"] * 3 + ["device own-1", "device own-2"]
    assert places["own-2"].options == ModbusOptions(files=False)


def test_scenario_gateway_without_devices_takes_no_port(for_model: Path) -> None:
    scenario = load_scenario(write(for_model, MANY.replace('gateway = "bay-1"\n', "")))
    assert "gateway bay-1" not in ports_of(scenario)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('id = "relay-{n}"', 'id = "relay"', "3 devices need {n} in id and serial"),
        ('serial = "S-{n}"', 'serial = "S"', "3 devices need {n} in id and serial"),
        ('id = "relay-{n}"', 'id = "relay-{m}"', "3 devices need {n}"),
        ('id = "relay-{n}"', 'id = "relay-{n}-{m}"', "id 'relay-7-{m}' is not of the form"),
        ('id = "relay-{n}"', 'id = "own-{n}"\nlisten = "127.0.0.1:0"', "id 'own-{n}' is already taken"),
        ("127.0.0.1:5020", "127.0.0.1:65535", "2 devices from port 65535 on would leave the port numbers"),
        ("unit_id = 5", "unit_id = 254", "3 devices from unit 254 on would leave the unit ids"),
        ('gateway = "bay-1"', 'gateway = "bay-2"', "there is no gateway bay-2 for modbus"),
        ('gateway = "bay-1"', 'gateway = "bay-1"\nlisten = "127.0.0.1:9"', "stands behind gateway bay-1"),
        ("count = 2", "count = 5000", "5003 devices, at most 5000"),
        ('id = "bay-1"', 'id = "bay-1"\nlisten = "127.0.0.1:5021"', "own-2 listens on 127.0.0.1:5021, which gateway"),
        ("unit_id = 5", "unit_id = 5\ngroup_releases = ['releases/none']", "there is no folder"),
        ("unit_id = 5", "unit_id = 5\n[device.tls]\ncertificate = 'x'", "there is no file"),
    ],
)
def test_scenario_of_many_mistake_is_named(for_model: Path, old: str, new: str, reason: str) -> None:
    assert old in MANY
    with pytest.raises(ConfigProblemsError, match=re.escape(reason)):
        load_scenario(write(for_model, MANY.replace(old, new)))


def test_scenario_two_counts_that_meet_are_refused(for_model: Path) -> None:
    text = MANY.replace('id = "own-{n}"', 'id = "relay-{n}"\nfirst = 8')
    text = text.replace('id = "relay-{n}"', 'id = "relay-{n}{n}"', 1).replace("first = 7", "first = 8")
    text = text.replace('id = "relay-{n}"\nfirst = 8', 'id = "relay-{n}"\nfirst = 88')
    with pytest.raises(ConfigProblemsError, match="two devices are called relay-88"):
        load_scenario(write(for_model, text))


def test_scenario_two_units_of_one_number_behind_a_gateway_are_refused(for_model: Path) -> None:
    text = MANY.replace('listen = "127.0.0.1:5020"', 'gateway = "bay-1"\nunit_id = 7')
    with pytest.raises(ConfigProblemsError, match="device own-1: unit 7 of gateway bay-1 is taken"):
        load_scenario(write(for_model, text))


def test_scenario_groups_come_from_releases_with_a_setting_list(for_model: Path) -> None:
    text = SCENARIO.replace("unit_id = 3", 'unit_id = 3\ngroup_releases = ["releases/b-2"]')
    groups = build_places(load_scenario(write(for_model, text)), clock_ms)["dev-b"].device.contents.groups
    assert len(groups) == 2


def test_scenario_group_release_without_a_setting_list_is_refused(for_model: Path) -> None:
    manifest = for_model / "releases" / "a-1" / "release.toml"
    manifest.write_text(manifest.read_text().partition('\n[[artefact]]\nkind = "strategy"')[0])
    text = SCENARIO.replace('serial = "NG-0001"', 'serial = "NG-0001"\ngroup_releases = ["releases/a-1"]')
    with pytest.raises(ReleaseError, match="has no setting list"):
        build_places(load_scenario(write(for_model, text)), clock_ms)


def test_scenario_groups_without_settings_of_their_own_are_refused(for_model: Path) -> None:
    manifest = for_model / "releases" / "a-1" / "release.toml"
    manifest.write_text(manifest.read_text().partition('\n[[artefact]]\nkind = "strategy"')[0])
    text = SCENARIO.replace('release = "releases/a-2"', 'release = "releases/a-1"\ngroup_releases = ["releases/b-2"]')
    with pytest.raises(ScenarioError, match="dev-a: setting groups need a setting list"):
        build_places(load_scenario(write(for_model, text)), clock_ms)
