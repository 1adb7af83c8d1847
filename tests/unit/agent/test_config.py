from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import load_agent_config
from kit.config import ConfigProblemsError
from tests.unit.agent.site import write_site


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_site(tmp_path, broker_port=8883, devices=[("sps-1", 5020)])


def test_config_as_in_the_guide_loads_with_its_defaults(path: Path) -> None:
    config = load_agent_config(path)
    assert config.agent.gateway == "gw-1"
    assert config.agent.state_dir == path.parent / "state"
    assert (config.poll.interval_ms, config.poll.report_interval_s) == (1000, 900)
    assert config.outbox.bytes_max == 64 * 1024 * 1024
    (device,) = config.device_configs()
    assert (device.unit_id, device.pacing_ms, device.interval_ms) == (1, 0, 100)


def test_devices_of_the_folder_join_those_of_the_file_sorted_by_id(path: Path) -> None:
    folder = path.parent / "devices.d"
    folder.mkdir()
    text = '[[device]]\nid = "a-first"\nprotocol = "modbus"\nhost = "10.0.0.7"\nprofile = "stability-control-modbus"\n'
    (folder / "one.toml").write_text(text)
    devices = load_agent_config(path).device_configs()
    assert [device.id for device in devices] == ["a-first", "sps-1"]
    assert (devices[0].port, devices[0].interval_ms, devices[0].timeout_ms, devices[0].retries) == (502, 1000, 2000, 2)


def test_environment_overrides_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDWITNESS_AGENT__POLL__REPORT_INTERVAL_S", "60")
    assert load_agent_config(path).poll.report_interval_s == 60


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('gateway = "gw-1"', 'gateway = "GW 1"', "agent.toml:2: agent.gateway: expected"),
        ('gateway = "gw-1"\n', "", "agent.toml:1: key 'gateway' is missing in [agent]"),
        ('key = "gw-1.key"', 'key = "missing.key"', "there is no file"),
        ("port = 8883", "port = 0", "mqtt.port: expected a whole number 1..65535"),
        ("timeout_ms = 200", 'timeout_ms = "soon"', "expected a whole number 10..600000 ms, found 'soon'"),
        ("timeout_ms = 200", "timout_ms = 200", "unknown key 'timout_ms' in [device[0]]; did you mean 'timeout_ms'?"),
        ('protocol = "modbus"', 'protocol = "profibus"', "expected one of 'modbus'"),
        ('"stability-control-modbus"', '"toaster"', "expected one of 'stability-control-modbus', found 'toaster'"),
        ("interval_ms = 100", "interval_ms = 1", "expected a whole number 100..86400000 ms"),
    ],
)
def test_wrong_key_or_value_names_file_line_and_what_was_expected(path: Path, old: str, new: str, message: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigProblemsError) as caught:
        load_agent_config(path)
    assert message in str(caught.value)
    assert caught.value.exit_code == 78


def test_config_without_devices_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigProblemsError, match="'device' is missing"):
        load_agent_config(write_site(tmp_path, broker_port=1, devices=[]))


def test_two_devices_of_one_id_are_refused(tmp_path: Path) -> None:
    path = write_site(tmp_path, broker_port=1, devices=[("sps-1", 1), ("sps-1", 2)])
    with pytest.raises(ConfigProblemsError, match="already taken"):
        load_agent_config(path)
