"""What the connections of one device share: who transfers data, what changed unasked, what the clock says.

May live here: the redundancy group of a controlled station, without sockets. Of its connections one at a time is
started; what changes while none is, waits here, and what the one had not acknowledged when it went, is sent again.

Source: IEC 60870-5-104:2006, 10.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol

from firmware_sim.device import Device
from firmware_sim.iec104.files import Files
from firmware_sim.iec104.options import Iec104Options
from firmware_sim.iec104.points import GROUP_EXTRA, GROUP_MEASURED, Block, blocks, timed, with_time
from firmware_sim.iec104.station import DeviceClock, common_address_of
from wire.iec104.asdu import EndOfInitialisation
from wire.iec104.responses import encode_point_asdus, encode_response
from wire.iec104.types import Cause

EVENTS_MAX: Final = 1_000
"""ASDUs that wait for a connection; the oldest is lost when one more comes, as in the devices themselves."""
_POWER_ON: Final = 0


def _packed(block: Block) -> array[int]:
    """Give value and quality of each point in one number."""
    return array("q", [point.value << 16 | point.quality for point in block.points])


class Member(Protocol):
    """A connection, as the group sees it."""

    def deactivate(self) -> None:
        """Stop transferring data, since another connection of the group has begun."""

    def wake(self) -> None:
        """Send what waits, as far as there is room."""


class Group:
    """All connections of one device."""

    def __init__(self, device: Device, options: Iec104Options) -> None:
        """Begin with a device that was switched on."""
        self.device: Final = device
        self.options: Final = options
        self.clock: Final = DeviceClock(device)
        self._since = self.clock.now()
        self.active: list[Member] = []
        self.lost_events = 0
        self._events: deque[bytes] = deque()
        self._common_address = common_address_of(device, options)
        self._known: dict[int, array[int]] = {}
        """By first address of a block what its points were, packed: a bench has thousands of devices."""
        self.restarted()

    def restarted(self) -> None:
        """Forget what was on its way, and announce the end of the initialisation."""
        self._events.clear()
        self._known = {block.points[0].address: _packed(block) for block in self._blocks()}
        self._add([encode_response(EndOfInitialisation(_POWER_ON, is_changed=False), self._common_address)])

    def files(self) -> Files | None:
        """Give a connection its file service, None where the device has none."""
        if not self.options.has_files:
            return None
        return Files(self.device, self.options, self._since, self._common_address)

    def activate(self, member: Member) -> None:
        """Let a connection transfer data; in one group it is the only one."""
        if self.options.has_group:
            for other in self.active:
                if other is not member:
                    other.deactivate()
            self.active.clear()
        if member not in self.active:
            self.active.append(member)

    def leave(self, member: Member, unconfirmed: Iterable[bytes]) -> None:
        """Take back a connection that stopped, and the events that it sent in vain."""
        if member in self.active:
            self.active.remove(member)
        self._events.extendleft(reversed(list(unconfirmed)))
        self._trim()
        for other in self.active:
            other.wake()

    def take_event(self) -> bytes | None:
        """Give the oldest event that waits."""
        return self._events.popleft() if self._events else None

    def look(self, *, measured: bool) -> None:
        """Report every point that is another than when it was looked at last.

        Args:
            measured: Measured values, too, which move all the time.
        """
        now = self.clock.now()
        for block in self._blocks():
            if block.group == GROUP_EXTRA or (block.group == GROUP_MEASURED and not measured):
                continue
            packed, first = _packed(block), block.points[0].address
            before, self._known[first] = self._known[first], packed
            changed = tuple(point for point, new, old in zip(block.points, packed, before, strict=True) if new != old)
            if changed:
                tagged = with_time(changed, now)
                type_id = timed(block.type_id)
                self._add(encode_point_asdus(type_id, Cause.SPONTANEOUS, self._common_address, tagged))
        for member in self.active:
            member.wake()

    def _blocks(self) -> Iterable[Block]:
        return blocks(self.device)

    def _add(self, events: Iterable[bytes]) -> None:
        self._events.extend(events)
        self._trim()

    def _trim(self) -> None:
        while len(self._events) > EVENTS_MAX:
            self._events.popleft()
            self.lost_events += 1
