"""What every driver of the table must do, whatever its protocol."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from agent.drivers.errors import DeviceError, DeviceUnreachableError
from agent.drivers.folder import FolderOptions
from agent.drivers.table import DRIVERS, Driver
from kit.clock import FakeClock
from tests.unit.agent.bench import NOW_MS, PROFILES, device_config

OPTIONS = {"folder": FolderOptions(path=Path("/nowhere"))}
"""Options of devices that are away, for protocols that need some."""
ENTRIES = [(profile.protocol, name) for name, profile in sorted(PROFILES.items())]


def opened(protocol: str, profile: str) -> Driver:
    config = device_config(1, protocol=protocol, profile=profile, options=OPTIONS.get(protocol))
    return DRIVERS[protocol].open(config, PROFILES[profile], FakeClock(NOW_MS))


@pytest.mark.parametrize(("protocol", "profile"), ENTRIES)
def test_driver_of_a_device_that_is_away_says_so_and_names_it(protocol: str, profile: str) -> None:
    with pytest.raises(DeviceUnreachableError, match="device dev-a: ") as caught:
        asyncio.run(_read(opened(protocol, profile)))
    assert caught.value.status == "unreachable"
    assert caught.value.exit_code == 69


NETWORKED = [(protocol, profile) for protocol, profile in ENTRIES if DRIVERS[protocol].port is not None]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(300), b"\xff" * 300])
@pytest.mark.parametrize(("protocol", "profile"), NETWORKED)
def test_device_that_says_nothing_or_nonsense_is_an_error_in_time_that_names_it(
    protocol: str, profile: str, answer: bytes
) -> None:
    with pytest.raises(DeviceError, match="device dev-a: ") as caught:
        asyncio.run(_read_from(protocol, profile, answer))
    assert caught.value.device == "dev-a"
    assert caught.value.status in {"unreachable", "protocol-error"}


async def _read_from(protocol: str, profile: str, answer: bytes) -> None:
    """Read a device that sends ``answer`` to whatever it hears, within twenty times its timeout."""
    writers: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while await reader.read(1000):
                writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    config = device_config(
        server.sockets[0].getsockname()[1],
        protocol=protocol,
        profile=profile,
        options=OPTIONS.get(protocol),
        timeout_ms=500,
    )
    try:
        async with asyncio.timeout(60):
            await _read(DRIVERS[protocol].open(config, PROFILES[profile], FakeClock(NOW_MS)))
    finally:
        server.close()
        for writer in writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await server.wait_closed()


async def _read(driver: Driver) -> None:
    try:
        await driver.read()
    finally:
        await driver.close()


@pytest.mark.parametrize(("protocol", "profile"), ENTRIES)
def test_driver_opens_nothing_before_the_first_read_and_closes_twice(protocol: str, profile: str) -> None:
    driver = opened(protocol, profile)

    async def close_twice() -> None:
        await driver.close()
        await driver.close()

    asyncio.run(close_twice())
    assert (driver.counters.requests, driver.counters.connections) == (0, 0)


def test_drivers_bring_in_no_keys_and_no_broker() -> None:
    """Importing the table must not load what signs or publishes, whatever imports what on the way."""
    program = (
        "import sys, agent.drivers.table; "
        "print(sorted(sys.modules.keys() & {'aiomqtt', 'paho', 'kit.keystore', 'agent.attest', 'agent.io.outbox'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
