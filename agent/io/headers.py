"""What the gateway keeps of the ledger: epochs, the newest header, a sparse trail of old ones, evidence of conflicts.

One SQLite database in write-ahead mode with synchronous=FULL. Of the headers that pass by stay the first seen of every
thousand heights, those that a receipt of ours names, and the newest; 90 days of them take less than 10 MB. Headers
and certificates are deflated against a template of the ledger; of headers that receipts name, the newest 500 keep
their certificate.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kit.exitcodes import DataError, StorageError
from wire import cbor
from wire.certificate import Certificate, Step, decode_certificate
from wire.epochs import decode_epoch_ends
from wire.errors import CertificateError, WireError
from wire.finality import FinalHeader
from wire.genesis import Genesis
from wire.header import HEADER_BYTES_MAX, Header, decode_header
from wire.lightclient import CertifiedHeader, ConflictError, LightState, accept, begin, check_known, is_trust_expired
from wire.merkle import EMPTY_HEAD
from wire.types import Digest

FORMAT: Final = 1
STRIDE: Final = 1000
"""Heights of which one header is kept whether anybody names it or not."""
RETENTION_MS: Final = 90 * 24 * 3600 * 1000
TRUSTING_MS: Final = RETENTION_MS
"""Without a header for so long this gateway needs an anchor (docs/spec LC-8)."""
CERTIFIED_MAX: Final = 500
"""Headers of receipts that keep their certificate."""
CONFLICTS_MAX: Final = 64
"""Pieces of evidence that are kept; the first ones say it all."""
_THIN_EVERY: Final = 256
_BUSY_TIMEOUT_S: Final = 5.0
_JOURNAL_BYTES_MAX: Final = 4 * 1024 * 1024
_TRAIL, _NAMED = 0, 1

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS epoch (number INTEGER PRIMARY KEY, raw BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS header (
    height INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, why INTEGER NOT NULL, raw BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS trail_certificate (height INTEGER PRIMARY KEY, raw BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS named_certificate (height INTEGER PRIMARY KEY, raw BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS newest (id INTEGER PRIMARY KEY CHECK (id = 0), raw BLOB NOT NULL, certificate BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS conflict (id INTEGER PRIMARY KEY, seen_ms INTEGER NOT NULL, raw BLOB NOT NULL UNIQUE);
"""


