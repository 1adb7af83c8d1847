"""Which blobs a transaction names, and the ledger's own record of them (docs/spec, clauses BL-2 to BL-4). Pure.

Namespace `blobs`, values in CBOR: "d/" | digest -> {size, height: the block that named it first}; "o/" | organisation
-> {day: UTC day of block time since 1970, bytes: of new blobs that it named on that day}.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from master.contracts import membership
from master.contracts.context import Contract, Refused, blob_of
from master.contracts.parameters import DAY_MS
from master.contracts.table import CONTRACTS
from master.ledger.call import StateReads, decode_entry
from master.ledger.refusals import BlockRefused
from master.ledger.state import Entries, Overlay, Write
from wire import cbor
from wire.blob import BLOCK_BLOB_BYTES_MAX, BLOCK_BLOBS_MAX, BlobRef
from wire.fields import Fields
from wire.tx import Transaction
from wire.types import Digest

NAMESPACE: Final = "blobs"
_PREFIX: Final = b"d/"


def named_blobs(call: Transaction) -> tuple[BlobRef, ...]:
    """Return the blobs that a call names, each once, as this program's contract of that version declares them."""
    return blobs_of_call(CONTRACTS.get((call.contract, call.version)), call)


def blobs_of_call(contract: Contract | None, call: Transaction) -> tuple[BlobRef, ...]:
    """Return the blobs that a call of a contract names, each once; whether it accepts the call is another matter."""
    arguments = () if contract is None else contract.blobs.get(call.method, ())
    if not arguments:
        return ()
    found = (blob_of(call.args, argument) for argument in arguments)
    return tuple(dict.fromkeys(blob for blob in found if blob is not None))


class BlobRoom:
    """How many blobs a block may still name."""

    def __init__(self) -> None:
        """Begin with an empty block."""
        self._named: set[BlobRef] = set()
        self._bytes = 0

    def takes(self, blobs: Sequence[BlobRef]) -> bool:
        """Count the blobs of one more transaction, and tell whether the block may name them beside the others."""
        if not blobs:
            return True
        new = [blob for blob in blobs if blob not in self._named]
        size = self._bytes + sum(blob.size for blob in new)
        if len(self._named) + len(new) > BLOCK_BLOBS_MAX or size > BLOCK_BLOB_BYTES_MAX:
            return False
        self._named.update(new)
        self._bytes = size
        return True


def check_room(room: BlobRoom, blobs: Sequence[BlobRef], sender: str) -> None:
    """Count the blobs of one more call of a block that somebody else built.

    Raises:
        BlockRefused: The block names more than it may.
    """
    if not room.takes(blobs):
        raise BlockRefused("too-many-blobs", f"a call of {sender} names more than a block may")


def record(state: Overlay, blobs: Sequence[BlobRef], organisation: str, height: int, time_ms: int) -> None:
    """Note blobs that an accepted call names for the first time.

    Args:
        state: Takes the writes.
        blobs: Of the call.
        organisation: Owner of the signing key; charged with their bytes.
        height: Of the block.
        time_ms: Block time, milliseconds since 1970 UTC.

    Raises:
        Refused: blob-quota, the organisation has named too many bytes on this day; bad-blob, the ledger knows the
            digest with another size.
    """
    new = []
    for blob in blobs:
        size = known_size(state, blob.digest)
        if size is None:
            new.append(blob)
        elif size != blob.size:
            raise Refused("bad-blob")
    if not new:
        return
    day, key = time_ms // DAY_MS, b"o/" + organisation.encode("ascii")
    raw = state.get(NAMESPACE, key)
    used = Fields({"day": day, "bytes": 0} if raw is None else decode_entry(raw), ("day", "bytes"), "blobs.day")
    total = (used.integer("bytes") if used.integer("day") == day else 0) + sum(blob.size for blob in new)
    if total > membership.integer_parameter(StateReads(state), "blob_day_bytes_max"):
        raise Refused("blob-quota")
    state.put(NAMESPACE, key, cbor.encode({"day": day, "bytes": total}))
    for blob in new:
        state.put(NAMESPACE, entry_key(blob.digest), cbor.encode({"size": blob.size, "height": height}))


def brought(writes: Sequence[Write]) -> tuple[BlobRef, ...]:
    """Return the blobs that accepted calls among a block's name for the first time: what its voters must hold."""
    return tuple(
        BlobRef(write.key[len(_PREFIX) :], _size(write.value))
        for write in writes
        if write.namespace == NAMESPACE and write.key.startswith(_PREFIX) and write.value is not None
    )


def entry_key(digest: Digest) -> bytes:
    """Return the key of the state entry about a blob."""
    return _PREFIX + digest


def known_size(state: Entries, digest: Digest) -> int | None:
    """Return the size of a blob that an accepted call has named, None when none has."""
    raw = state.get(NAMESPACE, entry_key(digest))
    return None if raw is None else _size(raw)


def known_blobs(state: Entries) -> Iterator[BlobRef]:
    """Yield all blobs that accepted calls have named, by ascending digest."""
    for key, raw in state.scan(NAMESPACE, _PREFIX):
        yield BlobRef(key[len(_PREFIX) :], _size(raw))


def _size(raw: bytes) -> int:
    return Fields(decode_entry(raw), ("size", "height"), "blobs.blob").integer("size", 1)
