"""What the demo does to devices, and what the ledger must say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from client.demo.topology import DEMO, Topology
from client.node import Item

SETTING_NUMBER: Final = 17
SETTING_VALUE: Final = "48.50"
FLIPPED_OFFSET: Final = 70_000

ALL_KINDS: Final = ("firmware", "settings", "strategy")


@dataclass(frozen=True, slots=True)
class Expected:
    """The one alarm that a device must have."""

    device: str
    cause: str
    kinds: tuple[str, ...]
    """Artefacts that the alarm must list, sorted."""


@dataclass(frozen=True, slots=True)
class Tampering:
    """One call of the test bench."""

    title: str
    device: str
    action: Mapping[str, Any]
    expected: tuple[Expected, ...]
    """All alarms that must follow."""

    def describe(self, changes: Sequence[Item]) -> str:
        """Say in one line what the simulator answers that it changed."""
        first, device = changes[0], self.device
        match self.action:
            case {"fault": "wrong-identity"}:
                text = f"{device} gives another serial number"
            case {"action": "flip-byte", "artefact": artefact}:
                old, new = int(first["old_byte"]), int(first["new_byte"])
                text = f"byte {first['offset']} of the {artefact} of {device}: 0x{old:02X} -> 0x{new:02X}"
            case {"action": "change-setting"}:
                values = f"{first['old_value']} -> {first['new_value']} {first['unit']}"
                text = f"setting {first['number']} ({first['name']}) of {device}: {values}"
            case {"action": "change-back"}:
                value = f"{first['old_value']} {first['unit']}"
                text = f"setting {first['number']} ({first['name']}) of {device}: another value, then {value} again"
            case {"action": "truncate", "artefact": artefact, "size": size}:
                text = f"the {artefact} of {device} ends after {size} bytes"
            case {"action": "swap", "with": other}:
                text = f"{device} and {other} now hold each other's files"
            case _:
                files = (change for change in changes if "artefact" in change)
                loaded = (f"{file['artefact']} {file['old_version']} -> {file['new_version']}" for file in files)
                text = f"{device} takes other files: {', '.join(loaded)}"
        return text


def plan_tampering(topology: Topology) -> tuple[Tampering, ...]:
    """Choose five devices of the demo's consortium for four actions.

    Args:
        topology: Of at least two substations with three devices each.
    """
    first, second = topology.substations[0].devices, topology.substations[1].devices
    last = topology.substations[-1].devices
    swapped, other = second[1].id, last[2].id
    return (
        Tampering(
            "Tampering: one firmware byte flipped",
            first[0].id,
            {"action": "flip-byte", "artefact": "firmware", "offset": FLIPPED_OFFSET},
            (Expected(first[0].id, "mismatch", ("firmware",)),),
        ),
        Tampering(
            "Tampering: one setting changed",
            first[2].id,
            {"action": "change-setting", "number": SETTING_NUMBER, "value": SETTING_VALUE},
            (Expected(first[2].id, "mismatch", ("settings",)),),
        ),
        Tampering(
            "Tampering: two devices filled with each other's files",
            swapped,
            {"action": "swap", "with": other},
            (Expected(swapped, "misfilled", ALL_KINDS), Expected(other, "misfilled", ALL_KINDS)),
        ),
        Tampering(
            "Tampering: an old release loaded",
            last[0].id,
            {"action": "old-release"},
            (Expected(last[0].id, "superseded", ("firmware",)),),
        ),
    )


def differences(alarms: Sequence[Item], expected: Sequence[Expected]) -> tuple[list[str], int]:
    """Compare the alarms of one node with what they must be.

    Args:
        alarms: All alarms of the ledger, returned ones too.
        expected: All alarms that there must be.

    Returns:
        A sentence for each difference, and how many alarms nobody expects.
    """
    found: list[str] = []
    unexpected = 0
    left = list(alarms)
    for due in expected:
        fitting = [alarm for alarm in left if (alarm["device"], alarm["cause"]) == (due.device, due.cause)]
        if len(fitting) != 1:
            found.append(f"{due.device} has {len(fitting)} alarms of {due.cause}, one is due")
            unexpected += max(0, len(fitting) - 1)
        for alarm in fitting:
            left.remove(alarm)
        for alarm in fitting[:1]:
            kinds = tuple(sorted(str(entry["kind"]) for entry in alarm["artefacts"]))
            if alarm["state"] != "raised":
                found.append(f"the alarm of {due.device} is {alarm['state']}")
            if kinds != due.kinds:
                found.append(f"the alarm of {due.device} lists {', '.join(kinds)}; {', '.join(due.kinds)} are due")
    for alarm in left:
        found.append(f"{alarm['device']} has an alarm of {alarm['cause']} that nothing explains")
        unexpected += 1
    return found, unexpected


DEMO_TAMPERING: Final = plan_tampering(DEMO)