class HeaderStore:
    """The light node's trust on disk; one thread at a time.

    Args:
        path: Database file; made when missing.
        genesis: From this gateway's own disk.

    Raises:
        StorageError: The database cannot be opened.
        DataError: It belongs to another ledger, or is damaged.
    """

    def __init__(self, path: Path, genesis: Genesis) -> None:
        self._path = path
        self._template = _template(genesis)
        self._genesis_ms = genesis.time_ms
        try:
            self._db = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(genesis)
                self._state = self._load(genesis)
            except BaseException:
                self._db.close()
                raise
        except sqlite3.DatabaseError as error:
            raise StorageError(f"{path}: {error}") from error
        self._kept = 0

    def close(self) -> None:
        """Give the database back."""
        self._db.close()

    @property
    def state(self) -> LightState:
        """What is believed."""
        return self._state

    def take(self, final: FinalHeader, *, is_named: bool, now_ms: int) -> None:
        """Believe a final header and keep what must be kept of it.

        Args:
            final: As decoded.
            is_named: A receipt of ours is about it.
            now_ms: Time for the record of a conflict.

        Raises:
            CertificateError: It is not certified; nothing was changed.
            ConflictError: It contradicts what is believed; its evidence is on disk, nothing else was changed.
            StorageError: The disk took nothing.
        """
        new = CertifiedHeader(final.header, final.certificate)
        try:
            state = accept(self._state, final)
            for neighbour in (-1, 0, 1):
                known = self._certified(final.header.height + neighbour)
                if known is not None:
                    check_known(state, known, new)
        except ConflictError as error:
            self._keep_conflict(error, now_ms)
            raise
        believed = self.header(final.header.height)
        if believed is not None and believed != final.header:
            # believed so long ago that its certificate is gone: it convinces nobody else, but us
            raise CertificateError(f"header {final.header.height}: another one was believed before")
        with self._writing():
            for number in range(len(self._state.ends), len(state.ends)):
                self._db.execute(
                    "INSERT INTO epoch VALUES (?, ?)", (number, cbor.encode(state.ends[number].to_value()))
                )
            if state.newest is not None and state.newest != self._state.newest:
                row = (state.newest.header.encode(), state.newest.certificate.encode())
                self._db.execute("INSERT OR REPLACE INTO newest VALUES (0, ?, ?)", row)
            self._keep(new, is_named=is_named)
        self._state = state

    def is_expired(self, now_ms: int) -> bool:
        """Tell whether trust must begin anew, at the latest 90 days after the newest header or anchor.

        Args:
            now_ms: Milliseconds since 1970 UTC; a time before the genesis file's tells nothing.

        Raises:
            StorageError: The time of the first start could not be stored.
        """
        if now_ms < self._genesis_ms:
            return False
        row = self._one("SELECT value FROM meta WHERE name = 'anchored_ms'")
        if row is None:
            self.anchored(now_ms)
            return False
        return is_trust_expired(self._state, now_ms, int(row[0]), TRUSTING_MS)

    def anchored(self, now_ms: int) -> None:
        """Remember when a person gave this gateway its anchor: the genesis file at first, or a newer one."""
        with self._writing():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('anchored_ms', ?)", (now_ms,))

    def header(self, height: int) -> Header | None:
        """Return a kept header, believed once, or None."""
        row = self._one("SELECT raw FROM header WHERE height = ?", height)
        return None if row is None else decode_header(self._inflate(row[0]))

    def heights(self) -> tuple[int, ...]:
        """Return the heights of all kept headers, ascending."""
        return tuple(row[0] for row in self._db.execute("SELECT height FROM header ORDER BY height"))

    def conflicts(self) -> tuple[bytes, ...]:
        """Return the evidence of all conflicts, oldest first: what `wire.lightclient.decode_conflict` takes."""
        return tuple(row[0] for row in self._db.execute("SELECT raw FROM conflict ORDER BY id"))

    # --- keeping ---------------------------------------------------------------------------------------------------

    def _keep(self, new: CertifiedHeader, *, is_named: bool) -> None:
        height = new.header.height
        start = height - height % STRIDE
        trail = self._one("SELECT 1 FROM header WHERE why = ? AND height BETWEEN ? AND ?", _TRAIL, start, start + 999)
        if trail is not None and not is_named:
            return
        why = _NAMED if trail is not None else _TRAIL
        row = (height, new.header.time_ms, why, self._deflate(new.header.encode()))
        if self._db.execute("INSERT OR IGNORE INTO header VALUES (?, ?, ?, ?)", row).rowcount:
            # two tables, since rows that leave free whole pages only where nothing stays between them
            table = "trail" if why == _TRAIL else "named"
            packed = self._deflate(new.certificate.encode())
            self._db.execute(f"INSERT INTO {table}_certificate VALUES (?, ?)", (height, packed))  # noqa: S608 - constant
        self._kept += 1
        if self._kept % _THIN_EVERY == 0:
            self._thin(new.header.time_ms)

    def _thin(self, now_ms: int) -> None:
        """Forget what is past its time; epochs and the newest header stay for ever."""
        self._db.execute("DELETE FROM header WHERE time_ms < ?", (now_ms - RETENTION_MS,))
        self._db.execute("DELETE FROM trail_certificate WHERE height NOT IN (SELECT height FROM header)")
        newest = "SELECT height FROM named_certificate ORDER BY height DESC LIMIT 1 OFFSET ?"
        self._db.execute(f"DELETE FROM named_certificate WHERE height <= ({newest})", (CERTIFIED_MAX,))  # noqa: S608

    def _keep_conflict(self, error: ConflictError, now_ms: int) -> None:
        with self._writing():
            (count,) = self._db.execute("SELECT count(*) FROM conflict").fetchone()
            if count < CONFLICTS_MAX:
                row = (now_ms, error.conflict.encode())
                self._db.execute("INSERT OR IGNORE INTO conflict (seen_ms, raw) VALUES (?, ?)", row)

    def _certified(self, height: int) -> CertifiedHeader | None:
        """Return a kept header with its certificate; without one it could convince nobody else."""
        header = self.header(height)
        trail, named = (f"SELECT raw FROM {table}_certificate WHERE height = ?" for table in ("trail", "named"))  # noqa: S608
        row = self._one(trail, height) or self._one(named, height)
        if header is None or row is None:
            return None
        return CertifiedHeader(header, decode_certificate(cbor.decode(self._inflate(row[0]))))

    # --- the database ----------------------------------------------------------------------------------------------

    def _prepare(self, genesis: Genesis) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES_MAX}")
        self._db.executescript(_SCHEMA)
        expected = {"format": FORMAT, "anchor": genesis.digest()}
        for name, value in expected.items():
            self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, value))
            found = self._one("SELECT value FROM meta WHERE name = ?", name)
            if found != (value,):
                raise DataError(
                    f"{self._path}: it has another {name}; move it away to begin anew from the genesis file"
                )

    def _load(self, genesis: Genesis) -> LightState:
        try:
            raws = [cbor.decode(row[0]) for row in self._db.execute("SELECT raw FROM epoch ORDER BY number")]
            ends = decode_epoch_ends(raws)
            row = self._one("SELECT raw, certificate FROM newest")
            state = begin(genesis)
            if row is None:
                return state
            final = FinalHeader(decode_header(row[0]), decode_certificate(cbor.decode(row[1])), ends)
            return accept(state, final)
        except WireError as error:
            raise DataError(f"{self._path} is damaged: {error}; move it away to begin anew") from error

    def _one(self, query: str, *values: object) -> tuple[bytes, ...] | None:
        found: tuple[bytes, ...] | None = self._db.execute(query, values).fetchone()
        return found

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Run the block in one transaction.

        Raises:
            StorageError: The disk took nothing.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StorageError(f"{self._path}: {error}") from error

    def _deflate(self, raw: bytes) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=self._template)
        return packer.compress(raw) + packer.flush()

    def _inflate(self, packed: bytes) -> bytes:
        unpacker = zlib.decompressobj(-15, zdict=self._template)
        return unpacker.decompress(packed, HEADER_BYTES_MAX)


def _template(genesis: Genesis) -> bytes:
    """Return what most headers of this ledger have in common; it never changes, since packed headers need it."""
    validators: Digest = genesis.validator_set().digest()
    members = [entry.member for entry in genesis.validators]
    unsigned = Certificate(Step.COMMIT, 0, 1 << 20, 0, EMPTY_HEAD, tuple((member, bytes(64)) for member in members))
    empty = Header(
        chain=genesis.chain(),
        epoch=0,
        height=1 << 20,
        proposer=members[0],
        time_ms=genesis.time_ms,
        parent=bytes(32),
        tx_count=1,
        tx_root=EMPTY_HEAD,
        outcome_root=EMPTY_HEAD,
        state_root=bytes(32),
        history_root=bytes(32),
        validators_hash=validators,
        next_validators_hash=validators,
        code_table_hash=genesis.code_table_hash(),
        fault_proof_root=EMPTY_HEAD,
    )
    return unsigned.encode() + empty.encode()
