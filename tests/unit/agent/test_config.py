from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import load_agent_config
from agent.drivers.mms_profile import MmsOptions
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


def test_drop_ins_count_in_the_order_of_their_names_and_the_state_has_its_folder(path: Path) -> None:
    path.write_text(path.read_text().replace('state_dir = "state"\n', ""))
    folder = path.with_name("agent.toml.d")
    folder.mkdir()
    (folder / "20.toml").write_text("[poll]\nreport_interval_s = 20\n")
    (folder / "10.toml").write_text("[poll]\nreport_interval_s = 10\n")
    config = load_agent_config(path)
    assert (config.poll.report_interval_s, config.agent.state_dir) == (20, Path("/var/lib/gridwitness"))


def test_devices_of_the_folder_join_those_of_the_file_sorted_by_id(path: Path) -> None:
    folder = path.parent / "devices.d"
    folder.mkdir()
    text = '[[device]]\nid = "a-first"\nprotocol = "modbus"\nhost = "10.0.0.7"\nprofile = "stability-control-modbus"\n'
    (folder / "one.toml").write_text(text)
    devices = load_agent_config(path).device_configs()
    assert [device.id for device in devices] == ["a-first", "sps-1"]
    assert (devices[0].port, devices[0].interval_ms, devices[0].timeout_ms, devices[0].retries) == (502, 1000, 2000, 2)


def test_profile_in_the_folder_beside_the_file_is_known_and_its_pause_counts_unless_the_device_has_its_own(
    path: Path,
) -> None:
    folder = path.parent / "profiles"
    folder.mkdir()
    text = 'protocol = "modbus"\nabout = "ours"\n[pacing]\npause_ms = 7\n[modbus.directory]\naddress = 100\n'
    (folder / "ours.toml").write_text(text)
    path.write_text(path.read_text().replace('"stability-control-modbus"', '"ours"'))
    config = load_agent_config(path)
    assert config.profiles["ours"].about == "ours"
    assert config.device_configs()[0].pacing_ms == 7
    path.write_text(path.read_text().replace("timeout_ms = 5000", "timeout_ms = 5000\npacing_ms = 0"))
    assert load_agent_config(path).device_configs()[0].pacing_ms == 0


# holds PF-1
def test_damaged_profile_beside_the_file_ends_the_start(path: Path) -> None:
    folder = path.parent / "profiles"
    folder.mkdir()
    (folder / "ours.toml").write_text("[modbus")
    with pytest.raises(ConfigProblemsError, match=r"ours\.toml:1: is no TOML"):
        load_agent_config(path)


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
        ("timeout_ms = 5000", 'timeout_ms = "soon"', "expected a whole number 10..600000 ms, found 'soon'"),
        ("timeout_ms = 5000", "timout_ms = 200", "unknown key 'timout_ms' in [device[0]]; did you mean 'timeout_ms'?"),
        ('protocol = "modbus"', 'protocol = "profibus"', "device[0].protocol: expected one of '"),
        ('"stability-control-modbus"', '"toaster"', "agent.toml:19: device sps-1: profile: expected one of"),
        ('host = "127.0.0.1"\nport = 5', "port = 5", "agent.toml:19: device[0]: key 'host' is missing"),
        ("timeout_ms = 5000", "[device.tsl]", "unknown key 'tsl' in [device[0]]; did you mean 'tls'?"),
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


def test_device_of_a_protocol_whose_extra_is_not_installed_is_refused_with_what_to_install(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = path.read_text().replace('"modbus"', '"mms"').replace('"stability-control-modbus"', '"relay-61850"')
    path.write_text(text + '[device.mms]\nscl = "agent.toml"\n')
    monkeypatch.setattr("agent.drivers.mms_link.find_spec", lambda _: object())
    (device,) = load_agent_config(path).device_configs()
    assert device.options == MmsOptions(scl=path)
    monkeypatch.setattr("agent.drivers.mms_link.find_spec", lambda _: None)
    with pytest.raises(ConfigProblemsError, match=r"agent\.toml:19: .*pip install '\.\[agent,iec61850\]'") as caught:
        load_agent_config(path)
    assert caught.value.exit_code == 78
