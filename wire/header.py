"""Block headers (docs/spec, clauses HD-1 to HD-10)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final

from wire import cbor
from wire.fields import Fields
from wire.merkle import tree_head
from wire.types import Digest, sha256

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION: Final = 1
HEADER_BYTES_MAX: Final = 4096
BLOCK_TRANSACTIONS_MAX: Final = 100_000
ZERO_DIGEST: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Header:
    """What validators sign. The view is not in it, so that a re-proposal keeps its digest."""

    chain: str
    epoch: int
    """Number of the validator set that decides this block."""
    height: int
    """1 for the first block; the genesis state is height 0."""
    proposer: str
    """Member that built the block."""
    time_ms: int
    """Block time, milliseconds since 1970 UTC, strictly above the parent's."""
    parent: Digest
    """Digest of the block before; of height 1, the genesis digest."""
    tx_count: int
    """Transactions in the block; without it no proof could tell a transaction's place (see `verify_inclusion`)."""
    tx_root: Digest
    """RFC 9162 tree head over the whole signed transactions."""
    outcome_root: Digest
    """RFC 9162 tree head over the canonical outcomes."""
    state_root: Digest
    """Root of the state tree after this block."""
    history_root: Digest
    """RFC 9162 tree head over the digests of blocks 0..height-1, genesis first."""
    validators_hash: Digest
    next_validators_hash: Digest
    """Set that decides the next block."""
    code_table_hash: Digest
    fault_proof_root: Digest
    """RFC 9162 tree head over the block's fault proofs."""
    _digests: list[Digest] = field(default_factory=list, init=False, repr=False, compare=False)
    # a replica asks for the digest a hundred times per block

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        value: dict[str, cbor.Value] = {name: getattr(self, name) for name in _NAMES}
        return cbor.encode({"version": VERSION, **value})

    def digest(self) -> Digest:
        """Return the block's digest: SHA-256 of the canonical header."""
        if not self._digests:
            self._digests.append(sha256(self.encode()))
        return self._digests[0]


_NAMES: Final = tuple(entry.name for entry in fields(Header) if entry.init)
_DIGESTS: Final = (
    "parent",
    "tx_root",
    "outcome_root",
    "state_root",
    "history_root",
    "validators_hash",
    "next_validators_hash",
    "code_table_hash",
    "fault_proof_root",
)


def decode_header(raw: bytes) -> Header:
    """Decode a header and check every field.

    Args:
        raw: Canonical CBOR of at most 4,096 bytes.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    entry = Fields(cbor.decode(raw, bytes_max=HEADER_BYTES_MAX), ("version", *_NAMES), "header")
    entry.integer("version", VERSION, VERSION)
    return Header(
        chain=entry.identifier("chain"),
        epoch=entry.integer("epoch"),
        height=entry.integer("height", 1),
        proposer=entry.identifier("proposer"),
        time_ms=entry.integer("time_ms"),
        tx_count=entry.integer("tx_count", 0, BLOCK_TRANSACTIONS_MAX),
        **{name: entry.digest(name) for name in _DIGESTS},
    )


def tx_root(transactions: Sequence[bytes]) -> Digest:
    """Return the tree head over whole signed transactions, signatures included."""
    return tree_head(transactions)
