from __future__ import annotations

from pathlib import Path

import pytest

from firmware_sim.app import allow_files
from firmware_sim.errors import BadRequestError, ScenarioError
from firmware_sim.fleet import Fleet
from firmware_sim.iec104.options import Iec104Options
from firmware_sim.maker import SCENARIO_FILE, FleetSpec, make_scenario
from firmware_sim.modbus.unit import ModbusOptions
from kit.config import ConfigProblemsError


def test_made_scenario_of_2000_devices_is_short_and_holds_the_bytes_once(tmp_path: Path) -> None:
    spec = FleetSpec(devices=2_000, first_port=20_000, size_bytes=64 * 1024)
    scenario = make_scenario(tmp_path, spec)
    assert len((tmp_path / SCENARIO_FILE).read_text().splitlines()) < 20
    assert len(scenario.devices) == 2_000
    last = scenario.devices[-1]
    assert (last.id, last.serial, last.listen.port) == ("fleet-2000", "NG-2000", 21_999)
    fleet = Fleet(scenario, base=tmp_path)
    held = {id(place.device.contents) for place in fleet.bench.places.values()}
    assert len(held) == 1


def test_made_scenario_has_an_old_release_to_go_back_to(tmp_path: Path) -> None:
    fleet = Fleet(make_scenario(tmp_path, FleetSpec(devices=1, size_bytes=64 * 1024)), base=tmp_path)
    fleet.tamper(["fleet-1"], {"action": "old-release"})
    assert fleet.describe("fleet-1")["revision"] == "2.3.1"


def test_made_scenario_of_relays_has_groups_and_no_files(tmp_path: Path) -> None:
    spec = FleetSpec(devices=2, size_bytes=64 * 1024, groups=3, checksums_only=True)
    fleet = Fleet(make_scenario(tmp_path, spec), base=tmp_path)
    place = fleet.bench.places["fleet-2"]
    assert place.options == ModbusOptions(files=False)
    assert len(place.device.contents.groups) == 3
    lists = [group.content for group in place.device.contents.groups]
    assert len(set(lists)) == 3


def test_made_scenario_of_another_protocol_speaks_it(tmp_path: Path) -> None:
    spec = FleetSpec(devices=2, size_bytes=64 * 1024, protocol="iec104", checksums_only=True)
    fleet = Fleet(make_scenario(tmp_path, spec), base=tmp_path)
    place = fleet.bench.places["fleet-2"]
    assert place.device.protocol == "iec104"
    assert isinstance(place.options, Iec104Options)
    assert not place.options.has_files


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (FleetSpec(devices=1, protocol="smoke"), "expected one of modbus"),
        (FleetSpec(devices=1, protocol="mms", checksums_only=True), "always gives its files"),
        (FleetSpec(devices=0), "0 devices"),
        (FleetSpec(devices=5_001), "5001 devices"),
        (FleetSpec(devices=2_000, first_port=65_000), "leave the port numbers"),
    ],
)
def test_made_scenario_out_of_bounds_is_refused(tmp_path: Path, spec: FleetSpec, reason: str) -> None:
    with pytest.raises(BadRequestError, match=reason):
        make_scenario(tmp_path, spec)
    assert not list(tmp_path.iterdir())


def test_made_scenario_with_a_control_port_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigProblemsError, match="control"):
        make_scenario(tmp_path, FleetSpec(devices=1, control="nowhere", size_bytes=64 * 1024))


def test_open_files_beyond_the_systems_limit_are_refused_in_time() -> None:
    with pytest.raises(ScenarioError, match="need more open files"):
        allow_files(2**40)
    allow_files(1)
