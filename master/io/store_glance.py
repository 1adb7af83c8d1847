"""The state of a store as of one moment, for another process than its node's; the node may go on writing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import lmdb

from master.io.store_env import TABLES, state_key
from master.io.store_records import StoreCorruptError, StoreError, decode_head, unseal
from master.ledger.rows import Head
from wire.genesis import Genesis

_DATA_FILE: Final = "data.mdb"


class StoreGlance:
    """Implements `master.ledger.state.Entries` on one read transaction; to be closed soon, since it keeps old pages.

    Args:
        path: Folder of the store.
        genesis: Of the ledger that is expected there.

    Raises:
        StoreError: There is none, it is of another ledger, or it cannot be read.
    """

    def __init__(self, path: Path, genesis: Genesis) -> None:
        if not (path / _DATA_FILE).exists():
            raise StoreError(f"store {path}: there is none; make one with: gridwitness-node init")
        try:
            self._env = lmdb.open(str(path), readonly=True, max_dbs=len(TABLES))
        except lmdb.Error as error:
            raise StoreError(f"store {path} cannot be read: {error}") from error
        try:
            self._tables = {name: self._env.open_db(name.encode(), create=False) for name in ("meta", "state")}
            self._txn = self._env.begin()
            self._check_ledger(path, genesis)
            self.head: Head = decode_head(self._meta(b"head"))
            """The newest block at that moment."""
        except lmdb.Error as error:
            self._env.close()
            raise StoreError(f"store {path} cannot be read: {error}") from error
        except BaseException:
            self._env.close()
            raise

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the moment up."""
        self._txn.abort()
        self._env.close()

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """Return the canonical CBOR under ``key``, or None."""
        place = state_key(namespace, key)
        record = self._txn.get(place, db=self._tables["state"])
        return None if record is None else unseal("state", place, record)

    def scan(self, namespace: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys that start with ``prefix`` and their values in ascending order of key."""
        start = state_key(namespace, prefix)
        skip = len(start) - len(prefix)
        with self._txn.cursor(self._tables["state"]) as cursor:
            found = cursor.set_range(start)
            while found and cursor.key().startswith(start):
                yield cursor.key()[skip:], unseal("state", cursor.key(), cursor.value())
                found = cursor.next()

    def _check_ledger(self, path: Path, genesis: Genesis) -> None:
        if self._meta(b"genesis") != genesis.digest():
            raise StoreError(f"store {path}: it is of another ledger than {genesis.chain()}")

    def _meta(self, key: bytes) -> bytes:
        record = self._txn.get(key, db=self._tables["meta"])
        if record is None:
            raise StoreCorruptError(f"store: it has no {key.decode('ascii')}")
        return unseal("meta", key, record)
