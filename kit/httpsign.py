"""Signs requests for the HTTP client: one signature per request and node, never sent twice."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from urllib.parse import urlsplit

from nacl.signing import SigningKey

from kit.clock import Clock, SystemClock
from wire.httpsig import Message, sign_request

_MS_PER_S = 1000
_NONCE_BYTES = 18


def _draw() -> str:
    return secrets.token_urlsafe(_NONCE_BYTES)


class RequestSigner:
    """The key of an account that reads what is restricted.

    Args:
        key: Of the account.
        clock: For tests.
        nonce: For tests.
    """

    def __init__(self, key: SigningKey, clock: Clock | None = None, nonce: Callable[[], str] = _draw) -> None:
        self._key = key
        self._clock: Clock = SystemClock() if clock is None else clock
        self._nonce = nonce

    def headers(self, method: str, url: str, body: bytes | None, tag: str) -> dict[str, str]:
        """Return the headers that sign a request as it is sent.

        Args:
            method: Of the request.
            url: Whole, as it is sent.
            body: Of the request.
            tag: Of the node: `wire.httpsig.audience`.
        """
        parts = urlsplit(url)
        message = Message(method, parts.path, parts.query, body or b"")
        return sign_request(message, self._key, tag, self._clock.now_ms() // _MS_PER_S, self._nonce())
