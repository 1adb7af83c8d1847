"""The store as of one moment: what is written later does not show."""

from __future__ import annotations

from collections.abc import Iterator

import lmdb

from master.io.store_records import decode_head, unseal
from master.ledger.rows import Head


class StoreView:
    """One read transaction, for any one thread; old pages are kept for it until it is closed.

    Args:
        env: Of the store.
        tables: Its tables.
    """

    def __init__(self, env: lmdb.Environment, tables: dict[str, lmdb._Database]) -> None:
        self._tables = tables
        self._page_bytes = env.stat()["psize"]
        self._txn = env.begin()
        self.head: Head = decode_head(self._get("meta", b"head"))
        """The newest block at that moment."""

    @property
    def state_bytes(self) -> int:
        """Bytes that the state takes on the disk."""
        stat = self._txn.stat(self._tables["state"])
        return int(self._page_bytes * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]))

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all state entries: length and name of the namespace with the key, and the value.

        Raises:
            StoreCorruptError: An entry is damaged.
        """
        with self._txn.cursor(self._tables["state"]) as cursor:
            for key, record in cursor:
                yield key, unseal("state", key, record)

    def close(self) -> None:
        """Give the moment up."""
        self._txn.abort()

    def _get(self, table: str, key: bytes) -> bytes:
        record = self._txn.get(key, db=self._tables[table])
        assert record is not None  # a store that is open has a head
        return unseal(table, key, record)
