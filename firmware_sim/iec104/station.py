"""What a controlled station answers, request by request.

May live here: one ASDU in, an iterator of steps out, which the connection takes as it has room; nothing that opens a
socket. The table ``_replies`` says what the station understands. Commands, set points, parameters and the reset of the
process are unknown types to it: a simulated device cannot be switched over its telecontrol link.

Source: IEC 60870-5-101:2003, 7.4; IEC 60870-5-5:1995, 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

from firmware_sim.device import Device
from firmware_sim.iec104.faults import Disturbed, concerns, disturb
from firmware_sim.iec104.options import Iec104Options
from firmware_sim.iec104.points import Block, blocks, counters, find
from firmware_sim.iec104.steps import Reply
from wire.iec104.asdu import Asdu, ClockSynchronisation, CounterInterrogation, Interrogation, decode_asdu
from wire.iec104.errors import ParameterError, UnknownTypeError
from wire.iec104.responses import encode_point_asdus, mirror
from wire.iec104.time56 import Time56, time_of_epoch_ms
from wire.iec104.types import Cause, TypeId

BROADCAST: Final = 0xFFFF
_STATION: Final = 20
_GROUP_LAST: Final = 36
_COUNTER_GROUPS: Final = range(1, 5)
_COUNTERS_ALL: Final = 5
_ACTIVATIONS: Final = frozenset({int(Cause.ACTIVATION), int(Cause.DEACTIVATION)})
_REQUESTS: Final = frozenset({int(Cause.REQUEST)})
_FILE_CAUSES: Final = frozenset({int(Cause.REQUEST), int(Cause.FILE_TRANSFER)})


def common_address_of(device: Device, options: Iec104Options) -> int:
    """Return the common address of a device, 1..65534."""
    return options.common_address or device.unit_id or 1


class FileService(Protocol):
    """The files of one connection: select, call, segments, acknowledgements."""

    def answer(self, raw: bytes, asdu: Asdu) -> Iterator[bytes]:
        """Answer F_SC or F_AF."""


class DeviceClock:
    """The clock of a device, as its time tags show it; a clock synchronisation sets it."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._offset_ms = 0

    def now(self) -> Time56:
        """Return the time tag of now; invalid outside of the years that a tag can name."""
        try:
            return time_of_epoch_ms(self._device.now_ms() + self._offset_ms)
        except ParameterError:
            return Time56(0, 0, 0, 1, 0, 1, 0, is_invalid=True)

    def set(self, epoch_ms: int) -> None:
        """Set it."""
        self._offset_ms = epoch_ms - self._device.now_ms()


