"""Devices that share a connection, and connections that are protected."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from agent.drivers.errors import DeviceError, DeviceProtocolError, DeviceUnreachableError
from agent.drivers.modbus import ModbusDriver
from agent.drivers.modbus_line import SLICE_REQUESTS, Address, join_line
from agent.model import TlsFiles
from agent.profile import Pacing, Profile
from firmware_sim.contents import artefact
from firmware_sim.device import Device
from firmware_sim.modbus.framing import Framer, encode_frame
from firmware_sim.modbus.pdu import answer as answer_of
from firmware_sim.modbus.unit import Unit
from kit.clock import FakeClock
from kit.exitcodes import PermissionDeniedError, StorageError
from kit.tls import Authority
from rules.fingerprint import fingerprint
from tests.unit.agent.bench import NOW_MS, PROFILE, device_config, lying, with_driver
from tests.unit.firmware_sim.bench import device

LONG = bytes(range(256)) * 300


class Gateway:
    """A serial gateway: several units behind one port; it notes who was asked, and whether two were at once."""

    def __init__(self, *devices: Device) -> None:
        self.devices = {one.unit_id: one for one in devices}
        self.units: list[int] = []
        self.connections = 0
        self.open = 0
        self.open_max = 0
        self.in_flight_max = 0
        self.silent: set[int] = set()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.open_max = max(self.open_max, self.open)
        framer = Framer()
        try:
            while data := await reader.read(4096):
                framer.feed(data)
                found = []
                while (request := framer.take()) is not None:
                    found.append(request)
                self.in_flight_max = max(self.in_flight_max, len(found))
                for request in found:
                    self.units.append(request.unit)
                    if request.unit not in self.silent:
                        pdu = answer_of(Unit(self.devices[request.unit]), request.pdu)
                        writer.write(encode_frame(request.transaction, request.unit, pdu))
        finally:
            self.open -= 1
            writer.close()


async def started(gateway: Gateway, stack: AsyncExitStack) -> int:
    server = await asyncio.start_server(gateway.talk, "127.0.0.1", 0)
    stack.push_async_callback(server.wait_closed)
    stack.callback(server.close)
    return int(server.sockets[0].getsockname()[1])


def driver_of(port: int, unit: int, profile: Profile = PROFILE, **changes: object) -> ModbusDriver:
    return ModbusDriver(device_config(port, id=f"unit-{unit}", unit_id=unit, **changes), profile, FakeClock(NOW_MS))


def units(count: int, content: bytes = b"firmware") -> tuple[Device, ...]:
    return tuple(
        device(artefact("firmware", "1", content + bytes((unit,))), unit_id=unit) for unit in range(1, count + 1)
    )


# holds PF-6
def test_units_behind_one_port_share_a_connection_with_one_request_in_flight() -> None:
    gateway = Gateway(*units(4, LONG))

    async def work() -> None:
        async with AsyncExitStack() as stack:
            port = await started(gateway, stack)
            drivers = [driver_of(port, unit) for unit in range(1, 5)]
            readings = await asyncio.gather(*(driver.read() for driver in drivers))
            for unit, reading in enumerate(readings, 1):
                assert reading.files[0].digest == fingerprint(LONG + bytes((unit,)))
            assert [driver.counters.requests for driver in drivers] == [drivers[0].counters.requests] * 4
            for driver in drivers:
                await driver.close()

    asyncio.run(work())
    assert (gateway.connections, gateway.in_flight_max) == (1, 1)


def test_long_file_lets_other_units_ask_between_its_slices() -> None:
    gateway = Gateway(*units(2, LONG))

    async def work() -> None:
        async with AsyncExitStack() as stack:
            port = await started(gateway, stack)
            drivers = [driver_of(port, unit) for unit in (1, 2)]
            await asyncio.gather(*(driver.read() for driver in drivers))
            for driver in drivers:
                await driver.close()

    asyncio.run(work())
    runs, longest, before = 0, 0, 0
    for unit in gateway.units:
        runs = runs + 1 if unit == before else 1
        before = unit
        longest = max(longest, runs)
    assert longest <= SLICE_REQUESTS + 4


# holds PF-7
def test_silent_unit_closes_the_connection_and_the_others_are_read_over_a_new_one() -> None:
    gateway = Gateway(*units(3))
    gateway.silent = {2}

    async def work() -> None:
        async with AsyncExitStack() as stack:
            port = await started(gateway, stack)
            drivers = [driver_of(port, unit, timeout_ms=80 if unit == 2 else 10_000) for unit in (1, 2, 3)]
            found = await asyncio.gather(*(driver.read() for driver in drivers), return_exceptions=True)
            for driver in drivers:
                await driver.close()
        assert isinstance(found[1], DeviceUnreachableError)
        assert found[1].device == "unit-2"
        for unit in (1, 3):
            reading = found[unit - 1]
            assert not isinstance(reading, BaseException)
            assert reading.files[0].digest == fingerprint(b"firmware" + bytes((unit,)))

    asyncio.run(work())
    assert (gateway.connections, gateway.open_max) == (2, 1)


# holds PF-6
def test_model_that_bears_more_connections_has_its_units_spread_over_them() -> None:
    gateway = Gateway(*units(4))
    profile = replace(PROFILE, pacing=Pacing(connections=2))

    async def work() -> None:
        async with AsyncExitStack() as stack:
            port = await started(gateway, stack)
            drivers = [driver_of(port, unit, profile) for unit in range(1, 5)]
            await asyncio.gather(*(driver.read() for driver in drivers))
            for driver in drivers:
                await driver.close()

    asyncio.run(work())
    assert gateway.connections == 2


def test_closing_one_driver_does_not_cut_off_another_units_request() -> None:
    gateway = Gateway(*units(2))
    gateway.silent = {1}

    async def work() -> None:
        async with AsyncExitStack() as stack:
            port = await started(gateway, stack)
            waiting, other = driver_of(port, 1, timeout_ms=300), driver_of(port, 2)
            task = asyncio.create_task(waiting.read())
            while not gateway.units:  # noqa: ASYNC110 - the gateway has no event
                await asyncio.sleep(0.001)
            await other.close()
            with pytest.raises(DeviceUnreachableError, match="no answer to function 43 within 300 ms"):
                await task
            await waiting.close()

    asyncio.run(work())


def test_next_connection_waits_for_the_pause_of_the_profile() -> None:
    gateway = Gateway(*units(1))
    profile = replace(PROFILE, pacing=Pacing(connect_pause_ms=60))

    async def work() -> float:
        async with AsyncExitStack() as stack:
            port = await started(gateway, stack)
            driver = driver_of(port, 1, profile)
            await driver.read()
            closing_s = asyncio.get_running_loop().time()
            await driver.close()
            await driver.read()
            taken_s = asyncio.get_running_loop().time() - closing_s
            await driver.close()
            return taken_s

    assert asyncio.run(work()) >= 0.06
    assert gateway.connections == 2


def test_lines_are_of_an_address_and_forgotten_with_their_drivers() -> None:
    first, second = join_line(device_config(1), Pacing()), join_line(device_config(1, id="b", unit_id=9), Pacing())
    assert first is second
    assert join_line(device_config(2), Pacing()) is not first
    assert join_line(device_config(1, unit_id=9), Pacing(connections=4)) is not first
    assert Address("h", 1, None, 0) == Address("h", 1, None, 0)


# --- Modbus/TCP Security ------------------------------------------------------------------------------------------


def write_certificates(folder: Path, *, host: str = "127.0.0.1") -> TlsFiles:
    """Write an authority, a device's and a gateway's certificate; return what the gateway needs."""
    authority = Authority.create("field devices")
    authority.identity().save(folder / "ca.crt", folder / "ca.key")
    authority.issue("device", [host]).save(folder / "device.crt", folder / "device.key")
    authority.issue("gw-1").save(folder / "gw-1.crt", folder / "gw-1.key")
    return TlsFiles(folder / "ca.crt", folder / "gw-1.crt", folder / "gw-1.key")


def device_context(folder: Path, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "device.crt", folder / "device.key")
    context.load_verify_locations(cafile=folder / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    return context


def secure_read(folder: Path, tls: TlsFiles | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    simulated = device(artefact("firmware", "1", LONG))
    found: list[bytes] = []

    def answer(request: bytes) -> Sequence[bytes]:
        return [encode_frame(int.from_bytes(request[:2], "big"), request[6], answer_of(Unit(simulated), request[7:]))]

    async def once(driver: ModbusDriver) -> None:
        found.append((await driver.read()).files[0].digest.sha256)

    async def work() -> None:
        context = device_context(folder, version=version)
        async with lying(answer, context) as port:
            await with_driver(port, once, tls=tls)

    asyncio.run(work())
    return found[0]


# holds PF-8
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_device_under_tls_is_read_with_a_client_certificate(tmp_path: Path, version: ssl.TLSVersion) -> None:
    assert secure_read(tmp_path, write_certificates(tmp_path), version) == fingerprint(LONG).sha256


def test_device_under_a_name_of_its_own_is_known_by_it(tmp_path: Path) -> None:
    tls = write_certificates(tmp_path, host="scd-1.station")
    assert secure_read(tmp_path, replace(tls, server_name="scd-1.station")) == fingerprint(LONG).sha256


def refused(folder: Path, tls: TlsFiles | None) -> DeviceError:
    with pytest.raises(DeviceError, match="device dev-a: ") as caught:
        secure_read(folder, tls)
    return caught.value


# holds PF-8
def test_device_whose_certificate_has_another_name_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, write_certificates(tmp_path, host="other.station"))
    assert isinstance(error, DeviceProtocolError)
    assert error.reason == "tls"
    assert "no secure connection to 127.0.0.1:" in error.detail


# holds PF-8
def test_device_whose_certificate_is_of_another_authority_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = write_certificates(tmp_path / "other")
    mine = write_certificates(tmp_path)
    assert refused(tmp_path, replace(mine, ca=other.ca)).reason == "tls"


def test_gateway_whose_certificate_is_of_another_authority_gets_no_answer(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = write_certificates(tmp_path / "other")
    mine = write_certificates(tmp_path)
    error = refused(tmp_path, replace(other, ca=mine.ca))
    assert error.reason in {"tls", "closed"}


def test_device_that_expects_tls_gives_a_plain_connection_nothing(tmp_path: Path) -> None:
    write_certificates(tmp_path)
    assert refused(tmp_path, None).reason in {"closed", "garbage", "timeout"}


def test_tls_files_that_are_missing_or_open_to_others_are_refused_before_anything_is_connected(tmp_path: Path) -> None:
    tls = write_certificates(tmp_path)
    with pytest.raises(StorageError):
        driver_of(1, 1, tls=replace(tls, key=tmp_path / "none.key"))
    tls.key.chmod(0o644)
    with pytest.raises(PermissionDeniedError):
        driver_of(1, 1, tls=tls)
