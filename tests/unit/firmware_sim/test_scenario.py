from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from firmware_sim.errors import ScenarioError
from firmware_sim.scenario import build_places, load_scenario
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
