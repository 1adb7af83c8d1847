"""What all connections to a broker have in common."""

from __future__ import annotations

import socket
from typing import Final

SOCKET_OPTIONS: Final = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
"""Small packets go out at once.

paho leaves Nagle's algorithm on (RFC 896): what follows a PUBACK then waits until the broker acknowledges that, which
Linux delays by 40 ms.
"""
