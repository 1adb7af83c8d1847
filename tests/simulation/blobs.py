"""Blobs at a simulated node: the real fetch and the real holding back, over a disk in memory.

A toy transaction that begins with ``blob`` names the blob that follows from its bytes. A ghost's blob exists nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from master.availability import Availability
from master.consensus.blob_fetch import AddPart, BlobEffect, BlobFetch
from master.consensus.blob_messages import BlobPart, GetBlob
from master.consensus.events import Now, Send
from master.consensus.messages import Message, Vote
from tests.simulation.judge import Judge
from wire.blob import BlobRef
from wire.block import Block
from wire.types import Digest, sha256

NAMING: Final = b"blob "
GHOST: Final = b"blob ghost "
INTERVAL_MS: Final = 50
"""As in a node: the time for an answer is half the shortest time for a view."""


def content_of(raw: bytes) -> bytes:
    """Return the blob that a transaction names."""
    return b"content of " + raw


def named_in(transactions: Sequence[bytes]) -> tuple[BlobRef, ...]:
    """Return the blobs that transactions name."""
    contents = [content_of(raw) for raw in transactions if raw.startswith(NAMING)]
    return tuple(BlobRef(sha256(content), len(content)) for content in contents)


class NodeBlobs:
    """What one node has, fetches and waits for; made anew at every start but for what is on disk."""

    def __init__(self, disk: dict[Digest, bytes], judge: Judge) -> None:
        self.disk = disk
        self._judge, self._count = judge, judge.count
        self.fetch = BlobFetch(INTERVAL_MS)
        self.held = Availability(self.holds)
        self.room: dict[bytes, None] = {}
        """Transactions that wait for their blobs."""
        self.owed: set[BlobRef] = set()
        """Of final blocks."""

    def holds(self, blob: BlobRef) -> bool:
        """Tell whether a blob is on disk."""
        return blob.digest in self.disk

    def has_all(self, transactions: Sequence[bytes]) -> bool:
        """Tell whether all blobs that transactions name are on disk."""
        return all(map(self.holds, named_in(transactions)))

    def take(self, content: bytes) -> None:
        """Store a blob."""
        self.disk[sha256(content)] = content
        self.fetch.forget(sha256(content))

    def wait(self, raw: bytes, sender: str | None) -> None:
        """Let a transaction wait for its blob, which whoever passed it on has."""
        self._count("blob awaited")
        self.room[raw] = None
        for blob in named_in([raw]):
            self.fetch.want(blob, hint=sender)

    def entered(self) -> list[bytes]:
        """Return the transactions whose blobs have come."""
        ready = [raw for raw in self.room if self.has_all([raw])]
        for raw in ready:
            del self.room[raw]
        return ready

    def holds_back(self, block: Block) -> bool:
        """Tell whether the answer about a block that executed well must wait for blobs; they are fetched at once."""
        missing = self.held.holds_back(block.header.digest(), named_in(block.transactions))
        for blob in missing:
            self._count("blob missing for a vote")
            self.fetch.want(blob, is_urgent=True, hint=block.header.proposer)
        return bool(missing)

    def says(self, message: Message, bodies: Mapping[Digest, Block]) -> None:
        """Look at a message that leaves: a vote for a block that is known here needs the block's blobs."""
        body = bodies.get(message.digest) if isinstance(message, Vote) else None
        is_held = body is None or self.has_all(body.transactions)
        self._judge.hold("votes hold blobs", is_held, "a node votes for a block and lacks a blob of it")

    def applied(self, block: Block) -> None:
        """Fetch later what a final block names and is missing."""
        is_real = not any(raw.startswith(GHOST) for raw in block.transactions)
        self._judge.hold("votes hold blobs", is_real, "nobody has a blob of a final block")
        self.held.clear()
        for raw in block.transactions:
            self.room.pop(raw, None)
        needed = {*named_in(tuple(self.room)), *self.owed}
        self.fetch.keep(needed.__contains__)
        for blob in named_in(block.transactions):
            if not self.holds(blob):
                self._count("blob fetched later")
                self.owed.add(blob)
                self.fetch.want(blob)

    def hear(self, sender: str, message: Message, now: Now) -> list[Send]:
        """Take a message about blobs; return what to send."""
        if isinstance(message, GetBlob):
            data = self.disk.get(message.digest, b"")[message.offset :]
            return [Send(sender, BlobPart(message.digest, message.offset, data))]
        assert isinstance(message, BlobPart)
        return self._perform(self.fetch.arrived(sender, message, now))

    def tick(self, members: Sequence[str], now: Now) -> list[Send]:
        """Ask for what is missing."""
        return self._perform(self.fetch.tick(members, now))

    def _perform(self, effects: list[BlobEffect]) -> list[Send]:
        sent = []
        for effect in effects:
            if isinstance(effect, Send):
                sent.append(effect)
            elif not isinstance(effect, AddPart):
                self._count("blob rejected")
            elif sha256(effect.data) == effect.blob.digest:
                self.take(effect.data)
            else:
                self._perform(self.fetch.spoiled(effect.blob.digest))
        return sent


def lie_about(message: GetBlob, rng: Random) -> BlobPart | None:
    """Return what a liar answers: other bytes, nothing to be had, or no word."""
    return rng.choice((None, BlobPart(message.digest, message.offset, rng.choice((b"", b"lies", rng.randbytes(44))))))
