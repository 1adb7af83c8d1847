"""pymodbus, another people's client, reads our devices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.pdu.file_message import FileRecord

from firmware_sim.contents import artefact
from firmware_sim.device import Device
from firmware_sim.faults import Fault
from firmware_sim.files.setting_list import setting_list
from firmware_sim.modbus.unit import Unit
from tests.interop.modbus_line import FIRMWARE, firmware_device, run, serve
from tests.unit.firmware_sim.bench import FixedUnit

pytestmark = pytest.mark.interop

SETTINGS = artefact("settings", "1.0", setting_list("x"))


def with_client(target: Unit | Device, talk: Callable[[AsyncModbusTcpClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async with serve(target) as port:
            client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=30, retries=0)
            assert await client.connect()
            try:
                await talk(client)
            finally:
                client.close()

    run(main())


def test_pymodbus_reads_settings_from_holding_registers() -> None:
    async def talk(client: AsyncModbusTcpClient) -> None:
        found = await client.read_holding_registers(16, count=2, device_id=1)
        assert found.registers == [4900, 15]
        refused = await client.read_holding_registers(9_000, count=1, device_id=1)
        assert refused.exception_code == 2

    with_client(firmware_device(SETTINGS), talk)


def test_pymodbus_reads_measurements_and_directory() -> None:
    async def talk(client: AsyncModbusTcpClient) -> None:
        frequency = await client.read_input_registers(0, count=32, device_id=1)
        assert 4990 <= frequency.registers[0] <= 5010
        directory = await client.read_input_registers(100, count=33, device_id=1)
        registers = directory.registers
        assert registers[0] == 2
        assert registers[1:5] == [1, 1, len(FIRMWARE) >> 16, len(FIRMWARE) & 0xFFFF]
        assert registers[17:21] == [3, 2001, 0, len(SETTINGS.content)]
        refused = await client.read_input_registers(32, count=1, device_id=1)
        assert refused.exception_code == 2

    with_client(firmware_device(SETTINGS), talk)


@pytest.mark.parametrize(("code", "keys"), [(1, {0, 1, 2}), (2, {0, 1, 2, 4, 5}), (3, {0, 1, 2, 4, 5, 0x80})])
def test_pymodbus_reads_the_identification(code: int, keys: set[int]) -> None:
    async def talk(client: AsyncModbusTcpClient) -> None:
        found: Any = await client.read_device_information(read_code=code, object_id=0, device_id=1)
        assert set(found.information) == keys
        assert found.information[0] == b"Northgrid Controls"
        assert found.more_follows == 0

    with_client(firmware_device(), talk)


def test_pymodbus_follows_the_pages_of_a_long_identification() -> None:
    objects = {key: bytes((65 + key % 26,)) * 100 for key in (0, 1, 2, 4, 5, 0x80)}
    target = FixedUnit(firmware_device(), objects=objects)

    async def talk(client: AsyncModbusTcpClient) -> None:
        found: dict[int, bytes] = {}
        following = 0
        for _ in range(10):
            page: Any = await client.read_device_information(read_code=3, object_id=following, device_id=1)
            found |= page.information
            following = page.next_object_id
            if not page.more_follows:
                break
        assert found == objects

    with_client(target, talk)


@pytest.mark.parametrize("count", [1, 2, 7, 120, 121, 124])
def test_pymodbus_reads_file_records_of_odd_and_even_counts(count: int) -> None:
    async def talk(client: AsyncModbusTcpClient) -> None:
        record = FileRecord(file_number=2, record_number=9, record_length=2 * count)
        found: Any = await client.read_file_record([record], device_id=1)
        start = 20_000 + 18
        assert found.records[0].record_data == FIRMWARE[start : start + 2 * count]

    with_client(firmware_device(), talk)


def test_pymodbus_reads_several_records_at_once() -> None:
    async def talk(client: AsyncModbusTcpClient) -> None:
        wanted = [FileRecord(file_number=number, record_number=3, record_length=10) for number in (1, 3, 2)]
        found: Any = await client.read_file_record(wanted, device_id=1)
        starts = [(number - 1) * 20_000 + 6 for number in (1, 3, 2)]
        assert [item.record_data for item in found.records] == [FIRMWARE[start : start + 10] for start in starts]

    with_client(firmware_device(), talk)


def test_pymodbus_sees_each_exception() -> None:
    target = firmware_device()

    async def talk(client: AsyncModbusTcpClient) -> None:
        assert (await client.read_coils(0, count=1, device_id=1)).exception_code == 1
        assert (await client.write_register(0, 1, device_id=1)).exception_code == 1
        assert (await client.write_registers(0, [1], device_id=1)).exception_code == 1
        missing = FileRecord(file_number=9, record_number=0, record_length=2)
        assert (await client.read_file_record([missing], device_id=1)).exception_code == 2
        assert (await client.read_input_registers(0, count=1, device_id=7)).exception_code == 11
        for kind, code in (("failure", 4), ("busy", 6)):
            target.set_fault(Fault(kind, requests=1))
            assert (await client.read_input_registers(0, count=1, device_id=1)).exception_code == code
        assert not (await client.read_input_registers(0, count=1, device_id=1)).isError()

    with_client(target, talk)
