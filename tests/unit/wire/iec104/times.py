"""A time of day as tests know it."""

from __future__ import annotations

from wire.iec104.time56 import Time56

# 23 November 2026, a Monday, 13:37:42.123
TIME = Time56(42_123, 37, 13, 23, 1, 11, 26)
TIME_OCTETS = "8b a4 25 0d 37 0b 1a"
TIME_MS = 1_795_441_062_123
