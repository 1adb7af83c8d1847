"""The fault catalogue: every way in which a simulated device can be wrong, as data.

May live here: the table ``CATALOGUE`` and the values that name one of its lines; what a fault does stands elsewhere.
A fault that changes ``bytes`` is an action on the files (``firmware_sim.tamper``), sometimes with a condition of the
device beside it; ``identity`` and ``clock`` are conditions that every protocol shows; what a fault of the ``link``
does on the wire stands in the protocol's own folder. Each line is documented in docs/guides/simulator.md under its
name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

BYTES: Final = "bytes"
LINK: Final = "link"
IDENTITY: Final = "identity"
CLOCK: Final = "clock"

MODBUS: Final = "modbus"
IEC104: Final = "iec104"
MMS: Final = "mms"
ALL: Final = (MODBUS, IEC104, MMS)

DELAY_MS_DEFAULT: Final = 5_000
DELAY_MS_MAX: Final = 600_000
REQUESTS_MAX: Final = 1_000_000_000
OFFSET_MS_DEFAULT: Final = -3_600_000
OFFSET_MS_MAX: Final = 10 * 365 * 86_400_000

OFFLINE: Final = "offline"
HALF_OPEN: Final = "half-open"
SINGLE_CONNECTION: Final = "single-connection"
RESTART_IN_TRANSFER: Final = "restart-in-transfer"
LYING_CHECKSUM: Final = "lying-checksum"
CHANGING_FILE: Final = "changing-file"
WRONG_IDENTITY: Final = "wrong-identity"
WRONG_CLOCK: Final = "wrong-clock"

NO_MISMATCH: Final = "no-mismatch"
"""Expected of a fault that leaves the bytes alone: no verdict against them; match, stale, unreachable are all right."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the catalogue.

    Attributes:
        about: What the device does, in one sentence.
        changes: ``bytes``, ``link``, ``identity`` or ``clock``.
        protocols: In which it exists.
        verdict: What the next complete poll must lead to when files are read in full: a verdict of the design's
            section 7, or ``no-mismatch``.
        action: Action of ``firmware_sim.tamper`` that brings it about, with its fields; empty where there is none.
        condition: The device keeps it as a fault in force until it is cleared.
        delay_ms: Used when none is given.
        requests: Used when none is given; None is without an end.
    """

    about: str
    changes: str
    protocols: tuple[str, ...]
    verdict: str
    action: Mapping[str, str | int] = field(default_factory=lambda: MappingProxyType({}))
    condition: bool = True
    delay_ms: int = DELAY_MS_DEFAULT
    requests: int | None = None


def _tampered(
    about: str,
    verdict: str,
    action: Mapping[str, str | int],
    protocols: tuple[str, ...] = ALL,
    *,
    condition: bool = False,
) -> Entry:
    return Entry(about, BYTES, protocols, verdict, MappingProxyType(dict(action)), condition)


def _on_line(about: str, *protocols: str, delay_ms: int = DELAY_MS_DEFAULT, requests: int | None = None) -> Entry:
    return Entry(about, LINK, protocols, NO_MISMATCH, delay_ms=delay_ms, requests=requests)


CATALOGUE: Final[Mapping[str, Entry]] = MappingProxyType(
    {
        "changed-byte": _tampered("one byte of the firmware differs", "mismatch", {"action": "flip-byte"}),
        "changed-setting": _tampered(
            "one setting has another value, in the list and in its register", "mismatch", {"action": "change-setting"}
        ),
        "swapped-files": _tampered("two devices hold each other's files", "misfilled", {"action": "swap"}),
        "old-release": _tampered("the files of an earlier release", "superseded", {"action": "old-release"}),
        "truncated-file": _tampered(
            "a file ends early, its directory entry keeps the old size",
            "incomplete",
            {"action": "truncate"},
            (MODBUS, IEC104),  # an MMS server's directory always tells the true size
        ),
        "changed-back": _tampered(
            "a setting is changed and changed back at once; the revision counter counts both",
            "altered_between_polls",
            {"action": "change-back"},
        ),
        LYING_CHECKSUM: _tampered(
            "one byte differs, the device still reports the checksum of the file that was loaded",
            "mismatch",
            {"action": "flip-byte"},
            condition=True,
        ),
        CHANGING_FILE: Entry("every part of a file that is read differs from the last time", BYTES, ALL, "mismatch"),
        WRONG_IDENTITY: Entry("another serial number", IDENTITY, ALL, "identity_changed"),
        WRONG_CLOCK: Entry("the device's clock is wrong by offset_ms", CLOCK, ALL, NO_MISMATCH),
        "slow": _on_line("every answer takes delay_ms", MODBUS, IEC104, MMS, delay_ms=20),
        "late": _on_line("every answer comes delay_ms late, later than a client waits", MODBUS, IEC104, MMS),
        "never": _on_line("no answer, the connection stays open", MODBUS, IEC104, MMS),
        "busy": _on_line("answers that it is busy", MODBUS, IEC104),
        "failure": _on_line("answers that it failed", MODBUS),
        SINGLE_CONNECTION: _on_line("takes one connection at a time, others are closed at once", MODBUS, IEC104, MMS),
        "mixed-transactions": _on_line("answers with the answer to the request before", MODBUS, IEC104, MMS),
        "wrong-transaction": _on_line("answers under the next transaction id", MODBUS),
        "wrong-unit": _on_line("answers under the next unit id, or common address", MODBUS, IEC104),
        "wrong-function": _on_line("answers under another function code, or type identification", MODBUS, IEC104),
        "wrong-sequence": _on_line("skips a send number in every frame", IEC104),
        "wrong-section-checksum": _on_line("closes every section of a file with a wrong checksum", IEC104),
        HALF_OPEN: _on_line(
            "the connection goes dead without being closed; a new one works", MODBUS, IEC104, MMS, requests=1
        ),
        RESTART_IN_TRANSFER: _on_line(
            "restarts in the middle of a file and is away for delay_ms", MODBUS, IEC104, MMS, delay_ms=500, requests=1
        ),
        "oversize-length": _on_line("announces far more bytes than follow", MODBUS, IEC104, MMS),
        "too-long": _on_line("sends more bytes than were asked for, all announced", MODBUS, IEC104),
        "too-short": _on_line("a whole frame, but the last half of the answer is missing", MODBUS, IEC104, MMS),
        "cut-frame": _on_line("the first half of the frame, then nothing", MODBUS, IEC104, MMS),
        "garbage": _on_line("bytes that are no frame of the protocol", MODBUS, IEC104, MMS),
        "close": _on_line("closes the connection instead of answering", MODBUS, IEC104, MMS),
        OFFLINE: _on_line("closes all connections, and each new one at once", *ALL),
    }
)
"""Every fault by name. A server that learns one of the link adds its protocol to the line."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault as it was set on a device.

    Attributes:
        kind: A key of ``CATALOGUE``.
        delay_ms: How late or how long, 1..600,000; None takes the catalogue's.
        functions: Modbus function codes, or IEC 104 type identifications, that are hit; empty means all.
        requests: How many requests are hit before the fault ends by itself; None takes the catalogue's.
        offset_ms: How far the clock is off, for ``wrong-clock``; ten years at most.
    """

    kind: str
    delay_ms: int | None = None
    functions: frozenset[int] = frozenset()
    requests: int | None = None
    offset_ms: int = OFFSET_MS_DEFAULT

    def __post_init__(self) -> None:
        """Take what was not given from the catalogue, refuse what has no meaning.

        Raises:
            ValueError: Unknown kind, or a number out of its range.
        """
        entry = CATALOGUE.get(self.kind)
        if entry is None:
            raise ValueError(f"unknown fault {self.kind!r}, expected one of {', '.join(sorted(CATALOGUE))}")
        if self.delay_ms is None:
            object.__setattr__(self, "delay_ms", entry.delay_ms)
        if self.requests is None:
            object.__setattr__(self, "requests", entry.requests)
        if not 1 <= self.hold_ms <= DELAY_MS_MAX:
            raise ValueError(f"delay_ms is {self.delay_ms}, expected 1..{DELAY_MS_MAX}")
        if any(not 1 <= function <= 127 for function in self.functions):  # noqa: PLR2004 - V1.1b3, 4.1; 60870-5-101, 7.2.1
            raise ValueError("functions holds a number outside 1..127")
        if self.requests is not None and not 1 <= self.requests <= REQUESTS_MAX:
            raise ValueError(f"requests is {self.requests}, expected 1..{REQUESTS_MAX}")
        if abs(self.offset_ms) > OFFSET_MS_MAX:
            raise ValueError(f"offset_ms is {self.offset_ms}, expected at most {OFFSET_MS_MAX} either way")

    @property
    def hold_ms(self) -> int:
        """``delay_ms`` with the catalogue's word where none was given."""
        assert self.delay_ms is not None
        return self.delay_ms


def link_faults(protocol: str) -> frozenset[str]:
    """Name the faults of the link that exist in ``protocol``: its server must know them all."""
    return frozenset(name for name, entry in CATALOGUE.items() if entry.changes == LINK and protocol in entry.protocols)
