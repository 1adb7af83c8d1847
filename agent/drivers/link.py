"""What the connections of every protocol share: what they count, and how they fail."""

from __future__ import annotations

from dataclasses import dataclass


class LinkError(Exception):
    """An exchange, or the connection that it was on, has failed; the connection is closed.

    Args:
        reason: Short code for counters.
        detail: What was wrong, for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(slots=True)
class LinkCounters:
    """What a device was asked since the start of the program."""

    requests: int = 0
    """Requests sent, calls to a child process, files opened."""
    bytes_read: int = 0
    """Bytes of file content."""
    busy: int = 0
    """Answers, and files that were still being written, that ask for patience."""
    connections: int = 0
    """Connections made."""
