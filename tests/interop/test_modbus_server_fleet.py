"""A fleet started inside a test, as other tests use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_sim.errors import ScenarioError, UnknownDeviceError
from firmware_sim.faults import Fault
from firmware_sim.scenario import load_scenario
from tests.interop.modbus_line import connect, framed, read_file, run
from tests.unit.firmware_sim.bench import SCENARIO, make_fleet, write_bench

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def scenario_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bench(tmp_path_factory.mktemp("fleet"))


def test_fleet_tampered_between_two_reads_of_one_connection_is_seen(scenario_path: Path) -> None:
    async def main() -> None:
        fleet = make_fleet(scenario_path)
        addresses = await fleet.start()
        assert fleet.describe("dev-a")["port"] == addresses["dev-a"].port
        async with connect(addresses["dev-b"].port) as line:
            before = await line.ask(read_file(1, 0, 4), unit=3)
            fleet.tamper(["dev-b"], {"action": "flip-byte", "offset": 0, "mask": 255})
            after = await line.ask(read_file(1, 0, 4), unit=3)
        assert after[4] == before[4] ^ 255
        assert after[5:] == before[5:]
        await fleet.stop()
        with pytest.raises(ConnectionRefusedError):
            async with connect(addresses["dev-b"].port):
                pass

    run(main())


def test_fleet_fault_offline_drops_open_connections_of_this_device_alone(scenario_path: Path) -> None:
    async def main() -> None:
        fleet = make_fleet(scenario_path)
        addresses = await fleet.start()
        async with connect(addresses["dev-a"].port) as gone, connect(addresses["dev-b"].port) as kept:
            assert (await gone.ask(read_file(1, 0, 1)))[0] == 20
            assert (await kept.ask(read_file(1, 0, 1), unit=3))[0] == 20
            fleet.set_fault("dev-a", Fault("offline"))
            assert await gone.ended()
            assert (await kept.ask(read_file(1, 0, 1), unit=3))[0] == 20
        fleet.set_fault("dev-a", None)
        async with connect(addresses["dev-a"].port) as line:
            assert (await line.ask(read_file(1, 0, 1)))[0] == 20
        with pytest.raises(UnknownDeviceError):
            fleet.set_fault("dev-x", None)
        await fleet.stop()

    run(main())


def test_fleet_that_cannot_have_one_port_lets_all_others_go(tmp_path: Path) -> None:
    path = write_bench(tmp_path)

    async def main() -> None:
        first = make_fleet(path)
        taken = (await first.start())["dev-a"]
        path.write_text(SCENARIO.replace("unit_id = 3", f'unit_id = 3\nlisten = "{taken}"'))
        second = make_fleet(path)
        assert load_scenario(path).devices[1].listen == taken
        with pytest.raises(ScenarioError, match=r"device dev-b cannot listen"):
            await second.start()
        with pytest.raises(ConnectionRefusedError):
            async with connect(second.addresses["dev-a"].port):
                pass
        async with connect(taken.port) as line:
            line.send(framed(read_file(1, 0, 1)))
            assert (await line.frame())[2][0] == 20
        await first.stop()
        await first.stop()

    run(main())
