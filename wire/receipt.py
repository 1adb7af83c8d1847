"""Receipts: proof that a transaction is in the ledger and what came of it (docs/spec, clauses RC-1 to RC-8).

A receipt verifies with the genesis file alone, whatever validator changes came between.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from wire import cbor
from wire.certificate import Certificate, decode_certificate
from wire.epochs import EpochEnd, decode_epochs_field, verify_epochs, verify_header
from wire.errors import FormatError, ProofError
from wire.fields import Fields
from wire.header import BLOCK_TRANSACTIONS_MAX, HEADER_BYTES_MAX, Header, decode_header
from wire.merkle import PATH_LENGTH_MAX, verify_inclusion
from wire.types import DIGEST_BYTES, TX_BYTES_MAX, Digest, sha256

if TYPE_CHECKING:
    from wire.genesis import Genesis

TYPE: Final = "receipt"
VERSION: Final = 1
RECEIPT_BYTES_MAX: Final = 4 * 1024 * 1024
BUNDLE_BYTES_MAX: Final = RECEIPT_BYTES_MAX + TX_BYTES_MAX + 1024
OUTCOME_BYTES_MAX: Final = 1024 * 1024
EVENTS_MAX: Final = 4096
_NAMES: Final = (
    "type",
    "version",
    "tx",
    "header",
    "certificate",
    "index",
    "size",
    "tx_path",
    "outcome",
    "outcome_path",
    "epochs",
)


_PLAIN_START: Final = b"\xa3\x62tx\x58\x20"
"""What an outcome without events starts with, most of them by far: a map of three, the key tx, a digest."""


@lru_cache(maxsize=256)
def _plain_end(code: str) -> bytes:
    """Return what follows the transaction's id in an outcome without events."""
    return cbor.encode({"tx": bytes(DIGEST_BYTES), "code": code, "events": []})[len(_PLAIN_START) + DIGEST_BYTES :]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a contract says happened, in the order in which it happened."""

    contract: str
    type: str
    subject: str
    """What it is about: a device, a release, an alarm."""
    data: dict[str, cbor.Value]

    def to_value(self) -> dict[str, cbor.Value]:
        """Return what an outcome holds of it."""
        # in the order of the bytes, as all that a report writes: what is in order is encoded in a third of the time
        return {"data": self.data, "type": self.type, "subject": self.subject, "contract": self.contract}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What execution yielded for one transaction."""

    tx: Digest
    code: str
    """``ok`` or the reason for a refusal, an identifier."""
    events: tuple[Event, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes: a leaf of outcome_root."""
        if not self.events and len(self.tx) == DIGEST_BYTES:
            return _PLAIN_START + self.tx + _plain_end(self.code)
        return cbor.encode(
            {
                "tx": self.tx,
                "code": self.code,
                "events": [event.to_value() for event in self.events],
            }
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """Inclusion, outcome and finality of one transaction."""

    tx: Digest
    """Id of the transaction."""
    header: Header
    certificate: Certificate
    index: int
    """Place in the block, from 0."""
    size: int
    """Transactions in the block, the header's tx_count."""
    tx_path: tuple[Digest, ...]
    outcome: Outcome
    outcome_path: tuple[Digest, ...]
    epochs: tuple[EpochEnd, ...]
    """Every epoch end from genesis to the header's epoch."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode(
            {
                "type": TYPE,
                "version": VERSION,
                "tx": self.tx,
                "header": self.header.encode(),
                "certificate": self.certificate.to_value(),
                "index": self.index,
                "size": self.size,
                "tx_path": list(self.tx_path),
                "outcome": self.outcome.encode(),
                "outcome_path": list(self.outcome_path),
                "epochs": [end.to_value() for end in self.epochs],
            }
        )


def decode_outcome(raw: bytes) -> Outcome:
    """Decode an outcome.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(cbor.decode(raw, bytes_max=OUTCOME_BYTES_MAX), ("tx", "code", "events"), "outcome")
    events = []
    for entry in fields.sequence("events", EVENTS_MAX):
        event = Fields(entry, ("contract", "type", "subject", "data"), "outcome.events")
        contract, data = event.identifier("contract"), event.mapping("data")
        events.append(Event(contract, event.text("type", characters_min=1), event.text("subject"), data))
    return Outcome(fields.digest("tx"), fields.identifier("code"), tuple(events))


def decode_receipt(raw: bytes) -> Receipt:
    """Decode a receipt; it proves nothing before `verify_receipt`.

    Args:
        raw: Canonical CBOR of at most 4 MiB.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(cbor.decode(raw, bytes_max=RECEIPT_BYTES_MAX), _NAMES, "receipt")
    fields.choice("type", (TYPE,))
    fields.integer("version", VERSION, VERSION)
    return Receipt(
        tx=fields.digest("tx"),
        header=decode_header(fields.octets("header", 1, HEADER_BYTES_MAX)),
        certificate=decode_certificate(fields.raw("certificate")),
        index=fields.integer("index", 0, BLOCK_TRANSACTIONS_MAX - 1),
        size=fields.integer("size", 1, BLOCK_TRANSACTIONS_MAX),
        tx_path=_path(fields, "tx_path"),
        outcome=decode_outcome(fields.octets("outcome", 1, OUTCOME_BYTES_MAX)),
        outcome_path=_path(fields, "outcome_path"),
        epochs=decode_epochs_field(fields),
    )


def verify_receipt(receipt: Receipt, raw_tx: bytes, genesis: Genesis) -> None:
    """Prove with the genesis file alone that ``raw_tx`` is final and has the receipt's outcome.

    Args:
        receipt: As decoded.
        raw_tx: The whole signed transaction.
        genesis: From the verifier's own disk.

    Raises:
        ProofError: The transaction or the outcome is not in the block.
        CertificateError: The block or an epoch on the way is not certified.
    """
    if sha256(raw_tx) != receipt.tx or receipt.outcome.tx != receipt.tx:
        raise ProofError("receipt: it is about another transaction")
    epoch = verify_epochs(genesis, receipt.epochs)
    verify_header(genesis.chain(), epoch, receipt.header, receipt.certificate)
    if receipt.size != receipt.header.tx_count:
        raise ProofError(
            f"receipt: a block of {receipt.size} transactions, its header counts {receipt.header.tx_count}"
        )
    verify_inclusion(raw_tx, receipt.index, receipt.size, receipt.tx_path, receipt.header.tx_root)
    outcome = receipt.outcome.encode()
    verify_inclusion(outcome, receipt.index, receipt.size, receipt.outcome_path, receipt.header.outcome_root)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A transaction with its receipt: what one person hands to another as proof."""

    tx: bytes
    receipt: Receipt

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode({"type": "bundle", "version": VERSION, "tx": self.tx, "receipt": self.receipt.encode()})


def decode_bundle(raw: bytes) -> Bundle:
    """Decode a bundle.

    Args:
        raw: Canonical CBOR of at most `BUNDLE_BYTES_MAX`.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    value = cbor.decode(raw, bytes_max=BUNDLE_BYTES_MAX)
    fields = Fields(value, ("type", "version", "tx", "receipt"), "bundle")
    fields.choice("type", ("bundle",))
    fields.integer("version", VERSION, VERSION)
    return Bundle(
        fields.octets("tx", 1, TX_BYTES_MAX),
        decode_receipt(fields.octets("receipt", 1, RECEIPT_BYTES_MAX)),
    )


def _path(fields: Fields, name: str) -> tuple[Digest, ...]:
    path = fields.sequence(name, PATH_LENGTH_MAX)
    digests = tuple(entry for entry in path if isinstance(entry, bytes) and len(entry) == DIGEST_BYTES)
    if len(digests) != len(path):
        raise FormatError(f"{fields.where(name)}: digests of 32 bytes are due")
    return digests
