"""Several units behind one port, Modbus/TCP Security, and the faults that show on connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.drivers.errors import DeviceError
from agent.drivers.table import DRIVERS, load_profiles
from agent.model import DeviceConfig, Reading, TlsFiles
from firmware_sim.device import Device
from firmware_sim.errors import ScenarioError
from firmware_sim.faults import Fault
from firmware_sim.fleet import Fleet
from firmware_sim.modbus.server import ModbusServer
from firmware_sim.scenario import TlsTable, load_scenario
from firmware_sim.tls import server_context
from kit.clock import FakeClock, SystemClock
from kit.tls import Authority
from rules.fingerprint import fingerprint
from tests.interop.modbus_line import TIMEOUT_S, Line, connect, firmware_device, framed, on_line, read_file, run, serve
from tests.unit.firmware_sim.bench import SCENARIO, write_bench

pytestmark = pytest.mark.interop

VENDOR = bytes.fromhex("2b 0e 04 00")
FIRST = read_file(1, 0, 4)


def units(*numbers: int) -> list[Device]:
    found = [firmware_device() for _ in numbers]
    for device, number in zip(found, numbers, strict=True):
        device.unit_id = number
        device.clock_ms = SystemClock().now_ms
    return found


def behind_gateway(devices: list[Device], talk: Callable[[Line], Awaitable[None]]) -> None:
    async def main() -> None:
        server = ModbusServer(*devices)
        _, port = await server.start("127.0.0.1", 0)
        try:
            async with connect(port) as line:
                await talk(line)
        finally:
            await server.stop()

    run(main())


def test_gateway_answers_for_each_unit_and_with_exception_11_for_others() -> None:
    devices = units(1, 7)

    async def talk(line: Line) -> None:
        devices[1].set_fault(Fault("failure"))
        assert (await line.ask(FIRST, unit=1))[0] == 20
        assert await line.ask(FIRST, unit=7) == b"\x94\x04"
        assert await line.ask(FIRST, unit=3) == b"\x94\x0b"

    behind_gateway(devices, talk)
    assert [device.counters.connections for device in devices] == [1, 1]
    assert devices[1].counters.requests == 1


def test_gateway_keeps_the_connection_when_a_unit_is_away() -> None:
    devices = units(1, 7)

    async def talk(line: Line) -> None:
        devices[1].restart(60_000)
        assert await line.ask(FIRST, unit=7) == b"\x94\x0b"
        assert (await line.ask(FIRST, unit=1))[0] == 20
        devices[0].set_fault(Fault("offline"))
        line.send(b"")
        devices[0].set_fault(None)
        assert (await line.ask(FIRST, unit=1))[0] == 20

    behind_gateway(devices, talk)


def test_units_of_one_number_behind_one_port_are_refused() -> None:
    with pytest.raises(ValueError, match="unit ids of their own"):
        ModbusServer(*units(4, 4))
    with pytest.raises(ValueError, match="unit ids of their own"):
        ModbusServer()


# --- TLS ------------------------------------------------------------------------------------------------------------


def credentials(folder: Path) -> TlsTable:
    """Write an authority, a device's certificate and a client's."""
    authority = Authority.create("bench")
    (folder / "ca.pem").write_bytes(authority.identity().certificate)
    authority.issue("device", ["127.0.0.1"]).save(folder / "device.pem", folder / "device.key")
    authority.issue("client").save(folder / "client.pem", folder / "client.key")
    stranger = Authority.create("stranger")
    stranger.issue("client").save(folder / "stranger.pem", folder / "stranger.key")
    return TlsTable(certificate=folder / "device.pem", key=folder / "device.key", client_ca=folder / "ca.pem")


def client_context(folder: Path, name: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if name is not None:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


async def ask_over_tls(port: int, context: ssl.SSLContext, pdu: bytes) -> bytes:
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        try:
            line = Line(reader, writer)
            return await line.ask(pdu)
        finally:
            writer.transport.abort()


def test_modbus_security_serves_a_client_with_a_certificate_and_no_other(tmp_path: Path) -> None:
    context = server_context(credentials(tmp_path))

    async def main() -> None:
        server = ModbusServer(firmware_device(), tls=context)
        _, port = await server.start("127.0.0.1", 0)
        assert b"Northgrid" in await ask_over_tls(port, client_context(tmp_path, "client"), VENDOR)
        for name in (None, "stranger"):
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await ask_over_tls(port, client_context(tmp_path, name), VENDOR)
        async with connect(port) as plain:
            plain.send(framed(FIRST))
            assert (await plain.rest())[:1] in {b"", b"\x15"}  # nothing, or a TLS alert
        assert b"Northgrid" in await ask_over_tls(port, client_context(tmp_path, "client"), VENDOR)
        await server.stop()

    run(main())


def test_modbus_security_gives_a_whole_file_to_a_client_that_pipelines(tmp_path: Path) -> None:
    context = server_context(credentials(tmp_path))
    device = firmware_device()

    async def main() -> None:
        server = ModbusServer(device, tls=context)
        _, port = await server.start("127.0.0.1", 0)
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context(tmp_path, "client"))
            line = Line(reader, writer)
            for record in range(0, 10_000, 100):
                line.send(framed(read_file(1, record, 100)))
            parts = [(await line.frame())[2][4:] for _ in range(100)]
            writer.transport.abort()
        assert b"".join(parts) == device.contents.artefacts["firmware"].content[:20_000]
        await server.stop()

    run(main())


def test_tls_files_that_are_none_are_named(tmp_path: Path) -> None:
    table = credentials(tmp_path)
    table.certificate.write_text("no certificate")
    with pytest.raises(ScenarioError, match=r"device.pem, .*device.key and .*ca.pem"):
        server_context(table)


def test_scenario_with_tls_gateway_serves_its_devices(tmp_path: Path) -> None:
    path = write_bench(tmp_path)
    credentials(tmp_path)
    text = SCENARIO.replace('id = "dev-a"', 'id = "dev-a"\ngateway = "bay"')
    text = text.replace('id = "dev-b"', 'id = "dev-b"\ngateway = "bay"')
    tls = '{certificate = "device.pem", key = "device.key", client_ca = "ca.pem"}'
    path.write_text(text + f'\n[[gateway]]\nid = "bay"\ntls = {tls}\n')

    async def main() -> None:
        fleet = Fleet(load_scenario(path), base=tmp_path)
        addresses = await fleet.start()
        assert addresses["dev-a"] == addresses["dev-b"]
        found = await ask_over_tls(addresses["dev-a"].port, client_context(tmp_path, "client"), VENDOR)
        assert b"Northgrid" in found
        await fleet.stop()

    run(main())


# --- faults of connections ------------------------------------------------------------------------------------------


def test_half_open_connection_is_dead_for_good_and_a_new_one_works() -> None:
    target = firmware_device()

    async def main() -> None:
        async with serve(target) as port, connect(port) as dead:
            target.set_fault(Fault("half-open"))
            dead.send(framed(FIRST))
            assert await dead.silent(0.1)
            assert target.fault is None
            async with connect(port) as line:
                assert (await line.ask(FIRST))[0] == 20
            dead.send(framed(FIRST, transaction=2))
            assert await dead.silent(0.05)

    run(main())


def test_single_connection_device_closes_a_second_one() -> None:
    target = firmware_device()

    async def main() -> None:
        async with serve(target) as port, connect(port) as before:
            target.set_fault(Fault("single-connection"))
            assert await before.ended()
            async with connect(port) as first:
                assert (await first.ask(FIRST))[0] == 20
                async with connect(port) as second:
                    assert await second.ended()
                assert (await first.ask(FIRST))[0] == 20

    run(main())


def test_restart_in_transfer_drops_all_and_comes_back() -> None:
    target = firmware_device()
    clock = FakeClock()
    target.clock_ms = clock.now_ms

    async def main() -> None:
        async with serve(target) as port:
            target.set_fault(Fault("restart-in-transfer", delay_ms=150))
            async with connect(port) as line, connect(port) as other:
                assert (await line.ask(FIRST))[0] == 20
                assert (await line.ask(VENDOR))[0] == 43
                line.send(framed(read_file(1, 100, 4)))
                assert await line.ended()
                assert await other.ended()
            async with connect(port) as early:
                assert await early.ended()
            clock.advance(150)
            async with connect(port) as line:
                assert (await line.ask(read_file(1, 100, 4)))[0] == 20
        assert target.counters.restarts == 1

    run(main())


def test_slow_device_works_on_one_answer_after_the_other() -> None:
    target = firmware_device()
    target.set_fault(Fault("slow", delay_ms=40))

    async def talk(line: Line) -> None:
        begin_s = asyncio.get_running_loop().time()
        for _ in range(5):
            line.send(framed(FIRST))
        for _ in range(5):
            await line.frame()
        assert asyncio.get_running_loop().time() - begin_s >= 0.19

    on_line(target, talk)


def test_mixed_transactions_give_the_answer_of_the_request_before() -> None:
    target = firmware_device()
    target.set_fault(Fault("mixed-transactions"))

    async def talk(line: Line) -> None:
        line.send(framed(FIRST))
        assert (await line.frame())[0] == 2
        line.send(framed(VENDOR, transaction=5))
        transaction, _, pdu = await line.frame()
        assert (transaction, pdu[0]) == (1, 20)

    on_line(target, talk)


# --- the agent as the client ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "profile"), [("modbus", "stability-control-modbus"), ("iec104", "stability-control-104")]
)
def test_agent_reads_a_device_over_tls_with_its_certificate_alone(tmp_path: Path, protocol: str, profile: str) -> None:
    path = write_bench(tmp_path)
    credentials(tmp_path)
    tls = 'tls = {certificate = "device.pem", key = "device.key", client_ca = "ca.pem"}'
    path.write_text(SCENARIO.replace('id = "dev-a"', f'id = "dev-a"\nprotocol = "{protocol}"\n{tls}'))
    content = (tmp_path / "releases" / "a-2" / "firmware.bin").read_bytes()

    async def read(port: int, name: str) -> Reading:
        files = TlsFiles(tmp_path / "ca.pem", tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        config = DeviceConfig("dev-a", protocol, profile, "127.0.0.1", port, retries=0, tls=files)
        driver = DRIVERS[protocol].open(config, load_profiles()[profile], SystemClock())
        try:
            return await driver.read()
        finally:
            await driver.close()

    async def main() -> None:
        fleet = Fleet(load_scenario(path), base=tmp_path)
        port = (await fleet.start())["dev-a"].port
        assert (await read(port, "client")).files[0].digest == fingerprint(content)
        with pytest.raises(DeviceError, match="device dev-a: "):
            await read(port, "stranger")
        await fleet.stop()

    run(main())


def test_agent_reads_each_unit_behind_a_gateway(tmp_path: Path) -> None:
    path = write_bench(tmp_path)
    text = SCENARIO.replace('id = "dev-a"', 'id = "dev-a"\ngateway = "bay"')
    path.write_text(text.replace('id = "dev-b"', 'id = "dev-b"\ngateway = "bay"') + '\n[[gateway]]\nid = "bay"\n')

    async def read(port: int, unit: int) -> Reading:
        profile = load_profiles()["stability-control-modbus"]
        config = DeviceConfig(f"unit-{unit}", "modbus", profile.name, "127.0.0.1", port, unit_id=unit, retries=0)
        driver = DRIVERS["modbus"].open(config, profile, SystemClock())
        try:
            return await driver.read()
        finally:
            await driver.close()

    async def main() -> None:
        fleet = Fleet(load_scenario(path), base=tmp_path)
        port = (await fleet.start())["dev-a"].port
        for unit, serial, name in ((1, "NG-0001", "a-2"), (3, "NG-0002", "b-2")):
            found = await read(port, unit)
            settings = (tmp_path / "releases" / name / "settings.csv").read_bytes()
            assert found.identity.serial == serial
            assert found.files[1].digest == fingerprint(settings)
        with pytest.raises(DeviceError, match="device unit-2: "):
            await read(port, 2)
        await fleet.stop()

    run(main())
