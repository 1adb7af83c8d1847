"""The setting list of a 220 kV stability control device, as CSV.

Frequencies, voltages and times lie where such devices have them; a station's
own values (line ratings, power limits) follow from the seed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

from firmware_sim.files.stream import Stream
from firmware_sim.settings import COLUMNS

_REVISED_SETTINGS = 3


@dataclass(frozen=True, slots=True)
class _Row:
    """One setting; numbers are given without their decimal point."""

    name: str
    value: int
    unit: str
    low: int
    high: int
    decimals: int = 0


def setting_list(seed: str, version: str = "") -> bytes:
    """Write the setting list of one station.

    Args:
        seed: Name of the station; decides ratings and limits, not the frequency stages.
        version: Another version moves a few of the station's values, as a revision does.

    Returns:
        CSV in UTF-8 with the heading number,name,value,unit,min,max.
    """
    rows = _revised(list(_rows(Stream("settings", seed))), Stream("settings", seed, version))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, row in enumerate(rows, start=1):
        texts = [_text(item, row.decimals) for item in (row.value, row.low, row.high)]
        writer.writerow((number, row.name, texts[0], row.unit, texts[1], texts[2]))
    return buffer.getvalue().encode()


def _revised(rows: list[_Row], stream: Stream) -> list[_Row]:
    """Raise or lower three of the power and current settings inside their range."""
    places = [index for index, row in enumerate(rows) if row.unit in {"A", "MW"}]
    for _ in range(_REVISED_SETTINGS):
        index = stream.pick(places)
        row = rows[index]
        moved = min(row.high, max(row.low, row.value + stream.between(-9, 9)))
        rows[index] = replace(row, value=moved)
    return rows


def _text(number: int, decimals: int) -> str:
    """Put the decimal point back."""
    if decimals == 0:
        return str(number)
    sign, digits = ("-" if number < 0 else ""), str(abs(number)).zfill(decimals + 1)
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def _rows(stream: Stream) -> Iterator[_Row]:
    """Give all settings in the order of their numbers."""
    yield from _device_rows(stream)
    yield from _frequency_rows(stream)
    yield from _voltage_rows(stream)
    yield from _step_rows(stream)
    yield from _line_rows(stream)
    yield from _power_rows(stream)


def _device_rows(stream: Stream) -> Iterator[_Row]:
    yield _Row("Station address", stream.between(1, 250), "", 1, 254)
    yield _Row("Nominal frequency", 5_000, "Hz", 4_500, 6_500, 2)
    yield _Row("Bus VT primary", 2_200, "kV", 10, 8_000, 1)
    yield _Row("Bus VT secondary", 1_000, "V", 500, 2_000, 1)
    yield _Row("Line CT primary", stream.pick((600, 800, 1_200)), "A", 50, 5_000)
    yield _Row("Line CT secondary", 1, "A", 1, 5)
    yield _Row("Sampling rate", 4_000, "1/s", 1_000, 4_800)
    yield _Row("Fault record before trigger", 200, "ms", 40, 1_000)
    yield _Row("Fault record after trigger", 4_000, "ms", 500, 10_000)
    yield _Row("Remote channel supervision time", 500, "ms", 100, 5_000)
    yield _Row("Remote channel voting", 2, "", 1, 3)
    yield _Row("Time source", 2, "", 1, 3)
    yield _Row("Local switch respected", 1, "", 0, 1)
    yield _Row("Main and standby agree", 1, "", 0, 1)
    yield _Row("Test mode", 0, "", 0, 1)


def _frequency_rows(stream: Stream) -> Iterator[_Row]:
    yield _Row("UFLS enabled", 1, "", 0, 1)
    for stage in range(1, 8):
        threshold = 4_900 - (stage - 1) * 20
        yield _Row(f"UFLS stage {stage} frequency", threshold, "Hz", 4_500, 4_950, 2)
        yield _Row(f"UFLS stage {stage} delay", 15, "s", 5, 1_000, 2)
        yield _Row(f"UFLS stage {stage} load", stream.between(12, 45), "MW", 0, 300)
    for stage in range(1, 3):
        yield _Row(f"UFLS special stage {stage} frequency", 4_925, "Hz", 4_500, 4_980, 2)
        yield _Row(f"UFLS special stage {stage} delay", 1_000 * stage, "s", 500, 6_000, 2)
    yield _Row("UFLS rate block", 50, "Hz/s", 10, 100, 1)
    yield _Row("UFLS acceleration stage 2 rate", 12, "Hz/s", 5, 100, 1)
    yield _Row("UFLS low voltage block", 600, "%", 300, 900, 1)
    yield _Row("Over-frequency trip enabled", 1, "", 0, 1)
    for stage in range(1, 5):
        yield _Row(f"OFGT stage {stage} frequency", 5_080 + 20 * stage, "Hz", 5_020, 5_500, 2)
        yield _Row(f"OFGT stage {stage} delay", 20, "s", 5, 1_000, 2)
        yield _Row(f"OFGT stage {stage} generation", stream.between(5, 30) * 10, "MW", 0, 1_200)


def _voltage_rows(stream: Stream) -> Iterator[_Row]:
    yield _Row("UVLS enabled", 1, "", 0, 1)
    for stage in range(1, 5):
        yield _Row(f"UVLS stage {stage} voltage", 900 - 25 * stage, "%", 500, 950, 1)
        yield _Row(f"UVLS stage {stage} delay", 20 + 30 * stage, "s", 10, 2_000, 2)
        yield _Row(f"UVLS stage {stage} load", stream.between(8, 30), "MW", 0, 300)
    yield _Row("UVLS rate block", 600, "%/s", 100, 1_000, 1)
    yield _Row("UVLS return voltage", 920, "%", 600, 1_000, 1)
    yield _Row("Over-voltage trip enabled", 1, "", 0, 1)
    for stage in range(1, 3):
        yield _Row(f"Over-voltage stage {stage} voltage", 1_150 + 100 * stage, "%", 1_050, 1_500, 1)
        yield _Row(f"Over-voltage stage {stage} delay", 60 // stage, "s", 5, 2_000, 2)


def _step_rows(stream: Stream) -> Iterator[_Row]:
    yield _Row("Out-of-step enabled", 1, "", 0, 1)
    yield _Row("Out-of-step voltage low limit", 500, "%", 200, 900, 1)
    yield _Row("Out-of-step angle start", 1_200, "deg", 600, 1_800, 1)
    yield _Row("Out-of-step cycles, trip", stream.between(2, 3), "", 1, 10)
    yield _Row("Out-of-step cycles, split", stream.between(3, 5), "", 1, 15)
    yield _Row("Out-of-step shortest period", 20, "s", 10, 200, 2)
    yield _Row("Out-of-step longest period", 250, "s", 100, 500, 2)
    yield _Row("Out-of-step impedance reach", stream.between(180, 420), "ohm", 10, 2_000, 1)


def _line_rows(stream: Stream) -> Iterator[_Row]:
    for line in range(1, 7):
        rating = stream.between(40, 62) * 10
        yield _Row(f"Line {line} rated current", rating, "A", 50, 3_000)
        yield _Row(f"Line {line} overload current", rating * 12 // 10, "A", 50, 4_000)
        yield _Row(f"Line {line} overload delay", stream.between(6, 20) * 100, "s", 10, 9_000, 2)
        yield _Row(f"Line {line} trip power before", stream.between(3, 12) * 10, "MW", 0, 1_000)
        yield _Row(f"Line {line} trip current after", stream.between(3, 8), "A", 1, 100)
        yield _Row(f"Line {line} start current step", stream.between(8, 20), "%", 1, 100)


def _power_rows(stream: Stream) -> Iterator[_Row]:
    for unit in range(1, 9):
        yield _Row(f"G{unit} may be tripped", int(stream.below(6) != 0), "", 0, 1)
        yield _Row(f"G{unit} trip priority", unit, "", 1, 8)
        yield _Row(f"G{unit} least power", stream.between(4, 12) * 10, "MW", 0, 700)
    yield _Row("Total generation trip limit", stream.between(6, 12) * 100, "MW", 0, 3_000)
    yield _Row("Total load shed limit", stream.between(2, 5) * 100, "MW", 0, 2_000)
    yield _Row("DC modulation enabled", 1, "", 0, 1)
    yield _Row("DC modulation up limit", stream.between(10, 30) * 10, "MW", 0, 1_000)
    yield _Row("DC modulation down limit", -stream.between(10, 30) * 10, "MW", -1_000, 0)
    yield _Row("DC modulation ramp", 100, "MW/s", 10, 999)
    yield _Row("Action report delay", 20, "ms", 0, 1_000)
