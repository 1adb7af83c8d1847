"""Signs requests for the HTTP client: one signature per request and address, never sent twice (docs/spec, HR-4)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from urllib.parse import urlsplit

from nacl.signing import SigningKey

from kit.clock import Clock, SystemClock
from wire.httpsig import Message, audience, sign_request

_MS_PER_S = 1000
_NONCE_BYTES = 18
_PORTS = {"http": 80, "https": 443}


def _draw() -> str:
    return secrets.token_urlsafe(_NONCE_BYTES)


class RequestSigner:
    """The key of an account that reads what is restricted.

    Args:
        key: Of the account.
        chain: Name of the ledger, from the genesis file.
        clock: For tests.
        nonce: For tests.
    """

    def __init__(
        self, key: SigningKey, chain: str, clock: Clock | None = None, nonce: Callable[[], str] = _draw
    ) -> None:
        self._key, self._chain = key, chain
        self._clock: Clock = SystemClock() if clock is None else clock
        self._nonce = nonce

    def headers(self, method: str, url: str, body: bytes | None, boot: str) -> dict[str, str]:
        """Return the headers that sign a request as it is sent, for the ledger and the address that we chose alone.

        Args:
            method: Of the request.
            url: Whole, as it is sent.
            body: Of the request.
            boot: Start that the node names; nothing else of what it says counts.
        """
        parts, tag = urlsplit(url), audience(self._chain, authority_of(url), boot)
        message = Message(method, parts.path, parts.query, body or b"")
        return sign_request(message, self._key, tag, self._clock.now_ms() // _MS_PER_S, self._nonce())


def authority_of(url: str) -> str:
    """Return host and port of an address as `wire.httpsig.AUTHORITY_PATTERN` has them.

    Args:
        url: An http or https address, its host in ASCII.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    return host if parts.port in {None, _PORTS.get(parts.scheme)} else f"{host}:{parts.port}"
