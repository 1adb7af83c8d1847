"""How long loads last; GRIDWITNESS_BENCH_SHORTER=N divides it by N, for a quick look at the whole group."""

from __future__ import annotations

import os
from typing import Final

VARIABLE: Final = "GRIDWITNESS_BENCH_SHORTER"
SECONDS_MIN: Final = 3


def shortened(seconds: int) -> int:
    """Return so many seconds, or the part of them that the environment asks for, at least three."""
    divisor = int(os.environ.get(VARIABLE) or 1)
    return seconds if divisor <= 1 else max(SECONDS_MIN, seconds // divisor)
