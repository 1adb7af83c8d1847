"""What waits for its receipt, on disk: evidence, its signed transactions, and every counter that numbers them.

One SQLite database in write-ahead mode with synchronous=FULL. A counter and what it numbers are stored in one
transaction, so that no number is used twice, whenever the power goes. Nothing leaves but on a verified receipt; when
there is no room, reports that say only that nothing has changed are not taken in, and counted.

Calls block for as long as the disk takes; one thread at a time.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.attest import DeviceState
from kit.exitcodes import StorageError
from wire import cbor
from wire.evidence import Evidence, SeenBlock, decode_item
from wire.readorder import Demand
from wire.types import Digest, sha256

FORMAT: Final = 1
TX_KEPT_MAX: Final = 4
"""Transactions kept of one piece of evidence; the ledger may still answer with the receipt of an older one."""
SEQ_WINDOW: Final = 4096
"""Numbers below the highest that the ledger has seen which it still takes."""
ANSWERED_MAX: Final = 20_000
"""Read orders that are remembered until their deadline; the ledger takes one in ten seconds, for a day at most."""
ROOM_MARGIN_PERCENT: Final = 25
"""What changes may take beyond the limit; unchanged reports may not."""
_DAY_MS: Final = 86_400_000
_BUSY_TIMEOUT_S: Final = 5.0
_JOURNAL_BYTES_MAX: Final = 4 * 1024 * 1024

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS evidence (
    id INTEGER PRIMARY KEY AUTOINCREMENT, boot INTEGER NOT NULL, seq INTEGER NOT NULL, raw BLOB NOT NULL,
    created_ms INTEGER NOT NULL, bytes INTEGER NOT NULL, UNIQUE (boot, seq));
CREATE TABLE IF NOT EXISTS tx (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, evidence INTEGER NOT NULL REFERENCES evidence (id)
    ON DELETE CASCADE, raw BLOB NOT NULL, valid_until_ms INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS tx_of_evidence ON tx (evidence, seq);
CREATE TABLE IF NOT EXISTS device (
    id TEXT PRIMARY KEY, item BLOB NOT NULL, has_receipt INTEGER NOT NULL, read_from_ms INTEGER NOT NULL,
    read_to_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answered (id BLOB PRIMARY KEY, until_ms INTEGER NOT NULL) WITHOUT ROWID;
"""
_CURRENT: Final = """
SELECT evidence.id, tx.id, tx.raw, tx.seq, tx.valid_until_ms, evidence.created_ms
FROM evidence JOIN tx ON tx.seq = (SELECT max(seq) FROM tx WHERE tx.evidence = evidence.id)
"""


class OutboxFullError(StorageError):
    """There is no room for a change."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A piece of evidence that has no receipt, with its current transaction."""

    evidence: int
    """Key within the outbox; a smaller one is older."""
    tx: Digest
    raw: bytes
    seq: int
    valid_until_ms: int
    created_ms: int


@dataclass(frozen=True, slots=True)
class Found:
    """A transaction of ours that a receipt names."""

    evidence: int
    raw: bytes
    evidence_raw: bytes


