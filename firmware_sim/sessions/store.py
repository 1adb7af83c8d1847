"""The file of a session: JSON lines that people can read and change.

The first line says what it is:
``{"format": "gridwitness-sim session 1", "protocol": "modbus", "device": "10.0.0.7:502"}``. Each further line is one
event: ``{"t_ms": 12, "link": 1, "what": "ask", "hex": "0001..."}``: milliseconds since the recording began, number of
the connection, and what happened: ``open``; ``ask``, from the client; ``answer``, from the device; ``leave``, the
client closed; ``close``, the device did.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from firmware_sim.errors import SessionError
from firmware_sim.sessions.frames import FRAME_BYTES_MAX, RULES

FORMAT: Final = "gridwitness-sim session 1"
SESSION_BYTES_MAX: Final = 256 * 1024 * 1024
LINE_BYTES_MAX: Final = 2 * FRAME_BYTES_MAX + 1_024
LINKS_MAX: Final = 100_000

OPEN: Final = "open"
ASK: Final = "ask"
ANSWER: Final = "answer"
LEAVE: Final = "leave"
CLOSE: Final = "close"
_KINDS: Final = frozenset({OPEN, ASK, ANSWER, LEAVE, CLOSE})
_T_MS_MAX: Final = 2**53


@dataclass(frozen=True, slots=True)
class Event:
    """One line.

    Attributes:
        t_ms: Since the recording began.
        link: Number of the connection, from 1 on.
        what: ``open``, ``ask``, ``answer``, ``leave`` or ``close``.
        data: One frame, or what came where frames could not be told apart.
    """

    t_ms: int
    link: int
    what: str
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Session:
    """A whole file.

    Attributes:
        protocol: A key of ``RULES``.
        device: What was recorded, for people.
        events: In the order in which they happened.
    """

    protocol: str
    device: str
    events: tuple[Event, ...]


class SessionWriter:
    """Writes a session while it happens; every line is whole."""

    def __init__(self, out: TextIO, protocol: str, device: str) -> None:
        """Write the first line."""
        self._out = out
        self._bytes = 0
        self._line({"format": FORMAT, "protocol": protocol, "device": device})

    def write(self, event: Event) -> None:
        """Append an event.

        Raises:
            SessionError: The file would be too large.
        """
        line: dict[str, Any] = {"t_ms": event.t_ms, "link": event.link, "what": event.what}
        if event.data:
            line["hex"] = event.data.hex()
        self._line(line)

    def _line(self, line: dict[str, Any]) -> None:
        text = json.dumps(line) + "\n"
        self._bytes += len(text)
        if self._bytes > SESSION_BYTES_MAX:
            raise SessionError(f"the session would have more than {SESSION_BYTES_MAX} bytes; record a shorter one")
        self._out.write(text)


def load_session(path: Path) -> Session:
    """Read a session.

    Raises:
        SessionError: It is none, or too large; with the line.
        OSError: It cannot be read.
    """
    if path.stat().st_size > SESSION_BYTES_MAX:
        raise SessionError(f"{path} has more than {SESSION_BYTES_MAX} bytes")
    # bytes that are no UTF-8 become surrogates, which cannot be encoded again: their line is named
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        rows = _rows(path, lines)
        _, head = next(rows, (0, {}))
        protocol, device = head.get("protocol"), head.get("device")
        if head.get("format") != FORMAT or protocol not in RULES or not isinstance(device, str):
            raise SessionError(f"{path}:1: no session; expected format {FORMAT!r} and one of {', '.join(RULES)}")
        events = tuple(_event(path, number, row) for number, row in rows)
    return Session(protocol, device, events)


def _rows(path: Path, lines: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the lines.

    Raises:
        SessionError: One of them is no JSON object.
    """
    for number, line in enumerate(lines, start=1):
        try:
            line.encode()
            row = json.loads(line) if len(line) <= LINE_BYTES_MAX else None
        except (ValueError, RecursionError) as error:
            raise SessionError(f"{path}:{number}: no JSON: {error}") from error
        if not isinstance(row, dict):
            raise SessionError(f"{path}:{number}: no JSON object of at most {LINE_BYTES_MAX} bytes")
        yield number, row


def _event(path: Path, number: int, row: dict[str, Any]) -> Event:
    """Read one line.

    Raises:
        SessionError: A member is missing, wrong or unknown.
    """
    t_ms, link, what, text = row.get("t_ms"), row.get("link"), row.get("what"), row.get("hex", "")
    good = (
        row.keys() <= {"t_ms", "link", "what", "hex"}
        and what in _KINDS
        and type(t_ms) is int
        and 0 <= t_ms <= _T_MS_MAX
        and type(link) is int
        and 1 <= link <= LINKS_MAX
        and isinstance(text, str)
        and bool(text) == (what in {ASK, ANSWER})
    )
    if not good:
        raise SessionError(f"{path}:{number}: expected t_ms, link, what (open, ask, answer, leave, close) and hex")
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise SessionError(f"{path}:{number}: hex: {error}") from error
    return Event(int(row["t_ms"]), int(row["link"]), str(what), data)
