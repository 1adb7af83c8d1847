"""What the engine needs of the rest of the node: the application, the disk, the network, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from master.consensus.events import Build, Effect, Event, Head, Now
from master.consensus.guard import SignerGuard
from master.consensus.messages import Message, ViewChangeSet
from master.consensus.records import Record
from wire.block import Block
from wire.certificate import Certificate, ValidatorSet
from wire.errors import WireError
from wire.tx import SignedTx
from wire.types import Digest


class BlockRefusedError(Exception):
    """The application does not accept a block; the message says why.

    Args:
        reason: One clear sentence.
        diverged: It executed to something else, which may be this node's own fault; else the block breaks a rule.
    """

    def __init__(self, reason: str, *, diverged: bool = True) -> None:
        super().__init__(reason)
        self.diverged = diverged


class LedgerSeam(Protocol):
    """The application under the replica; runs on the engine's worker thread but where it says so."""

    def candidates(self) -> Sequence[SignedTx]:
        """Return what could stand in the next block; called on the event loop."""
        ...

    def build(self, build: Build, candidates: Sequence[SignedTx], wall_ms: int) -> Block | None:
        """Build and execute a block, None when there is nothing to put into it."""
        ...

    def execute(self, block: Block) -> None:
        """Execute a proposed block on the head.

        Raises:
            BlockRefusedError: A transaction or a root is wrong.
        """
        ...

    def apply(self, block: Block, certificate: Certificate) -> Head:
        """Store a final block durably and return the new head.

        Raises:
            BlockRefusedError: The block does not execute to its roots here.
        """
        ...

    def archive(self, height: int, view_changes: Sequence[ViewChangeSet]) -> None:
        """Keep what votes above view 0 rested on, before the block of that height is stored."""
        ...

    def results(self, digest: Digest) -> tuple[Block, Sequence[Digest]] | None:
        """Return a block that was executed on the head, and the leaf digests of its outcomes as they came out here."""
        ...

    def committed(self, height: int) -> tuple[Block, Certificate] | None:
        """Return a stored block."""
        ...

    def validators_of(self, epoch: int) -> ValidatorSet | None:
        """Return the validators of an epoch, None when they are not known yet; called in any thread."""
        ...


class RecordLog(Protocol):
    """The write-ahead log."""

    def append(self, records: Iterable[bytes]) -> None:
        """Return when the records are on disk."""
        ...

    def clear(self) -> None:
        """Forget the height that was applied."""
        ...


class Guard(Protocol):
    """The signer guard's own file."""

    def save(self, guard: SignerGuard) -> None:
        """Return when it is on disk."""
        ...


class Core(Protocol):
    """The replica."""

    @property
    def head(self) -> Head:
        """The newest applied block."""
        ...

    def restore(self, records: Iterable[Record], now: Now) -> list[Effect]:
        """Take up what the write-ahead log holds."""
        ...

    def step(self, event: Event, now: Now) -> list[Effect]:
        """Take one event and return what to do."""
        ...


@dataclass(frozen=True, slots=True)
class Restart:
    """How to begin anew from what is on disk, once the disk was full and has room again."""

    check: Callable[[], Sequence[bytes]]
    """Proves that the disk takes writes and reads it again; returns the log's records. On the worker thread. Raises
    DiskFullError while there is no room, StorageError when what is on disk is not what it should be."""
    boot: Callable[[], None]
    """Makes the replica anew from what was read. On the event loop."""


class Network(Protocol):
    """Sends to other validators; nothing is guaranteed."""

    def send(self, member: str, message: bytes) -> None:
        """Queue for one member."""
        ...

    def broadcast(self, message: bytes) -> None:
        """Queue for all others."""
        ...


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the rest of the node is told; called on the event loop."""

    applied: Callable[[Block], None]
    gossip: Callable[[Sequence[bytes]], asyncio.Future[None] | None]
    """Takes transactions of others; returns the work that goes on, if any does."""
    report: Callable[[str, str], None]
    refused_message: Callable[[str, WireError], None]
    """(member, why)"""
    is_pending: Callable[[], bool]
    accuse: Callable[[bytes], bool] = lambda _: False
    """Takes a canonical fault proof and tells whether it is new; raises WireError when it proves nothing."""
    blamed: Callable[[Sequence[Digest]], None] = lambda _: None
    """Takes ids of transactions that the next block of this node shall leave out."""
    waiting_ms: Callable[[], int] = lambda: 0
    """For how long one acceptable transaction has been the oldest."""
    overheard: Callable[[str, Message], bool] = lambda *_: False
    """(member, message); tells whether the message is not for the replica."""
    withholds: Callable[[Message], bool] = lambda _: False
    """Tells whether a message must not go out now."""
    gossips: Callable[[str], None] = lambda _: None
    """Says who sent the gossip that comes next, and so has what its transactions name."""
    holds_back: Callable[[Block], bool] = lambda _: False
    """Tells whether the answer about a block that executed well must wait; then `Engine.release` gives it later."""
    view_left: Callable[[str], None] = lambda _: None
    """A view was left; the word says why: as of `Report.cause`."""
    incident: Callable[[str], None] = lambda _: None
    """Something happened that must never happen; the text says what."""