@dataclass(frozen=True, slots=True)
class Depth:
    """How much waits."""

    items: int
    bytes: int
    oldest_ms: int | None
    """When the oldest was made, None when nothing waits."""


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a report."""

    stored: int
    """Pieces of evidence; 0 for an unchanged report that found no room."""
    left_out: int
    """1 for an unchanged report that found no room, else 0."""


class Outbox:
    """See the module.

    Args:
        path: The database; made if it is missing.
        sign: (evidence, seq, valid_until_ms) -> signed transaction.
        bytes_max: What evidence and transactions may take, bytes.
        valid_ms: For how long a transaction may be included after it was made.
    """

    def __init__(self, path: Path, sign: Callable[[bytes, int, int], bytes], *, bytes_max: int, valid_ms: int) -> None:
        self._path = path
        self._sign = sign
        self._bytes_max = bytes_max
        self._valid_ms = valid_ms
        self._kid_after = 0
        """The present key signs numbers above this one."""
        with self._storage_errors():
            self._db = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    def _open(self) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute(f"PRAGMA journal_size_limit={_JOURNAL_BYTES_MAX}")
        found = [row[0] for row in self._db.execute("PRAGMA integrity_check(1)")]
        if found != ["ok"]:
            raise self._damaged(str(found[0]))
        self._db.executescript(_SCHEMA)
        found_format = self._meta("format")
        if found_format is None:
            self._set_meta("format", FORMAT)
        elif found_format != FORMAT:
            raise StorageError(f"{self._path} has format {found_format}, this version knows {FORMAT}; update it")

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    # --- counters and what is known -------------------------------------------------------------------------------

    def begin_boot(self, now_ms: int, kid: bytes) -> int:
        """Count a start of the gateway and return its number.

        A new database begins at the present time, so that a gateway whose disk was replaced does not repeat the
        numbers of its former life, nor those that its key has used elsewhere.

        Args:
            now_ms: Milliseconds since 1970 UTC.
            kid: Of the key that signs from now on; `has_other_key` tells what one before it has signed.
        """
        with self._transaction():
            boot = self._counter("boot", now_ms // 1000) + 1
            seq = self._counter("tx_seq", now_ms)
            self._set_meta("boot", boot)
            self._set_meta("tx_seq", seq)
            self._set_meta("seq", 0)
            if self._meta("kid") != kid:
                self._set_meta("kid", kid)
                self._set_meta("kid_after", seq)
            self._kid_after = self._counter("kid_after", 0)
        return boot

    def has_other_key(self, entry: Pending) -> bool:
        """Tell whether a former key signed this transaction: the ledger may take it no more, so rewrap it."""
        return entry.seq <= self._kid_after

    def block(self) -> SeenBlock | None:
        """Return the newest verified block, None before the first."""
        height, digest = self._meta("block_height"), self._meta("block_digest")
        if not isinstance(height, int) or not isinstance(digest, bytes):
            return None
        return SeenBlock(height, digest)

    def states(self) -> dict[str, DeviceState]:
        """Return what was last reported of each device, as known from before this start."""
        states = {}
        rows = self._db.execute("SELECT id, item, has_receipt, read_from_ms, read_to_ms FROM device")
        for device, raw, has_receipt, read_from_ms, read_to_ms in rows:
            item = decode_item(cbor.decode(raw))
            states[device] = DeviceState(
                device, "read", item, item.digest(), read_from_ms, read_to_ms, has_receipt=bool(has_receipt)
            )
        return states

    # --- reports --------------------------------------------------------------------------------------------------

    def add(
        self,
        build: Callable[[int, int], Sequence[Evidence]],
        states: Iterable[DeviceState],
        now_ms: int,
        *,
        droppable: bool,
        answers: Demand | None = None,
    ) -> Added:
        """Number, sign and store a report, and what it says of the devices, all or nothing.

        Args:
            build: (boot, first seq) -> the parts of the report, numbered from there on.
            states: The devices as the report names them.
            now_ms: Milliseconds since 1970 UTC.
            droppable: The report says only that nothing has changed since an earlier one.
            answers: The read order that it answers; it is not answered again.

        Raises:
            OutboxFullError: No room for a change.
            StorageError: The disk is full or damaged.
        """
        with self._transaction():
            boot, seq = self._counter("boot", 0), self._counter("seq", 0)
            parts = build(boot, seq + 1)
            tx_seq = self._counter("tx_seq", 0)
            valid_until_ms = now_ms + self._valid_ms
            rows = []
            for number, part in enumerate(parts, start=1):
                raw = part.encode()
                rows.append((part.seq, raw, self._sign(raw, tx_seq + number, valid_until_ms), tx_seq + number))
            if not self._has_room(sum(len(raw) + len(tx) for _, raw, tx, _ in rows), droppable=droppable):
                return Added(stored=0, left_out=1)
            for part_seq, raw, tx, number in rows:
                row = (boot, part_seq, raw, now_ms, len(raw) + len(tx))
                insert = "INSERT INTO evidence (boot, seq, raw, created_ms, bytes) VALUES (?, ?, ?, ?, ?)"
                evidence = self._db.execute(insert, row).lastrowid
                self._insert_tx(evidence, number, tx, valid_until_ms)
            self._set_meta("seq", seq + len(rows))
            self._set_meta("tx_seq", tx_seq + len(rows))
            self._keep_states(states)
            if answers is not None:
                self._note_answer(answers, now_ms)
        return Added(stored=len(rows), left_out=0)

    def is_answered(self, order: Digest) -> bool:
        """Tell whether a read order was answered, so that one that is sent again is not."""
        return self._db.execute("SELECT 1 FROM answered WHERE id = ?", (order,)).fetchone() is not None

    def _note_answer(self, demand: Demand, now_ms: int) -> None:
        """Remember an order until a day after its deadline, for clocks that are set back: a late one is ignored."""
        self._db.execute("DELETE FROM answered WHERE until_ms < ?", (now_ms - _DAY_MS,))
        keep = "DELETE FROM answered WHERE id IN (SELECT id FROM answered ORDER BY until_ms DESC LIMIT -1 OFFSET ?)"
        self._db.execute(keep, (ANSWERED_MAX - 1,))
        self._db.execute("INSERT OR REPLACE INTO answered VALUES (?, ?)", (demand.order, demand.deadline_ms))

    def _has_room(self, more_bytes: int, *, droppable: bool) -> bool:
        """Tell whether a report fits; an unchanged one that does not is left out, since nothing stored gives way.

        Raises:
            OutboxFullError: There is no room for a change either.
        """
        used = self.depth().bytes
        if used + more_bytes <= self._bytes_max:
            return True
        if droppable:
            return False
        if used + more_bytes <= self._bytes_max * (100 + ROOM_MARGIN_PERCENT) // 100:
            return True
        raise OutboxFullError(
            f"{self._path} holds {used} bytes that have no receipt; "
            "bring the connection to the full nodes back, or raise outbox.bytes_max"
        )

    def pending(self, limit: int) -> list[Pending]:
        """Return what has no receipt, oldest first."""
        rows = self._db.execute(_CURRENT + "ORDER BY evidence.id LIMIT ?", (limit,))
        return [Pending(*row) for row in rows]

    def rewrap(self, evidence: int, now_ms: int) -> Pending | None:
        """Sign the same evidence again under a new number; None if a receipt came meanwhile.

        Args:
            evidence: Key within the outbox.
            now_ms: Milliseconds since 1970 UTC, by the later of our clock and the ledger's.
        """
        with self._transaction():
            row = self._db.execute("SELECT raw FROM evidence WHERE id = ?", (evidence,)).fetchone()
            if row is None:
                return None
            seq = self._counter("tx_seq", 0) + 1
            valid_until_ms = now_ms + self._valid_ms
            self._insert_tx(evidence, seq, self._sign(row[0], seq, valid_until_ms), valid_until_ms)
            self._db.execute(
                "DELETE FROM tx WHERE evidence = ? AND seq NOT IN "
                "(SELECT seq FROM tx WHERE evidence = ? ORDER BY seq DESC LIMIT ?)",
                (evidence, evidence, TX_KEPT_MAX),
            )
            self._db.execute(
                "UPDATE evidence SET bytes = length(raw) + "
                "(SELECT sum(length(raw)) FROM tx WHERE tx.evidence = evidence.id) WHERE id = ?",
                (evidence,),
            )
            self._set_meta("tx_seq", seq)
            found = self._db.execute(_CURRENT + "WHERE evidence.id = ?", (evidence,)).fetchone()
        return Pending(*found)

    # --- receipts -------------------------------------------------------------------------------------------------

    def find(self, tx: Digest) -> Found | None:
        """Return what a receipt is about, None if no transaction of that id waits."""
        row = self._db.execute(
            "SELECT evidence.id, tx.raw, evidence.raw FROM tx JOIN evidence ON evidence.id = tx.evidence "
            "WHERE tx.id = ?",
            (tx,),
        ).fetchone()
        return None if row is None else Found(*row)

    def settle(self, evidence: int, block: SeenBlock, states: Iterable[DeviceState]) -> None:
        """Forget evidence whose receipt was verified, and remember the block that holds it.

        Args:
            evidence: Key within the outbox.
            block: From the verified receipt; an older one than known changes nothing.
            states: Devices whose item now has a receipt, or has lost it.
        """
        with self._transaction():
            self._db.execute("DELETE FROM evidence WHERE id = ?", (evidence,))
            if block.height > self._counter("block_height", 0):
                self._set_meta("block_height", block.height)
                self._set_meta("block_digest", block.digest)
            for state in states:
                update = "UPDATE device SET has_receipt = ? WHERE id = ? AND item = ?"
                self._db.execute(update, (state.has_receipt, state.device, _item_raw(state)))

    def depth(self) -> Depth:
        """Return how much waits."""
        query = "SELECT count(*), coalesce(sum(bytes), 0), min(created_ms) FROM evidence"
        return Depth(*self._db.execute(query).fetchone())

    # --- rows -----------------------------------------------------------------------------------------------------

    def _insert_tx(self, evidence: int | None, seq: int, raw: bytes, valid_until_ms: int) -> None:
        self._db.execute(
            "INSERT INTO tx (seq, id, evidence, raw, valid_until_ms) VALUES (?, ?, ?, ?, ?)",
            (seq, sha256(raw), evidence, raw, valid_until_ms),
        )

    def _keep_states(self, states: Iterable[DeviceState]) -> None:
        for state in states:
            if state.item is None:
                continue
            row = (state.device, _item_raw(state), state.has_receipt, state.read_from_ms, state.read_to_ms)
            self._db.execute("INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?, ?)", row)

    def _meta(self, name: str) -> object:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def _counter(self, name: str, default: int) -> int:
        value = self._meta(name)
        return value if isinstance(value, int) else default

    def _set_meta(self, name: str, value: int | bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run statements all or not at all; on disk before it returns."""
        with self._storage_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have rolled it back already
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise StorageError(f"{self._path}: {error}; check the disk's space and the folder's owner") from error
            raise self._damaged(str(error)) from error

    def _damaged(self, detail: str) -> StorageError:
        return StorageError(
            f"{self._path} is damaged ({detail}); move it and the files beside it away and start again: "
            "devices are read anew, and what had no receipt is in the file that you moved"
        )


def _item_raw(state: DeviceState) -> bytes:
    assert state.item is not None, "only items are kept"
    return cbor.encode(state.item.to_value())
