"""What reads of restricted data need of the node, and the nonces that were used (docs/spec, clauses HR-4 to HR-6)."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final, Protocol

from wire.genesis import AccountKey

NONCES_MAX: Final = 4096
"""Of one organisation's signatures that have not ended. Each has room of its own: none takes that of another."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A restricted read as somebody asks for it."""

    account: str
    kid: bytes
    data_class: str
    subject: str
    content: bytes | None
    """Digest of a sealed content, None for anything else."""
    item: str
    """What is read: the path of the request, at most 256 characters."""


@dataclass(frozen=True, slots=True)
class BlobLabel:
    """What reading a blob asks for."""

    data_class: str
    """`wire.grants.PUBLIC` when everybody may."""
    subject: str
    content: bytes | None
    """Digest of the sealed content, None for what is public."""


class AccessError(Exception):
    """The read cannot be logged, and so is not answered; the message says why."""


class AccessPort(Protocol):
    """Who may read what. Called from worker threads; may block on the disk."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Whom signatures for this node name: `wire.httpsig.audience` of each of its addresses; the main one first."""
        ...

    def account_key(self, kid: bytes) -> AccountKey | None:
        """Return the key of a key id, with its account and organisation."""
        ...

    def label(self, blob: bytes) -> BlobLabel | None:
        """Return what reading a blob asks for; None when no final block names it."""
        ...

    def admit(self, reading: Reading) -> str | None:
        """Log a read that is permitted and return what permits it; None when nothing does.

        Raises:
            AccessError: It cannot be logged.
        """
        ...


class NoAccess:
    """Implements `AccessPort` where nobody may read a blob."""

    tags = ()

    def account_key(self, kid: bytes) -> AccountKey | None:
        """There is none."""
        del kid
        return None

    def label(self, blob: bytes) -> BlobLabel | None:
        """No block names it."""
        del blob
        return None

    def admit(self, reading: Reading) -> str | None:
        """Nothing permits it."""
        del reading
        return None


class Nonces:
    """Nonces of signatures that could still be sent again; at most 4,096 for each organisation of the ledger."""

    def __init__(self) -> None:
        self._until: dict[tuple[bytes, str], int] = {}
        self._ends: list[tuple[int, bytes, str, str]] = []
        self._count: dict[str, int] = {}

    def take(self, key: AccountKey, kid: bytes, nonce: str, until_ms: int, now_ms: int) -> bool | None:
        """Remember a nonce of a verified signature.

        Args:
            key: Of the account that signed.
            kid: Of that key.
            nonce: Of the signature.
            until_ms: Until when it counts, milliseconds since 1970 UTC, skew included.
            now_ms: Milliseconds since 1970 UTC.

        Returns:
            True when it is new, False when it was used before, None when its organisation has no room left.
        """
        while self._ends and self._ends[0][0] < now_ms:
            _, old_kid, old_nonce, owner = heapq.heappop(self._ends)
            del self._until[old_kid, old_nonce]
            self._count[owner] -= 1
            if not self._count[owner]:
                del self._count[owner]
        if (kid, nonce) in self._until:
            return False
        count = self._count.get(key.organisation, 0)
        if count >= NONCES_MAX:
            return None
        self._until[kid, nonce] = until_ms
        heapq.heappush(self._ends, (until_ms, kid, nonce, key.organisation))
        self._count[key.organisation] = count + 1
        return True
