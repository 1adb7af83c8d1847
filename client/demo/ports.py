"""Free TCP ports of this machine, outside the range from which outgoing connections take theirs.

A port from the ephemeral range may be taken by any outgoing connection while a killed program is down, so that its
restart would fail.
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from kit.exitcodes import TryAgainError

LOOPBACK: Final = "127.0.0.1"
_LOWEST: Final = 15_000
_HIGHEST: Final = 65_000
_EPHEMERAL_FIRST: Final = 32_768
_RANGE_FILE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ATTEMPTS_MAX: Final = 2_000


def free_ports(count: int) -> tuple[int, ...]:
    """Find ports on the loopback address that nobody listens on.

    Args:
        count: 1..100.

    Raises:
        TryAgainError: Too few are free.
    """
    candidates = _candidates()
    chosen: list[int] = []
    with ExitStack() as held:
        for _ in range(_ATTEMPTS_MAX):
            if len(chosen) == count:
                return tuple(chosen)
            port = random.choice(candidates)  # noqa: S311 a port is no secret
            listener = held.enter_context(socket.socket())
            try:
                listener.bind((LOOPBACK, port))
            except OSError:
                continue
            chosen.append(port)
    raise TryAgainError(f"this machine has no {count} free TCP ports between {candidates[0]} and {candidates[-1]}")


def _candidates() -> range:
    first = _EPHEMERAL_FIRST
    if _RANGE_FILE.is_file():
        first = int(_RANGE_FILE.read_text(encoding="ascii").split()[0])
    # a machine whose ephemeral range begins low leaves no choice but to take from it
    return range(_LOWEST, first) if first - _LOWEST >= _ATTEMPTS_MAX else range(_LOWEST, _HIGHEST)
