"""What all connections to a broker have in common."""

from __future__ import annotations

import logging
import socket
from typing import Final

SOCKET_OPTIONS: Final = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
"""Small packets go out at once.

paho leaves Nagle's algorithm on (RFC 896): what follows a PUBACK then waits until the broker acknowledges that, which
Linux delays by 40 ms.
"""


class LibraryWords(logging.Filter):
    """Keeps what the MQTT library logs of a socket that failed, for our own line about it.

    A broker that refuses a client's certificate says so after the TLS handshake (RFC 8446, 4.4.2.4): the library logs
    that at every attempt, and raises nothing but a timeout.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let all lines through but those about a failed socket, which are kept."""
        text = record.getMessage()
        if not text.startswith("failed to "):
            return True
        self._last = text
        return False

    def beside(self, error: BaseException) -> str:
        """Return an error with what was kept since the last call, in one line."""
        last, self._last = self._last, ""
        text = str(error) or type(error).__name__
        return f"{text}; {last}" if last else text


LIBRARY_WORDS: Final = LibraryWords()
"""Of the one connection that a program has."""
logging.getLogger("mqtt").addFilter(LIBRARY_WORDS)
