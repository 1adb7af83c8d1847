"""python -m benchmarks.bare_modbus PORT ...: pymodbus alone reads every listed file of all devices at once.

It prints the bytes of file content that it read per second, in MB/s, the better of two rounds. Nothing is digested.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Final

import uvloop
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.pdu.file_message import FileRecord, ReadFileRecordResponse

from client.demo.ports import LOOPBACK

DIRECTORY: Final = 100
"""Input register with the number of files; 16 registers for each follow."""
LINE_REGISTERS: Final = 16
REGISTERS_MAX: Final = 121
RECORDS_PER_FILE: Final = 10_000
ROUNDS: Final = 2
TIMEOUT_S: Final = 30


async def _round(ports: Sequence[int]) -> float:
    clients = [AsyncModbusTcpClient(LOOPBACK, port=port, timeout=TIMEOUT_S) for port in ports]
    try:
        assert all(await asyncio.gather(*(client.connect() for client in clients))), "a device does not answer"
        began_s = time.perf_counter()
        read_bytes = sum(await asyncio.gather(*(_device(client) for client in clients)))
        return read_bytes / (time.perf_counter() - began_s) / 1e6
    finally:
        for client in clients:
            client.close()


async def _device(client: AsyncModbusTcpClient) -> int:
    """Read all files of one device and return how many bytes they have."""
    count = (await client.read_input_registers(DIRECTORY, count=1)).registers[0]
    lines = (await client.read_input_registers(DIRECTORY + 1, count=count * LINE_REGISTERS)).registers
    total = 0
    for at in range(0, len(lines), LINE_REGISTERS):
        _, first_file, high, low = lines[at : at + 4]
        total += await _file(client, first_file, high << 16 | low)
    return total


async def _file(client: AsyncModbusTcpClient, number: int, size: int) -> int:
    left, record, read_bytes = (size + 1) // 2, 0, 0
    while left:
        count = min(left, REGISTERS_MAX, RECORDS_PER_FILE - record)
        wanted = FileRecord(file_number=number, record_number=record, record_length=2 * count)
        answer = await client.read_file_record([wanted])
        assert isinstance(answer, ReadFileRecordResponse), "an exception instead of an answer"
        read_bytes += len(answer.records[0].record_data)
        left, record = left - count, record + count
        if record == RECORDS_PER_FILE:
            number, record = number + 1, 0
    assert read_bytes == size + size % 2, "a byte was not read"
    return size


def main() -> None:
    """Read twice and print the better rate."""
    ports = [int(port) for port in sys.argv[1:]]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(max(runner.run(_round(ports)) for _ in range(ROUNDS)))


if __name__ == "__main__":
    main()
