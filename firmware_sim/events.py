"""The timeline of a scenario: what happens to which devices, and when.

May live here: the schema of ``[[event]]`` and the plan that follows from it; a pure function of the time that passed
since the start. An event is an action as the control port takes it (``firmware_sim.tamper.ACTIONS``):

[[event]]
at_s = 30
devices = ["sc-lakeside-*"]
action = "change-setting"
number = 17
value = "48.50"

[[event]]
at_s = 60
every_s = 300
times = 10
devices = ["sc-lakeside-1"]
action = "fault"
fault = "late"
requests = 20
"""

from __future__ import annotations

import fnmatch
import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from firmware_sim.errors import UnknownDeviceError
from kit.config import rule

EVENTS_MAX: Final = 10_000
AT_S_MAX: Final = 366 * 86_400
ACTION_NAME: Final = 32
_MS_PER_S = 1_000
_PLAN: Final = frozenset({"at_s", "every_s", "times", "devices"})
_KEYS: Final = {"with_device": "with"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTable:
    """Table ``[[event]]``: when and whom; the other keys are those of the action.

    Attributes:
        at_s: Seconds after the devices began to listen.
        every_s: Again after so many seconds; without it, once.
        times: How often in all; without it, for ever.
        devices: Names of devices, ``*`` and ``?`` stand for any text and any character; without it, all devices.
        action: A key of ``firmware_sim.tamper.ACTIONS``.
    """

    at_s: float = field(metadata=rule(minimum=0, maximum=AT_S_MAX))
    every_s: float | None = field(default=None, metadata=rule(maximum=AT_S_MAX))
    times: int | None = field(default=None, metadata=rule(minimum=1, maximum=1_000_000_000))
    devices: tuple[str, ...] = field(default=("*",), metadata=rule(minimum=1, maximum=EVENTS_MAX))
    action: str = field(metadata=rule(maximum=ACTION_NAME))
    artefact: str | None = None
    offset: int | None = None
    mask: int | None = None
    seed: str | None = None
    number: int | None = None
    value: str | None = None
    force: bool | None = None
    with_device: str | None = field(default=None, metadata=rule(key="with"))
    release: str | None = None
    size: int | None = None
    group: int | None = None
    down_ms: int | None = None
    fault: str | None = None
    delay_ms: int | None = None
    offset_ms: int | None = None
    functions: tuple[int, ...] | None = None
    requests: int | None = None

    def __post_init__(self) -> None:
        """Check what spans several keys.

        Raises:
            ValueError: A repetition without a pause, or a number of times without a repetition.
        """
        if self.every_s is not None and self.every_s <= 0:
            raise ValueError("every_s is not above 0")
        if self.times is not None and self.every_s is None:
            raise ValueError("times needs every_s")

    def body(self) -> dict[str, Any]:
        """Give the action as the control port takes it."""
        found = {_KEYS.get(item.name, item.name): getattr(self, item.name) for item in fields(self)}
        listed = {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}
        return {key: value for key, value in listed.items() if key not in _PLAN and value is not None}

    def names(self, all_names: Iterable[str]) -> list[str]:
        """Choose the devices that are meant, in the order of the scenario.

        Raises:
            UnknownDeviceError: There is none.
        """
        found = [name for name in all_names if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.devices)]
        if not found:
            raise UnknownDeviceError(f"no device is called {', '.join(self.devices)}")
        return found


@dataclass(slots=True)
class Planned:
    """One event and what became of it so far.

    Attributes:
        table: As the scenario has it.
        done: How often it happened.
        refused: How often an action was refused.
        last_error: Why, the last time; empty if never.
    """

    table: EventTable
    done: int = 0
    refused: int = 0
    last_error: str = ""


class Timeline:
    """Says which events are due."""

    def __init__(self, tables: Sequence[EventTable]) -> None:
        """Plan from the start on."""
        self.planned = [Planned(table) for table in tables]
        self._due = [(round(table.at_s * _MS_PER_S), index) for index, table in enumerate(tables)]
        heapq.heapify(self._due)

    @property
    def next_ms(self) -> int | None:
        """Milliseconds after the start at which the next event is due; None when there is none left."""
        return self._due[0][0] if self._due else None

    def take(self, elapsed_ms: int) -> Planned | None:
        """Give the next event that is due, or None; one that repeats is planned anew."""
        if not self._due or self._due[0][0] > elapsed_ms:
            return None
        at_ms, index = heapq.heappop(self._due)
        found = self.planned[index]
        found.done += 1
        table = found.table
        if table.every_s is not None and (table.times is None or found.done < table.times):
            heapq.heappush(self._due, (at_ms + max(1, round(table.every_s * _MS_PER_S)), index))
        return found

    def describe(self) -> list[Mapping[str, Any]]:
        """Show the events as the control port does."""
        return [
            {
                "at_s": item.table.at_s,
                "every_s": item.table.every_s,
                "times": item.table.times,
                "devices": list(item.table.devices),
                **item.table.body(),
                "done": item.done,
                "refused": item.refused,
                "last_error": item.last_error,
            }
            for item in self.planned
        ]
