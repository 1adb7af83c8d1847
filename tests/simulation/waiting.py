"""What surrounds a simulated node: the cluster, and what waits as the real watch over the oldest sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Protocol, cast

from master.consensus.messages import Message
from wire.tx import SignedTx


@dataclass(frozen=True, slots=True)
class Waiting:
    """The pending transactions of one node."""

    pending: dict[bytes, None]

    def oldest(self) -> SignedTx | None:
        """Return what came first; of a signed transaction the watch asks these two fields alone."""
        raw = next(iter(self.pending), None)
        return None if raw is None else cast("SignedTx", SimpleNamespace(id=raw, raw=raw))

    def remove(self, tx_ids: Sequence[bytes]) -> None:
        """Forget some."""
        for raw in tx_ids:
            self.pending.pop(raw, None)


class Post(Protocol):
    """What a node sees of the cluster."""

    def send(self, endpoint: str, member: str, message: Message) -> None:
        """Send to one member."""

    def others(self, endpoint: str) -> list[str]:
        """Return the other members."""

    def crashed(self, endpoint: str) -> None:
        """Hear that a process has died."""
