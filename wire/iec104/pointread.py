"""Reads points: by interrogation of a station or group, or one by one (docs/spec, clauses IC-21 and IC-22).

The caller sends the requests that come out, gives every ASDU that comes in, and decides how long it waits.

Source: IEC 60870-5-5:1995, 6.6; IEC 60870-5-101:2003, 7.2.6.22, 7.2.6.23 and 7.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from wire.iec104.asdu import Asdu, CounterInterrogation, Interrogation, ReadCommand
from wire.iec104.errors import NOT_READY, REFUSED, WRONG_LENGTH, InterrogationError
from wire.iec104.points import Point
from wire.iec104.requests import Interrogate, InterrogateCounters, ReadPoint
from wire.iec104.types import Cause

POINTS_MAX: Final = 200_000
"""Points that one interrogation may bring."""
_COUNTERS_ALL: Final = 5

Typed = tuple[int, Point]
"""Type identification and point."""


class InterrogationReader:
    """Collects what an interrogation brings between its confirmation and its termination."""

    def __init__(self, request: Interrogate | InterrogateCounters, *, points_max: int = POINTS_MAX) -> None:
        """Prepare the interrogation; `begin` gives the request.

        Args:
            request: Of points or of counters.
            points_max: More are refused.
        """
        self._request = request
        self._points_max = points_max
        if isinstance(request, Interrogate):
            self._cause = request.qualifier
            self._element: Interrogation | CounterInterrogation = Interrogation(request.qualifier)
        else:
            self._cause = Cause.COUNTERS_REQUESTED + request.group % _COUNTERS_ALL
            self._element = CounterInterrogation(request.group, 0)
        self._is_confirmed = False
        self.points: dict[int, Typed] = {}
        """By address; the last one where an address came twice."""
        self.answers = 0
        """ASDUs that were taken, so that a caller sees whether the interrogation goes on."""
        self.is_done = False

    def begin(self) -> Interrogate | InterrogateCounters:
        """Return the request."""
        return self._request

    def take(self, asdu: Asdu) -> None:
        """Take what came; spontaneous points and other stations are passed over.

        Raises:
            InterrogationError: It is refused, another one is confirmed, something comes out of its order, or too
                many points come.
        """
        head = asdu.head
        if head.common_address != self._request.common_address:
            return
        if isinstance(asdu.element, (Interrogation, CounterInterrogation)):
            self._take_confirmation(asdu)
        elif asdu.points and head.cause == self._cause:
            if self.is_done or not self._is_confirmed:
                raise InterrogationError(f"points come while no interrogation {self._cause} is under way")
            self.points.update([(point.address, (head.type_id, point)) for point in asdu.points])
            if len(self.points) > self._points_max:
                raise InterrogationError(f"more than {self._points_max} points come", code=WRONG_LENGTH)
        else:
            return
        self.answers += 1

    def missing(self, addresses: Iterable[int]) -> list[int]:
        """Return which of some addresses did not come, in their order."""
        return [address for address in addresses if address not in self.points]

    def _take_confirmation(self, asdu: Asdu) -> None:
        head = asdu.head
        if head.is_negative or head.cause >= Cause.UNKNOWN_TYPE:
            code = REFUSED if head.cause >= Cause.UNKNOWN_TYPE else NOT_READY
            raise InterrogationError(f"interrogation {self._cause} is refused with cause {head.cause}", code=code)
        is_due = (head.cause == Cause.ACTIVATION_CON and not self._is_confirmed) or (
            head.cause == Cause.ACTIVATION_TERMINATION and self._is_confirmed and not self.is_done
        )
        if asdu.element != self._element or not is_due:
            raise InterrogationError(f"{asdu.element} comes with cause {head.cause}, which is not due")
        self.is_done = self._is_confirmed
        self._is_confirmed = True


class PointReader:
    """Asks for points one after the other."""

    def __init__(self, common_address: int, addresses: Sequence[int]) -> None:
        """Prepare the read; `begin` gives the first request.

        Args:
            common_address: 1..65535.
            addresses: At least one, each 0..16777215, each once.
        """
        self._common_address = common_address
        self._addresses = addresses
        self.points: dict[int, Typed] = {}
        """By address."""

    @property
    def answers(self) -> int:
        """Points that were taken, so that a caller sees whether the read goes on."""
        return len(self.points)

    @property
    def is_done(self) -> bool:
        """Tell whether all points have come."""
        return len(self.points) == len(self._addresses)

    def begin(self) -> ReadPoint:
        """Return the next request."""
        return ReadPoint(self._common_address, self._addresses[len(self.points)])

    def take(self, asdu: Asdu) -> ReadPoint | None:
        """Take what came and return what to ask next; spontaneous points and other stations are passed over.

        Raises:
            InterrogationError: The point is refused, or another one comes as requested.
        """
        head = asdu.head
        is_refusal = isinstance(asdu.element, ReadCommand)
        if head.common_address != self._common_address or not (is_refusal or head.cause == Cause.REQUEST):
            return None
        due = -1 if self.is_done else self._addresses[len(self.points)]
        if is_refusal:
            raise InterrogationError(f"point {due} is refused with cause {head.cause}", code=REFUSED)
        if not asdu.points:
            return None
        if [point.address for point in asdu.points] != [due]:
            raise InterrogationError(f"point {asdu.address} comes, point {due} was asked for")
        self.points[due] = head.type_id, asdu.points[0]
        return None if self.is_done else self.begin()
