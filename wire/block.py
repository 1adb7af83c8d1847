"""A block: its header, the signed transactions in order, and fault proofs (docs/spec, clauses HD-9 and HD-10)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from wire import cbor
from wire.errors import FormatError
from wire.faultproof import FAULT_PROOF_BYTES_MAX, FAULT_PROOFS_MAX
from wire.fields import Fields
from wire.header import BLOCK_TRANSACTIONS_MAX, HEADER_BYTES_MAX, Header, decode_header, tx_root
from wire.merkle import tree_head
from wire.types import TX_BYTES_MAX, Digest

BLOCK_BYTES_MAX: Final = 8 * 1024 * 1024
_NAMES: Final = ("header", "transactions")


@dataclass(frozen=True, slots=True)
class Block:
    """What the ledger keeps of one height beside its certificate and outcomes."""

    header: Header
    transactions: tuple[bytes, ...]
    """Whole COSE_Sign1 transactions in the order of execution."""
    fault_proofs: tuple[bytes, ...] = ()
    """Canonical fault proofs, executed after the transactions."""
    _roots: list[Digest] = field(default_factory=list, init=False, repr=False, compare=False)
    # asked for when a block is decoded and again when it is executed

    def tx_root(self) -> Digest:
        """Return the tree head over its transactions, signatures included."""
        if not self._roots:
            self._roots.append(tx_root(self.transactions))
        return self._roots[0]

    def to_value(self) -> dict[str, cbor.Value]:
        """Return the block as a CBOR map; without fault proofs it has no field for them."""
        value: dict[str, cbor.Value] = {"header": self.header.encode(), "transactions": list(self.transactions)}
        return {**value, "fault_proofs": list(self.fault_proofs)} if self.fault_proofs else value

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode(self.to_value())


def decode_block(raw: bytes) -> Block:
    """Decode a block of at most 8 MiB.

    Raises:
        CborError: Not canonical.
        FormatError: As for `block_of_value`.
    """
    return block_of_value(cbor.decode(raw, bytes_max=BLOCK_BYTES_MAX))


def block_of_value(value: object) -> Block:
    """Check a decoded block; transactions and fault proofs are bytes that lead to their roots, not yet opened.

    Raises:
        CborError: The header is not canonical.
        FormatError: A field is missing, unknown or out of range, or the header has another tx_count, tx_root or
            fault_proof_root.
    """
    has_proofs = isinstance(value, dict) and "fault_proofs" in value
    fields = Fields(value, ("header", "transactions", "fault_proofs") if has_proofs else _NAMES, "block")
    header = decode_header(fields.octets("header", 1, HEADER_BYTES_MAX))
    entries = fields.sequence("transactions", BLOCK_TRANSACTIONS_MAX)
    transactions = tuple(entry for entry in entries if isinstance(entry, bytes) and len(entry) <= TX_BYTES_MAX)
    if len(transactions) != len(entries):
        raise FormatError("block.transactions: byte strings of at most 64 KiB are due")
    if len(transactions) != header.tx_count:
        raise FormatError(f"block.transactions: {len(transactions)} of them, the header counts {header.tx_count}")
    block = Block(header, transactions)
    if block.tx_root() != header.tx_root:
        raise FormatError("block.transactions: they do not lead to the header's tx_root")
    proofs = _fault_proofs(fields) if has_proofs else ()
    if tree_head(proofs) != header.fault_proof_root:
        raise FormatError("block.fault_proofs: they do not lead to the header's fault_proof_root")
    return replace(block, fault_proofs=proofs) if proofs else block


def _fault_proofs(fields: Fields) -> tuple[bytes, ...]:
    entries = fields.sequence("fault_proofs", FAULT_PROOFS_MAX)
    proofs = tuple(entry for entry in entries if isinstance(entry, bytes) and len(entry) <= FAULT_PROOF_BYTES_MAX)
    if not proofs or len(proofs) != len(entries):
        raise FormatError("block.fault_proofs: byte strings of at most 1,024 bytes are due, or no field at all")
    return proofs
