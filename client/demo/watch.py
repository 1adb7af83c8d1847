"""Watches the event streams of all full nodes with one clock: this process's monotonic one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from client.commands.alarms import ALARM_EVENTS
from client.node import Item
from kit.exitcodes import GridwitnessError, TryAgainError
from kit.http import NodeClient

CHECK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Sighting:
    """An alarm event as one node showed it."""

    member: str
    event_id: str
    type: str
    device: str
    """Or gateway, when the alarm is about none of its devices."""
    cause: str
    alarm_id: str
    at_s: float
    """When it arrived here, seconds of the monotonic clock."""
    document: Item


class AlarmWatch:
    """Follows /v1/events of several nodes until the ``with`` block ends.

    Args:
        urls: Base address by member.
        after: Events up to here are of no interest: ``height-index``, or a height for all of its events.
        on_sighting: Called from the streams' threads.
    """

    def __init__(
        self,
        urls: Mapping[str, str],
        after: str,
        on_sighting: Callable[[Sighting], None] = lambda _: None,
    ) -> None:
        self._urls = dict(urls)
        self._after = after
        self._on_sighting = on_sighting
        self._sightings: list[Sighting] = []
        self._errors: list[str] = []
        self._changed = threading.Condition()
        self._stopping = False

    def __enter__(self) -> Self:
        """Open one stream a node, each in a thread of its own."""
        for member, url in self._urls.items():
            threading.Thread(target=self._follow, args=(member, url), name=f"watch-{member}", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the threads end at their next event."""
        self._stopping = True

    def sightings(self) -> list[Sighting]:
        """Return what was seen so far, in the order of arrival."""
        with self._changed:
            return list(self._sightings)

    def wait_raised(
        self,
        device: str,
        cause: str,
        since_s: float,
        within_s: float,
        check: Callable[[], None],
    ) -> dict[str, Sighting]:
        """Wait until every node has raised an alarm.

        Args:
            device: Of this device.
            cause: For this cause.
            since_s: Nothing that arrived before counts; seconds of the monotonic clock.
            within_s: Deadline in seconds.
            check: Called while waiting; raises when waiting is pointless.

        Returns:
            The first sighting at each node, by member.

        Raises:
            TryAgainError: Not all nodes raised it in time; the message says what came instead.
        """
        deadline_s = time.monotonic() + within_s
        with self._changed:
            while True:
                found: dict[str, Sighting] = {}
                for seen in self._sightings:
                    fits = seen.type == "alarm_raised" and (seen.device, seen.cause) == (device, cause)
                    if fits and seen.at_s >= since_s:
                        found.setdefault(seen.member, seen)
                if len(found) == len(self._urls):
                    return found
                if self._errors:
                    raise TryAgainError(f"an event stream ended: {self._errors[0]}")
                if time.monotonic() >= deadline_s:
                    raise TryAgainError(self._explain(device, cause, since_s, within_s))
                self._changed.wait(CHECK_S)
                check()

    def _explain(self, device: str, cause: str, since_s: float, within_s: float) -> str:
        came = {f"{seen.device} {seen.cause} {seen.type}" for seen in self._sightings if seen.at_s >= since_s}
        instead = f"; what came: {', '.join(sorted(came))}" if came else "; no alarm came"
        return f"not all {len(self._urls)} nodes raised {cause} of {device} within {within_s:g} s{instead}"

    def _follow(self, member: str, url: str) -> None:
        try:
            with NodeClient([url]) as client:
                for event in client.events(after=self._after, unreachable_ms_max=None):
                    at_s = time.monotonic()
                    if self._stopping:
                        return
                    if event.type in ALARM_EVENTS:
                        self._note(member, event.id, event.type, event.json(), at_s)
        except GridwitnessError as error:
            with self._changed:
                self._errors.append(f"{member}: {error}")
                self._changed.notify_all()

    def _note(self, member: str, event_id: str, kind: str, document: Item, at_s: float) -> None:
        data = document["data"]
        seen = Sighting(
            member=member,
            event_id=event_id,
            type=kind,
            device=str(data["device"] or data["gateway"]),
            cause=str(data["cause"]),
            alarm_id=str(data["alarm_id"]),
            at_s=at_s,
            document=document,
        )
        with self._changed:
            self._sightings.append(seen)
            self._changed.notify_all()
        self._on_sighting(seen)
