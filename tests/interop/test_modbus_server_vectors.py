"""Golden bytes from the specifications, over a real socket.

Origin: MODBUS Application Protocol Specification V1.1b3 (the section stands
beside each vector) under the header of the MODBUS Messaging on TCP/IP
Implementation Guide V1.0b. Where the specification prints only the PDU, the
header is transaction 0x1501, unit 1.
"""

from __future__ import annotations

import pytest

from tests.interop.modbus_line import Line, firmware_device, on_line
from tests.unit.firmware_sim.bench import FixedUnit

pytestmark = pytest.mark.interop

HOLDING = bytes(2 * 107) + bytes.fromhex("022b 0000 0064")
FILES = {
    4: bytes.fromhex("0000 0dfe 0020"),
    3: bytes(18) + bytes.fromhex("33cd 0040"),
}
OBJECTS = {0: b"Company identification", 1: b"Product code XX", 2: b"V2.11"}

VECTORS = {
    "6.3 read holding registers 108 to 110": (
        "1501 0000 0006 01 03 006b 0003",
        "1501 0000 0009 01 03 06 022b 0000 0064",
    ),
    "6.14 read file record, two sub-requests": (
        "1501 0000 0011 01 14 0e 06 0004 0001 0002 06 0003 0009 0002",
        "1501 0000 000f 01 14 0c 05 06 0dfe 0020 05 06 33cd 0040",
    ),
    "6.21 read device identification, basic; our conformity level is 81": (
        "1501 0000 0005 01 2b 0e 01 00",
        "1501 0000 0038 01 2b 0e 01 81 00 00 03"
        " 00 16" + b"Company identification".hex() + "01 0f" + b"Product code XX".hex() + "02 05" + b"V2.11".hex(),
    ),
    "6.21 read device identification, object 1 alone": (
        "1501 0000 0005 01 2b 0e 04 01",
        "1501 0000 0019 01 2b 0e 04 81 00 00 01 01 0f" + b"Product code XX".hex(),
    ),
    "7 function that does not exist": ("1501 0000 0002 01 64", "1501 0000 0003 01 e4 01"),
    "7 address that does not exist": ("1501 0000 0006 01 03 04a1 0001", "1501 0000 0003 01 83 02"),
    "6.3 quantity above 125": ("1501 0000 0006 01 03 0000 007e", "1501 0000 0003 01 83 03"),
    "6.14 reference type that is not 6": (
        "1501 0000 000a 01 14 07 05 0004 0001 0001",
        "1501 0000 0003 01 94 02",
    ),
    "6.14 file that does not exist": (
        "1501 0000 000a 01 14 07 06 0005 0000 0001",
        "1501 0000 0003 01 94 02",
    ),
    "6.14 byte count below 7": ("1501 0000 0009 01 14 06 06 0004 0001 00", "1501 0000 0003 01 94 03"),
    "7 target of a gateway that does not answer": (
        "1501 0000 0006 02 03 006b 0003",
        "1501 0000 0003 02 83 0b",
    ),
}


@pytest.mark.parametrize(("request_hex", "answer_hex"), VECTORS.values(), ids=VECTORS.keys())
def test_vector_of_the_specification_gives_its_answer(request_hex: str, answer_hex: str) -> None:
    target = FixedUnit(firmware_device(), files=FILES, objects=OBJECTS, registers=HOLDING)
    expected = bytes.fromhex(answer_hex)

    async def talk(line: Line) -> None:
        line.send(bytes.fromhex(request_hex))
        assert await line.take(len(expected)) == expected
        # nothing may follow the answer: the next one comes whole
        line.send(bytes.fromhex(VECTORS["7 function that does not exist"][0]))
        assert await line.take(9) == bytes.fromhex(VECTORS["7 function that does not exist"][1])

    on_line(target, talk)
