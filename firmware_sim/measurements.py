"""Slowly moving measurements of a 220 kV bay: 32 numbers that each fit a signed register.

May live here: a pure function of seed and time, so that a test can name the value it expects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_MS_PER_S = 1_000
_PHASE_STEPS = 360


@dataclass(frozen=True, slots=True)
class Measurement:
    """One register that swings around a middle.

    Attributes:
        name: What is measured, unit and scale last.
        middle: Register value at rest, signed 16 bits.
        swing: Largest distance from the middle.
        period_s: Seconds of one swing.
        common: The same at every device, as the frequency of one grid is.
    """

    name: str
    middle: int
    swing: int
    period_s: int
    common: bool = False


MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement("frequency_centihz", 5000, 2, 47, common=True),
    Measurement("frequency_rate_mhz_per_s", 0, 12, 31, common=True),
    *(Measurement(f"bus_{bus}_voltage_{phase}_10v", 13280, 60, 97 + bus) for bus in (1, 2) for phase in "abc"),
    *(Measurement(f"line_{line}_active_power_100kw", 1450 * (-1) ** line, 90, 121 + line) for line in range(1, 7)),
    *(Measurement(f"line_{line}_reactive_power_100kvar", 210, 40, 151 + line) for line in range(1, 7)),
    *(Measurement(f"line_{line}_current_a", 385, 25, 121 + line) for line in range(1, 7)),
    Measurement("dc_power_mw", 1200, 15, 181),
    Measurement("spinning_reserve_mw", 640, 30, 211),
    Measurement("sheddable_load_mw", 415, 20, 241),
    Measurement("generation_to_trip_mw", 900, 25, 271),
    Measurement("device_temperature_tenth_c", 314, 18, 601),
    Measurement("supply_voltage_100mv", 2204, 9, 61),
)


def measurement_values(seed: int, now_ms: int) -> tuple[int, ...]:
    """Give all values at one moment.

    Args:
        seed: Shifts the phase of what is not common to the grid; 0 or more.
        now_ms: Milliseconds since any fixed moment.

    Returns:
        Signed 16-bit numbers in the order of ``MEASUREMENTS``.
    """
    values = []
    for index, item in enumerate(MEASUREMENTS):
        turn = 0 if item.common else (seed + index * 37) % _PHASE_STEPS
        angle = 2 * math.pi * (now_ms / (_MS_PER_S * item.period_s) + turn / _PHASE_STEPS)
        values.append(item.middle + round(item.swing * math.sin(angle)))
    return tuple(values)
