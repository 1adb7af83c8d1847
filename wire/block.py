"""A block: its header and the signed transactions in order (docs/spec, clause HD-9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wire import cbor
from wire.errors import FormatError
from wire.fields import Fields
from wire.header import BLOCK_TRANSACTIONS_MAX, HEADER_BYTES_MAX, Header, decode_header, tx_root
from wire.types import TX_BYTES_MAX

BLOCK_BYTES_MAX: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Block:
    """What the ledger keeps of one height beside its certificate and outcomes."""

    header: Header
    transactions: tuple[bytes, ...]
    """Whole COSE_Sign1 transactions in the order of execution."""

    def to_value(self) -> dict[str, cbor.Value]:
        """Return the block as a CBOR map."""
        return {"header": self.header.encode(), "transactions": list(self.transactions)}

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
    """Check a decoded block; its transactions are bytes that lead to tx_root, not yet opened.

    Raises:
        CborError: The header is not canonical.
        FormatError: A field is missing, unknown or out of range, or the header has another tx_count or tx_root.
    """
    fields = Fields(value, ("header", "transactions"), "block")
    header = decode_header(fields.octets("header", 1, HEADER_BYTES_MAX))
    entries = fields.sequence("transactions", BLOCK_TRANSACTIONS_MAX)
    transactions = tuple(entry for entry in entries if isinstance(entry, bytes) and len(entry) <= TX_BYTES_MAX)
    if len(transactions) != len(entries):
        raise FormatError("block.transactions: byte strings of at most 64 KiB are due")
    if len(transactions) != header.tx_count:
        raise FormatError(f"block.transactions: {len(transactions)} of them, the header counts {header.tx_count}")
    if tx_root(transactions) != header.tx_root:
        raise FormatError("block.transactions: they do not lead to the header's tx_root")
    return Block(header, transactions)
