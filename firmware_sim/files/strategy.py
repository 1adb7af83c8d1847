"""A strategy table: fault x operating mode -> which generators, loads and DC power to move.

CSV in UTF-8, one action row a line. Lists inside a cell are separated by
semicolons, loads are ``feeder:MW``. ``dc_modulation_mw`` is signed, rising positive.
"""

from __future__ import annotations

import csv
import io

from firmware_sim.files.stream import Stream

COLUMNS = (
    "row",
    "fault_code",
    "element",
    "fault",
    "mode_code",
    "operating_mode",
    "flow_above_mw",
    "trip_generators",
    "shed_load_mw",
    "dc_modulation_mw",
    "delay_ms",
    "enabled",
)

MODES = (
    ("M1", "summer peak, all lines in service"),
    ("M2", "summer valley, all lines in service"),
    ("M3", "winter peak, all lines in service"),
    ("M4", "winter valley, all lines in service"),
    ("M5", "line 1 in maintenance"),
    ("M6", "line 3 in maintenance"),
    ("M7", "DC link at reduced power"),
    ("M8", "island with the eastern network"),
)

FAULTS = (
    ("permanent three-phase fault", 3),
    ("permanent phase-to-phase fault", 2),
    ("single-phase fault with failed reclosing", 1),
    ("trip without fault", 1),
)

ELEMENTS = (
    *(f"220 kV line {line}" for line in range(1, 7)),
    "220 kV lines 1 and 2 on one tower",
    "220 kV lines 3 and 4 on one tower",
    "transformer T1",
    "transformer T2",
    "DC link, one pole blocked",
    "DC link, both poles blocked",
)

_GENERATORS = tuple(f"G{number}" for number in range(1, 9))
_FEEDERS = tuple(f"F{number:02d}" for number in range(1, 25))
_SEVERE = 2
_ROWS_PER_REVISED = 24


def strategy_table(seed: str, version: str = "") -> bytes:
    """Write the table of one station: 12 elements x 4 faults x 8 modes, 384 rows.

    Args:
        seed: Name of the station; another seed gives other flows and actions.
        version: Another version changes about one row in 24.
    """
    station = Stream("strategy", seed)
    released = Stream("strategy", seed, version)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    row = 0
    for place, element in enumerate(ELEMENTS, start=1):
        for kind, (fault, severity) in enumerate(FAULTS, start=1):
            for mode, description in MODES:
                row += 1
                code = f"F{place:02d}{kind}"
                dc_fault = element.startswith("DC")
                action = _action(station, severity, dc_fault=dc_fault)
                if released.below(_ROWS_PER_REVISED) == 0:
                    action = _action(released, severity, dc_fault=dc_fault)
                writer.writerow((row, code, element, fault, mode, description, *action))
    return buffer.getvalue().encode()


def _action(stream: Stream, severity: int, *, dc_fault: bool) -> tuple[str | int, ...]:
    """Choose what one row does; a severe fault takes more."""
    flow = stream.between(8, 30) * 10
    units = sorted({stream.pick(_GENERATORS) for _ in range(stream.below(severity + 1))})
    feeders = sorted({stream.pick(_FEEDERS) for _ in range(stream.below(severity * 2))})
    loads = [f"{feeder}:{stream.between(4, 40)}" for feeder in feeders]
    dc_mw = 0 if dc_fault or severity < _SEVERE else stream.between(-30, 30) * 10
    delay_ms = stream.pick((0, 20, 50, 100, 150))
    enabled = "no" if stream.below(20) == 0 else "yes"
    return flow, ";".join(units), ";".join(loads), dc_mw, delay_ms, enabled
