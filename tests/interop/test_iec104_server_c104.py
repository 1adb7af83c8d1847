"""c104, another people's controlling station, reads our simulated device: points, counters, time, events, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from firmware_sim.contents import Artefact, artefact
from firmware_sim.device import Device
from firmware_sim.faults import Fault
from firmware_sim.files.setting_list import setting_list
from firmware_sim.iec104.options import Iec104Options
from firmware_sim.iec104.points import (
    ARTEFACT_FIRST,
    BITS_FIRST,
    COUNTER_FIRST,
    CRC_OFFSET,
    DOUBLE_FIRST,
    EXTRA_FIRST,
    FLOAT_FIRST,
    IDENTITY_FIRST,
    NORMALISED_FIRST,
    SINGLE_FIRST,
    STEP_FIRST,
    STRIDE,
)
from firmware_sim.iec104.server import Iec104Server
from kit.tls import Authority
from tests.interop.c104_line import C104, c104
from tests.unit.firmware_sim.bench import IDENTITY, NOW_MS, device
from wire.iec104.types import Cause, TypeId

pytestmark = pytest.mark.interop

FIRMWARE = bytes(index * 31 % 253 for index in range(70_001))
STATION = 7
POINTS_OWN = 32 + 4 + 2 + 1 + 1 + 1 + 1 + 6 * 16 + 3 * 9
"""Without counters and extra points."""


def bay(*more: Artefact) -> Device:
    return device(artefact("firmware", "2.4.0", FIRMWARE), artefact("settings", "1.0", setting_list("x")), *more)


@asynccontextmanager
async def serve(target: Device, tls: ssl.SSLContext | None = None, **options: object) -> AsyncIterator[int]:
    server = Iec104Server(target, replace(Iec104Options(common_address=STATION), **options), tls)  # type: ignore[arg-type]
    _, port = await server.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        await server.stop()


Ask = Callable[..., Awaitable[dict[str, Any]]]


def asking(peer: C104) -> Ask:
    """Ask it in a thread, because c104 blocks."""

    async def ask(do: str, **arguments: object) -> dict[str, Any]:
        return await asyncio.to_thread(lambda: peer.ask(do, **arguments))

    return ask


def with_c104(
    talk: Callable[[Ask, int], Awaitable[None]], target: Device, tls: ssl.SSLContext | None = None, **options: object
) -> None:
    """Hold a conversation."""

    async def main() -> None:
        with c104() as peer:
            async with serve(target, tls, **options) as port:
                await talk(asking(peer), port)

    asyncio.run(main())


async def opened(ask: Ask, port: int, **more: object) -> None:
    assert await ask("connect", port=port, common_address=STATION, **more) == {"open": True}


async def interrogated(ask: Ask) -> None:
    await ask("interrogate", common_address=STATION)
    assert (await ask("wait_answer", type_id=TypeId.C_IC_NA_1, cause=Cause.ACTIVATION_TERMINATION))["ok"]


def values(answer: dict[str, Any]) -> dict[int, tuple[str, Any]]:
    """Give type and value by address, of points of good quality."""
    return {point[0]: (point[1], point[2]) for point in answer["points"] if point[3] == 0}


def test_peer_is_the_locked_one() -> None:
    with c104() as peer:
        assert peer.ask("version") == {"version": "2.2.1"}


def test_c104_interrogates_every_type_of_point() -> None:
    target = bay()

    async def talk(ask: Ask, port: int) -> None:
        await opened(ask, port)
        await interrogated(ask)
        assert (await ask("wait_seen", count=POINTS_OWN))["ok"]
        found = await ask("points", common_address=STATION)
        assert len(found["points"]) == POINTS_OWN
        held = values(found)
        measured = target.measurements()
        assert [held[1 + index] for index in range(32)] == [("M_ME_NB_1", value) for value in measured]
        assert [held[SINGLE_FIRST + index] for index in range(4)] == [
            ("M_SP_NA_1", state) for state in (True, False, True, True)
        ]
        assert held[DOUBLE_FIRST] == ("M_DP_NA_1", 2)
        assert held[STEP_FIRST] == ("M_ST_NA_1", 1)
        assert held[NORMALISED_FIRST][1] == pytest.approx(measured[0] / 32_768, abs=1e-4)
        assert held[FLOAT_FIRST] == ("M_ME_NC_1", pytest.approx(measured[0] / 100, abs=1e-4))
        assert held[BITS_FIRST] == ("M_BO_NA_1", int.from_bytes((1).to_bytes(4, "little"), "big"))
        vendor = b"".join(held[IDENTITY_FIRST + index][1].to_bytes(4, "big") for index in range(16))
        assert vendor.rstrip(b"\0").decode() == IDENTITY.vendor
        crc = held[ARTEFACT_FIRST + CRC_OFFSET][1].to_bytes(4, "big")
        assert int.from_bytes(crc, "little") == target.checksum("firmware")
        strategy = [point for point in found["points"] if point[0] == ARTEFACT_FIRST + STRIDE]
        assert [point[3] for point in strategy] == [0x80], "the device has no strategy: the point is invalid"

    with_c104(talk, target)


def test_c104_interrogates_twenty_thousand_points() -> None:
    count = 20_000

    async def talk(ask: Ask, port: int) -> None:
        await opened(ask, port, timeout_ms=40_000)
        await interrogated(ask)
        assert (await ask("wait_seen", count=POINTS_OWN + count))["ok"]
        held = values(await ask("points", common_address=STATION))
        assert sum(address >= EXTRA_FIRST for address in held) == count
        assert {held[EXTRA_FIRST + index][0] for index in (0, 1, count - 1)} == {"M_ME_NB_1"}

    with_c104(talk, bay(), extra_points=count)


@pytest.mark.parametrize(("k", "w"), [(1, 1), (2, 1), (12, 8), (32, 20)])
def test_c104_interrogation_is_whole_with_any_window(k: int, w: int) -> None:
    async def talk(ask: Ask, port: int) -> None:
        await opened(ask, port, k=k, w=w)
        await interrogated(ask)
        assert (await ask("wait_seen", count=POINTS_OWN + 1000))["ok"]
        assert len((await ask("points", common_address=STATION))["points"]) == POINTS_OWN + 1000

    with_c104(talk, bay(), extra_points=1000, k=k, w=w)


def test_c104_asks_for_counters_single_points_time_and_test() -> None:
    target = bay()
    target.revision_counter = 5

    async def talk(ask: Ask, port: int) -> None:
        await opened(ask, port, timeout_ms=4000)
        await interrogated(ask)
        await ask("counters", common_address=STATION)
        assert (await ask("wait_answer", type_id=TypeId.C_CI_NA_1, cause=Cause.ACTIVATION_TERMINATION))["ok"]
        assert (await ask("wait_seen", count=POINTS_OWN + 2))["ok"]
        held = values(await ask("points", common_address=STATION))
        assert held[COUNTER_FIRST] == ("M_IT_NA_1", 5)
        await ask("forget")
        await ask("read", common_address=STATION, io_address=SINGLE_FIRST)  # its own answer is not to be relied upon
        assert (await ask("wait_seen", count=1))["seen"] == [[SINGLE_FIRST, "M_SP_NA_1", "REQUEST"]]
        for command, type_id in (("sync", TypeId.C_CS_NA_1), ("test", TypeId.C_TS_TA_1)):
            await ask("forget")
            await ask(command, common_address=STATION)
            assert (await ask("wait_answer", type_id=type_id, cause=Cause.ACTIVATION_CON))["ok"]

    with_c104(talk, target)


def test_c104_command_is_refused() -> None:
    async def talk(ask: Ask, port: int) -> None:
        await opened(ask, port, timeout_ms=2_000)
        assert not (await ask("command", common_address=STATION, io_address=900))["ok"]
        assert (await ask("state")) == {"state": "OPEN"}

    with_c104(talk, bay())


def test_c104_hears_of_the_start_and_of_what_changed_with_its_time() -> None:
    target = bay()
    settings = ARTEFACT_FIRST + 2 * STRIDE

    async def talk(ask: Ask, port: int) -> None:
        await opened(ask, port)  # without an interrogation: c104 keeps the type in which it met a point
        firmware = target.contents.artefacts["firmware"]
        target.load(target.contents.loaded(firmware.with_content(FIRMWARE[:-1] + b"!")))
        seen = (await ask("wait_seen", count=4))["seen"]
        changed = [BITS_FIRST, ARTEFACT_FIRST + CRC_OFFSET, ARTEFACT_FIRST + CRC_OFFSET + 1, settings + CRC_OFFSET + 1]
        assert seen == [[address, "M_BO_TB_1", "SPONTANEOUS"] for address in changed]
        points = (await ask("points", common_address=STATION))["points"]
        assert {point[4] for point in points} == {NOW_MS / 1000}
        assert (await ask("told"))["initialised"] == ["LOCAL_POWER_ON"]

    with_c104(talk, target)


def test_c104_refused_interrogation_of_a_busy_device_is_not_taken_for_an_answer() -> None:
    target = bay()
    target.set_fault(Fault("busy"))

    async def talk(ask: Ask, port: int) -> None:
        await opened(ask, port, timeout_ms=2_000)
        assert not (await ask("interrogate", common_address=STATION))["ok"]
        assert (await ask("points", common_address=STATION))["points"] == []

    with_c104(talk, target)


@asynccontextmanager
async def tls_relay(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Speak TLS for c104, whose own client cannot (see c104_peer.py), and give the port for it."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65_536):
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def test_c104_reads_over_tls_with_a_client_certificate_and_nobody_without_one(tmp_path: Path) -> None:
    authority = Authority.create("bench")
    (tmp_path / "ca.pem").write_bytes(authority.identity().certificate)
    for name in ("station", "client"):
        authority.issue(name, hosts=("127.0.0.1",)).save(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
    station, client, stranger = (
        ssl.SSLContext(side) for side in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_CLIENT)
    )
    for name, context in (("station", station), ("client", client), ("", stranger)):
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(tmp_path / "ca.pem")
        if name:
            context.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")

    async def talk(ask: Ask, port: int) -> None:
        async with tls_relay(port, client) as relayed:
            await opened(ask, relayed)
            await interrogated(ask)
            assert (await ask("wait_seen", count=POINTS_OWN))["ok"]
            await ask("close")
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=stranger)
            try:
                writer.write(bytes.fromhex("680407000000"))
                assert await reader.read(6) == b"", "nobody starts data transfer without a certificate"
            finally:
                writer.close()
                await writer.wait_closed()

    with_c104(talk, bay(), tls=station)


def test_c104_second_link_of_a_redundancy_group_takes_over() -> None:
    async def main() -> None:
        with c104() as first_peer, c104() as second_peer:
            first, second = asking(first_peer), asking(second_peer)
            async with serve(bay()) as port:
                await opened(first, port, timeout_ms=2_000)
                await interrogated(first)
                await opened(second, port)
                await interrogated(second)
                assert not (await first("interrogate", common_address=STATION))["ok"]

    asyncio.run(main())
