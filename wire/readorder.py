"""Read orders on their way to a gateway: a transaction of the contract `orders` with the receipt that proves it.

docs/spec, clauses RO-1 to RO-2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wire import cbor
from wire.errors import FormatError, ProofError
from wire.fields import Fields
from wire.receipt import BUNDLE_BYTES_MAX, RECEIPT_BYTES_MAX, Receipt, decode_receipt, verify_receipt
from wire.tx import open_tx
from wire.types import EVIDENCE_DEVICES_MAX, TX_BYTES_MAX, Digest, check_ascending, check_identifier, sha256

if TYPE_CHECKING:
    from wire.genesis import Genesis

ITEM_TYPE: Final = "read-order"
VERSION: Final = 1
_NAMES: Final = ("type", "version", "tx", "receipt")
_CALL: Final = ("orders", 1, "inspect")
_ARGS: Final = ("gateway", "devices", "nonce", "deadline_ms")


@dataclass(frozen=True, slots=True)
class ReadOrder:
    """What comes down."""

    tx: bytes
    """The whole signed transaction."""
    receipt: Receipt

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode({"type": ITEM_TYPE, "version": VERSION, "tx": self.tx, "receipt": self.receipt.encode()})


@dataclass(frozen=True, slots=True)
class Demand:
    """What a read order asks for."""

    order: Digest
    """Id of its transaction."""
    gateway: str
    devices: tuple[str, ...]
    """1..64, ascending."""
    nonce: bytes
    """32 bytes, for the evidence that answers."""
    deadline_ms: int
    """Block time by which an answer is due, milliseconds since 1970 UTC."""


def decode_read_order(raw: bytes) -> ReadOrder:
    """Decode a read order; it proves nothing before `verify_read_order`.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(cbor.decode(raw, bytes_max=BUNDLE_BYTES_MAX), _NAMES, ITEM_TYPE)
    fields.choice("type", (ITEM_TYPE,))
    fields.integer("version", VERSION, VERSION)
    return ReadOrder(
        fields.octets("tx", 1, TX_BYTES_MAX), decode_receipt(fields.octets("receipt", 1, RECEIPT_BYTES_MAX))
    )


def demand_of(order: ReadOrder) -> Demand:
    """Return what a read order asks for, whether it is proven or not.

    Raises:
        CborError: The transaction is not canonical.
        FormatError: It is no transaction, or asks for something else.
    """
    call = open_tx(order.tx).tx
    if (call.contract, call.version, call.method) != _CALL:
        raise FormatError(f"{ITEM_TYPE}: the transaction asks for {call.contract} {call.method}")
    args = Fields(call.args, _ARGS, f"{ITEM_TYPE}.args")
    where = args.where("devices")
    devices = tuple(check_identifier(name, where) for name in args.sequence("devices", EVIDENCE_DEVICES_MAX))
    if not devices:
        raise FormatError(f"{where}: at least one is due")
    check_ascending(devices, where)
    return Demand(
        sha256(order.tx), args.identifier("gateway"), devices, args.digest("nonce"), args.integer("deadline_ms")
    )


def verify_read_order(order: ReadOrder, genesis: Genesis) -> Demand:
    """Prove with the genesis file alone that the ledger took a read order, and return what it asks for.

    Raises:
        CborError: The transaction is not canonical.
        FormatError: It is no read order.
        ProofError: It is not in the block, or the contract refused it.
        CertificateError: The block is not certified.
    """
    demand = demand_of(order)
    verify_receipt(order.receipt, order.tx, genesis)
    if order.receipt.outcome.code != "ok":
        raise ProofError(f"{ITEM_TYPE}: the contract refused it with {order.receipt.outcome.code}")
    return demand
