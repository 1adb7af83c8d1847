"""The agent's IEC 61850 driver against the simulator's IED: changes are seen, faults of the link are never one."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.drivers.errors import DeviceError, DeviceProtocolError, DeviceUnreachableError
from agent.drivers.mms import MmsDriver
from agent.drivers.mms_profile import MmsProfile
from agent.drivers.table import load_profiles
from agent.model import DeviceConfig, Reading
from firmware_sim.errors import ScenarioError
from firmware_sim.fleet import Fleet
from firmware_sim.mms import server
from firmware_sim.mms.packets import FAULTS
from firmware_sim.release import ReleaseSpec, make_release
from firmware_sim.scenario import load_scenario
from kit.clock import SystemClock
from rules.fingerprint import fingerprint
from tests.unit.agent.site import write_site

pytestmark = pytest.mark.interop
RELAY = load_profiles()["relay-61850"]
FIRMWARE_BYTES = 300_000
PATIENCE_MS = {"slow": 5000, "single-connection": 5000, "half-open": 1000}
"""How long the driver waits under those faults of which a second try gets the better."""
SCENARIO = """\
[scenario]
name = "two-relays"

[control]
listen = "127.0.0.1:0"

[[device]]
id = "relay-{n}"
count = 2
protocol = "mms"
vendor = "Northgrid Controls"
product = "RP-1"
model = "RP-1/8"
serial = "NG-{n}"
release = "releases/now"
group_releases = ["releases/other"]
old_release = "releases/old"
mms = {ied = "BAY1", config_rev = "17"}
"""


@pytest.fixture(scope="session")
def scenario_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relays")
    for name, version in (("now", "2.0.0"), ("other", "2.1.0"), ("old", "1.0.0")):
        spec = ReleaseSpec(release=name, version=version, model="RP-1/8", size_bytes=FIRMWARE_BYTES)
        make_release(folder / "releases" / name, spec)
    path = folder / "relays.toml"
    path.write_text(SCENARIO)
    return path


@contextlib.asynccontextmanager
async def running(path: Path) -> AsyncIterator[Fleet]:
    fleet = Fleet(load_scenario(path), base=path.parent)
    await fleet.start()
    try:
        yield fleet
    finally:
        await fleet.stop()


@contextlib.asynccontextmanager
async def reading(fleet: Fleet, *, retries: int = 2, timeout_ms: int = 2000, scl: str = "") -> AsyncIterator[MmsDriver]:
    at = fleet.addresses["relay-1"]
    device = DeviceConfig("dev-a", "mms", "relay-61850", at.host, at.port, timeout_ms=timeout_ms, retries=retries)
    specifics = RELAY.specifics
    assert isinstance(specifics, MmsProfile)
    profile = dataclasses.replace(
        RELAY,
        pacing=dataclasses.replace(RELAY.pacing, connect_pause_ms=0),
        specifics=dataclasses.replace(specifics, scl=scl),
    )
    driver = MmsDriver(device, profile, SystemClock())
    try:
        yield driver
    finally:
        await driver.close()


async def until_read(driver: MmsDriver) -> Reading:
    """Read until an answer comes in time: on a busy machine even a sound device may be late."""
    for _ in range(50):
        with contextlib.suppress(DeviceUnreachableError):
            return await driver.read()
        await asyncio.sleep(0.05)
    raise AssertionError("no read in 50")


def digests(found: Reading) -> dict[str, bytes]:
    return {part.kind: part.digest.sha256 for part in found.files}


def test_relay_of_a_scenario_is_read_with_its_files_settings_and_scl(scenario_path: Path) -> None:
    async def read() -> tuple[Reading, Fleet]:
        async with running(scenario_path) as fleet, reading(fleet, scl="/device.cid") as driver:
            return await driver.read(), fleet

    found, fleet = asyncio.run(read())
    held = fleet.device("relay-1").contents.artefacts
    firmware, settings, strategy = found.files
    assert firmware.digest == fingerprint(held["firmware"].content)
    assert firmware.version == "2.0.0"
    assert strategy.digest == fingerprint(held["strategy"].content)
    assert (settings.method, settings.version) == ("record-read", "1")
    assert (found.identity.product, found.identity.model, found.identity.serial) == ("RP-1", "RP-1/8", "NG-1")


# holds MM-11
def test_relay_that_was_changed_and_changed_back_shows_it_in_its_counter_alone(scenario_path: Path) -> None:
    async def thrice() -> list[Reading]:
        async with running(scenario_path) as fleet, reading(fleet) as driver:
            found = [await driver.read(), await driver.read()]
            fleet.tamper(["relay-1"], {"action": "fault", "fault": "changed-back"})
            return [*found, await driver.read()]

    before, untouched, after = asyncio.run(thrice())
    assert [each.revision for each in (before, untouched, after)] == [1, 1, 3]
    assert digests(before) == digests(untouched) == digests(after)


@pytest.mark.parametrize(
    ("action", "kinds"),
    [
        ({"action": "flip-byte"}, {"firmware"}),
        ({"action": "change-setting"}, {"settings"}),
        ({"action": "switch-group", "group": 2}, {"settings"}),
        ({"action": "old-release"}, {"firmware", "settings", "strategy"}),
        ({"action": "fault", "fault": "lying-checksum"}, {"firmware"}),
        ({"action": "fault", "fault": "wrong-clock"}, set()),
    ],
)
def test_change_of_the_device_is_seen_at_the_next_read(
    scenario_path: Path, action: dict[str, str | int], kinds: set[str]
) -> None:
    async def twice() -> tuple[Reading, Reading]:
        async with running(scenario_path) as fleet, reading(fleet) as driver:
            before = await driver.read()
            fleet.tamper(["relay-1"], action)
            return before, await driver.read()

    before, after = asyncio.run(twice())
    assert {kind for kind, digest in digests(before).items() if digests(after)[kind] != digest} == kinds
    assert before.identity.serial == after.identity.serial


def test_setting_changed_and_changed_back_moves_the_revision_alone(scenario_path: Path) -> None:
    async def twice() -> tuple[Reading, Reading]:
        async with running(scenario_path) as fleet, reading(fleet) as driver:
            before = await driver.read()
            fleet.tamper(["relay-1"], {"action": "change-back"})
            return before, await driver.read()

    before, after = asyncio.run(twice())
    assert digests(before) == digests(after)
    assert int(after.files[1].version) == int(before.files[1].version) + 2


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_fault_of_the_link_is_an_error_or_nothing_but_never_another_content(scenario_path: Path, kind: str) -> None:
    timeout_ms = PATIENCE_MS.get(kind, 300)

    async def disturbed() -> tuple[Reading, Reading | DeviceError, Reading]:
        async with running(scenario_path) as fleet, reading(fleet, retries=1, timeout_ms=timeout_ms) as driver:
            before = await until_read(driver)
            fleet.tamper(["relay-1"], {"action": "fault", "fault": kind})
            during: Reading | DeviceError
            try:
                during = await driver.read()
            except DeviceError as error:
                during = error
            fleet.tamper(["relay-1"], {"action": "clear-fault"})
            return before, during, await until_read(driver)

    before, during, after = asyncio.run(disturbed())
    assert digests(after) == digests(before)
    if isinstance(during, Reading):
        assert digests(during) == digests(before)
        assert not any(part.errors for part in during.files)
    else:
        assert str(during).startswith("device dev-a: ")
        assert during.status in {"unreachable", "protocol-error"}
    if kind != "restart-in-transfer":  # whether the second try comes before the device is back is up to the clock
        assert isinstance(during, Reading) == (kind in PATIENCE_MS)


def test_file_that_changes_while_it_is_read_never_gives_the_same_digest(scenario_path: Path) -> None:
    async def thrice() -> list[bytes]:
        async with running(scenario_path) as fleet, reading(fleet) as driver:
            fleet.tamper(["relay-1"], {"action": "fault", "fault": "changing-file"})
            return [digests(await driver.read())["firmware"] for _ in range(3)]

    assert len(set(asyncio.run(thrice()))) == 3


def test_wrong_identity_is_shown(scenario_path: Path) -> None:
    async def read() -> Reading:
        async with running(scenario_path) as fleet, reading(fleet) as driver:
            fleet.tamper(["relay-1"], {"action": "fault", "fault": "wrong-identity"})
            return await driver.read()

    assert asyncio.run(read()).identity.serial == "#NG-1"


def test_scl_file_that_disagrees_is_refused(scenario_path: Path, tmp_path: Path) -> None:
    path = scenario_path.with_name("lying.toml")
    path.write_text(SCENARIO.replace('config_rev = "17"', 'config_rev = "17", scl_config_rev = "16"'))

    async def read() -> None:
        async with running(path) as fleet, reading(fleet, scl="/device.cid") as driver:
            await driver.read()

    with pytest.raises(DeviceProtocolError, match=r"has configRev '17'.*says '16'"):
        asyncio.run(read())


def test_ied_process_that_dies_is_started_again(scenario_path: Path) -> None:
    async def twice() -> tuple[Reading, Reading]:
        async with running(scenario_path) as fleet, reading(fleet) as driver:
            before = await driver.read()
            served = fleet._servers["device relay-1"]
            assert isinstance(served, server.MmsServer)
            process = served._process._process
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return before, await driver.read()

    before, after = asyncio.run(twice())
    assert digests(before) == digests(after)


def test_simulator_without_the_extra_says_what_to_install(scenario_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "find_spec", lambda _: None)
    with pytest.raises(ScenarioError, match=r"device relay-1: .*pip install '\.\[sim,iec61850\]'") as caught:
        Fleet(load_scenario(scenario_path), base=scenario_path.parent)
    assert caught.value.exit_code == 78


def test_programs_read_a_simulated_relay_and_end_with_the_codes_of_the_house(
    scenario_path: Path, tmp_path: Path
) -> None:
    """`gridwitness-sim up` and `gridwitness-agent read`, as people start them."""
    state = tmp_path / "sim.json"
    command = [sys.executable, "-m", "firmware_sim", "up", str(scenario_path), "--state-file", str(state)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as simulator:
        try:
            deadline = time.monotonic() + 60
            while not state.exists():
                assert simulator.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            port = json.loads(state.read_text())["devices"]["relay-1"]["port"]
            config = write_site(tmp_path, broker_port=8883, devices=[("relay-1", port)])
            text = config.read_text().replace('"modbus"', '"mms"')
            config.write_text(text.replace('"stability-control-modbus"', '"relay-61850"'))
            program = [sys.executable, "-m", "agent", "read", "relay-1", "--config", str(config), "--json"]
            done = subprocess.run(program, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            shown = json.loads(done.stdout)
            assert shown["identity"]["serial"] == "NG-1"
            methods = {part["kind"]: part["method"] for part in shown["artefacts"]}
            assert methods == {"firmware": "full-file", "settings": "record-read", "strategy": "full-file"}
        finally:
            simulator.terminate()
            simulator.wait()
    assert not list(Path(tempfile.gettempdir()).glob(f"gridwitness-ied-*-{simulator.pid}"))
    gone = subprocess.run(program, capture_output=True, text=True, check=False)
    assert gone.returncode == 69
    assert json.loads(gone.stdout)["error"].startswith("device relay-1: opens no association")