class Station:
    """One device as one connection sees it."""

    def __init__(self, device: Device, options: Iec104Options, clock: DeviceClock, files: FileService | None) -> None:
        """Prepare a station.

        Args:
            device: Whose points and files they are.
            options: What the scenario says.
            clock: The device's, shared by its connections.
            files: None where the device has no file service.
        """
        self._device = device
        self._options = options
        self._clock = clock
        self._files = files
        self._before = b""
        self.common_address: Final = common_address_of(device, options)
        self._replies: Final[Mapping[int, tuple[frozenset[int], Callable[[bytes, Asdu], Reply]]]] = {
            TypeId.C_IC_NA_1: (_ACTIVATIONS, self._interrogate),
            TypeId.C_CI_NA_1: (_ACTIVATIONS, self._interrogate_counters),
            TypeId.C_RD_NA_1: (_REQUESTS, self._read),
            TypeId.C_CS_NA_1: (frozenset({int(Cause.ACTIVATION)}), self._synchronise),
            TypeId.F_SC_NA_1: (_FILE_CAUSES, self._file),
            TypeId.F_AF_NA_1: (_FILE_CAUSES, self._file),
        }

    def answer(self, raw: bytes) -> Reply:
        """Answer one request.

        Args:
            raw: The ASDU that came; all of its head is there.

        Raises:
            AsduError: It is malformed, and so is whoever sent it: close the connection.
        """
        device = self._device
        device.counters.requests += 1
        before, self._before = self._before or raw, raw
        honest = self._plain(raw)
        fault = device.fault
        if fault is None or not concerns(fault, raw) or device.hit(raw[0]) is None:
            return honest
        return disturb(Disturbed(fault, raw, before, self._plain, device.restart))

    def _plain(self, raw: bytes) -> Reply:
        """Answer honestly.

        Raises:
            AsduError: It is malformed.
        """
        common_address = int.from_bytes(raw[4:6], "little")
        if common_address not in {self.common_address, BROADCAST}:
            return self._refused(raw, Cause.UNKNOWN_COMMON_ADDRESS)
        if raw[0] == TypeId.C_TS_TA_1:
            return iter((mirror(raw, Cause.ACTIVATION_CON),))
        try:
            asdu = decode_asdu(raw)
        except UnknownTypeError:
            return self._refused(raw, Cause.UNKNOWN_TYPE)
        entry = self._replies.get(asdu.head.type_id)
        if entry is None:
            return self._refused(raw, Cause.UNKNOWN_TYPE)
        causes, reply = entry
        if asdu.head.cause not in causes:
            return self._refused(raw, Cause.UNKNOWN_CAUSE)
        return reply(raw, asdu)

    def _refused(self, raw: bytes, cause: Cause) -> Reply:
        self._device.counters.exceptions += 1
        return iter((mirror(raw, cause, is_negative=True),))

    # --- interrogations -----------------------------------------------------------------------------------------

    def _interrogate(self, raw: bytes, asdu: Asdu) -> Reply:
        """Send every point of the station, or of one group."""
        if asdu.head.cause == Cause.DEACTIVATION:
            return iter((mirror(raw, Cause.DEACTIVATION_CON),))
        assert isinstance(asdu.element, Interrogation), "its type says so"
        qualifier = asdu.element.qualifier
        if not _STATION <= qualifier <= _GROUP_LAST:
            return self._refused(raw, Cause.ACTIVATION_CON)
        found = [
            block
            for block in blocks(self._device, self._options.extra_points)
            if qualifier in {_STATION, _STATION + block.group}
        ]
        return self._collected(raw, asdu, found, qualifier)

    def _interrogate_counters(self, raw: bytes, asdu: Asdu) -> Reply:
        """Send the counters; freezing and resetting them would change the device, and is refused."""
        if asdu.head.cause == Cause.DEACTIVATION:
            return iter((mirror(raw, Cause.DEACTIVATION_CON),))
        assert isinstance(asdu.element, CounterInterrogation), "its type says so"
        request = asdu.element.request
        if asdu.element.freeze or request not in {*_COUNTER_GROUPS, _COUNTERS_ALL}:
            return self._refused(raw, Cause.ACTIVATION_CON)
        found = [counters(self._device)] if request in {1, _COUNTERS_ALL} else []
        cause = Cause.COUNTERS_REQUESTED + (0 if request == _COUNTERS_ALL else request)
        return self._collected(raw, asdu, found, cause)

    def _collected(self, raw: bytes, asdu: Asdu, found: list[Block], cause: int) -> Reply:
        """Confirm, send the points as sequences, terminate."""
        yield mirror(raw, Cause.ACTIVATION_CON)
        for block in found:
            yield from encode_point_asdus(
                block.type_id,
                cause,
                self.common_address,
                block.points,
                is_sequence=True,
                originator=asdu.head.originator,
            )
        yield mirror(raw, Cause.ACTIVATION_TERMINATION)

    # --- single requests ----------------------------------------------------------------------------------------

    def _read(self, raw: bytes, asdu: Asdu) -> Reply:
        """Send the one point that was asked for."""
        found = find(self._device, asdu.address, self._options.extra_points)
        if found is None:
            return self._refused(raw, Cause.UNKNOWN_OBJECT_ADDRESS)
        originator = asdu.head.originator
        return encode_point_asdus(
            found.type_id, Cause.REQUEST, self.common_address, found.points, originator=originator
        )

    def _synchronise(self, raw: bytes, asdu: Asdu) -> Reply:
        """Take the time over into the device's clock."""
        assert isinstance(asdu.element, ClockSynchronisation), "its type says so"
        epoch_ms = asdu.element.time.epoch_ms()
        if epoch_ms is None:
            return self._refused(raw, Cause.ACTIVATION_CON)
        self._clock.set(epoch_ms)
        return iter((mirror(raw, Cause.ACTIVATION_CON),))

    def _file(self, raw: bytes, asdu: Asdu) -> Reply:
        """Hand over to the files."""
        if self._files is None:
            return self._refused(raw, Cause.UNKNOWN_TYPE)
        return self._files.answer(raw, asdu)
