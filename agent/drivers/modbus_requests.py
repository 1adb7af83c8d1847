"""What is asked of one Modbus device: registers, identification, records; each answer checked against its request.

pymodbus encodes and decodes registers and identification; framing and file records are in `agent.drivers.modbus_link`.

Source: MODBUS Application Protocol Specification V1.1b3, 6.3, 6.4, 6.14 and 6.21.
"""

from __future__ import annotations

import struct
from typing import Final

from pymodbus.exceptions import ModbusException
from pymodbus.pdu.mei_message import ReadDeviceInformationRequest, ReadDeviceInformationResponse
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
    ReadInputRegistersResponse,
)

from agent.drivers.errors import DeviceProtocolError
from agent.drivers.link import LinkCounters, LinkError
from agent.drivers.modbus_files import ILLEGAL_DATA_ADDRESS, FileRecords
from agent.drivers.modbus_line import Line
from agent.drivers.modbus_link import LinkLimits, exception_text
from agent.drivers.modbus_profile import ACCESS, ShownSpan, Span
from agent.drivers.text import device_text

IDENTITY_PAGES_MAX: Final = 32
TARGET_FAILED: Final = (10, 11)
_READ_FILE: Final = 20
_MORE_FOLLOWS: Final = 0xFF
_MEI_TYPE: Final = 14
_IDENTITY_HEADING_BYTES: Final = 6
_TABLES: Final[dict[str, tuple[type, type]]] = {
    "holding": (ReadHoldingRegistersRequest, ReadHoldingRegistersResponse),
    "input": (ReadInputRegistersRequest, ReadInputRegistersResponse),
}


class Requests:
    """Asks one device.

    Args:
        device: Identifier, for errors.
        line: The connection, which other devices may share.
        limits: How it is asked.
        registers_max: Registers that one request may ask for, 1..125.
    """

    def __init__(self, device: str, line: Line, limits: LinkLimits, registers_max: int) -> None:
        self.counters = LinkCounters()
        self._device = device
        self._line = line
        self._limits = limits
        self._registers_max = registers_max

    def refused(self, reason: str, detail: str) -> DeviceProtocolError:
        """Return the error of an answer that makes no sense."""
        return DeviceProtocolError(self._device, reason, detail)

    async def registers(self, span: Span) -> bytes:
        """Read registers as they are on the wire, two bytes each.

        Raises:
            DeviceProtocolError: An exception answer, or one of another length.
            LinkError: No answer, or an odd one.
        """
        parts = []
        for first in range(0, span.count, self._registers_max):
            count = min(self._registers_max, span.count - first)
            parts.append(await self._some_registers(span.table, span.address + first, count))
        return b"".join(parts)

    async def number(self, span: Span) -> int:
        """Read an unsigned number, the higher register first; errors as in `registers`."""
        return int.from_bytes(await self.registers(span), "big")

    async def shown(self, place: ShownSpan) -> str:
        """Read registers as the text that the profile makes of them; errors as in `registers`."""
        return shown_text(await self.registers(place.span()), place.format)

    async def records(self, transfer: FileRecords) -> tuple[str, ...]:
        """Read the records of a file with function 20; return the codes of what is wrong with it.

        Raises:
            DeviceProtocolError: An exception answer that does not just say that the file ends here.
            LinkError: No answer, or an odd one.
        """
        await self._line.read_file(self._limits, self.counters, transfer)
        transfer.flush()
        if transfer.code == 0:
            return ()
        if transfer.code == ILLEGAL_DATA_ADDRESS:
            return ("short-read",)
        raise self._exception(_READ_FILE, transfer.code)

    async def identification(self, access: str) -> dict[int, bytes]:
        """Read all identification objects of a category, page by page.

        Args:
            access: One of `ACCESS`.

        Raises:
            DeviceProtocolError: An exception answer, or pages that make no sense.
            LinkError: No answer, or an odd one.
        """
        objects: dict[int, bytes] = {}
        start = 0
        for _ in range(IDENTITY_PAGES_MAX):
            request = ReadDeviceInformationRequest(read_code=ACCESS[access], object_id=start)
            page = self._page(await self._ask(request.function_code, request.encode()), ACCESS[access])
            repeated = objects.keys() & page.information.keys()
            if repeated:
                raise self.refused("identity", f"sends identification object {min(repeated)} twice")
            objects.update(page.information)
            if page.more_follows != _MORE_FOLLOWS:
                return objects
            start = page.next_object_id
        raise self.refused("identity", f"sends more than {IDENTITY_PAGES_MAX} pages of identification")

    async def _ask(self, function: int, pdu: bytes) -> bytes:
        """Ask and return the answer behind its function code."""
        answer = await self._line.ask(self._limits, self.counters, bytes((function,)) + pdu)
        if answer[0] == function:
            return answer[1:]
        raise self._exception(function, answer[1])

    def _exception(self, function: int, code: int) -> DeviceProtocolError | LinkError:
        detail = f"FC{function} with {exception_text(code)}"
        if code in TARGET_FAILED:
            return LinkError("timeout", f"a gateway answers {detail}")
        return self.refused("exception", f"answers {detail}")

    async def _some_registers(self, table: str, address: int, count: int) -> bytes:
        ask, take = _TABLES[table]
        request, answer = ask(address=address, count=count), take()
        raw = await self._ask(request.function_code, request.encode())
        try:
            answer.decode(raw)
        except (ModbusException, struct.error, IndexError, ValueError):
            raise self.refused("wrong-length", "sends registers that end too early") from None
        if len(answer.registers) != count or len(raw) != 1 + 2 * count:
            raise self.refused("wrong-length", f"sends {len(raw) - 1} bytes for {count} registers")
        return struct.pack(f">{count}H", *answer.registers)

    def _page(self, raw: bytes, code: int) -> ReadDeviceInformationResponse:
        page = ReadDeviceInformationResponse()
        try:
            page.decode(raw)
        except (ModbusException, struct.error, IndexError, ValueError):
            raise self.refused("identity", "sends an identification that ends too early") from None
        if any(not isinstance(value, bytes) for value in page.information.values()):
            raise self.refused("identity", "sends an identification object twice in one page")
        # The decoder takes an object that is cut off for a shorter one: what it found must give the same bytes again.
        again = b"".join(bytes((key, len(value))) + value for key, value in page.information.items())
        counts = page.number_of_objects == len(page.information)
        if page.sub_function_code != _MEI_TYPE or again != raw[_IDENTITY_HEADING_BYTES:] or not counts:
            raise self.refused("identity", "sends an identification whose lengths do not add up")
        if raw[1] != code:
            raise self.refused("identity", f"sends an identification of category {raw[1]}, {code} was asked")
        return page


def shown_text(raw: bytes, form: str) -> str:
    """Return registers as text.

    Args:
        raw: Two bytes a register, the higher first.
        form: One of `agent.drivers.modbus_profile.FORMATS`.
    """
    if form == "text":
        return device_text(raw).strip()
    if form == "hex":
        return raw.hex()
    if form == "number":
        return str(int.from_bytes(raw, "big"))
    return ".".join(map(str, raw))
