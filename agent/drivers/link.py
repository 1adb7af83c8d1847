"""What the connections of every protocol share: how they are made, what they count, and how they fail."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

_Connection = TypeVar("_Connection", bound=asyncio.Protocol)


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


async def dial(
    make: Callable[[], _Connection],
    host: str,
    port: int,
    timeout_ms: int,
    context: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> _Connection:
    """Connect to a device over TCP; return what `make` made, connected.

    Args:
        make: Makes the protocol's side of the connection.
        host: Name or IP address.
        port: 1..65535.
        timeout_ms: Longest wait for the connection, TLS included.
        context: Protects the connection (Modbus/TCP Security, IEC 62351-3); None without TLS.
        server_name: Name in the device's certificate; None or empty for ``host``.

    Raises:
        LinkError: Nobody listens, nobody answers within ``timeout_ms``, or somebody else than the certificate says.
    """
    loop = asyncio.get_running_loop()
    name = (server_name or host) if context is not None else None
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            _, connection = await loop.create_connection(make, host, port, ssl=context, server_hostname=name)
    except TimeoutError:
        raise LinkError("timeout", f"no connection to {host}:{port} within {timeout_ms} ms") from None
    except ssl.SSLError as error:
        raise LinkError("tls", f"no secure connection to {host}:{port}: {_tls_text(error)}") from None
    except OSError as error:
        raise LinkError("refused", f"no connection to {host}:{port}: {error.strerror or error}") from None
    return connection


def _tls_text(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return error.reason or str(error)
