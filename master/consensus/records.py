"""Records of the write-ahead log: what a replica must remember to never contradict itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from master.consensus.message_codec import MESSAGE_BYTES_MAX, decode_message, encode_message
from master.consensus.messages import Propose, ViewChange, Vote
from wire import cbor
from wire.block import Block, decode_block
from wire.certificate import Certificate, decode_certificate
from wire.errors import FormatError
from wire.fields import Fields

RECORD_BYTES_MAX: Final = MESSAGE_BYTES_MAX + 64


@dataclass(frozen=True, slots=True)
class Accepted:
    """A proposal that was prepared: header, bodies and the view changes that allowed it."""

    propose: Propose


@dataclass(frozen=True, slots=True)
class Fetched:
    """A block that was committed to without having been prepared here: others proposed it to others."""

    block: Block


@dataclass(frozen=True, slots=True)
class Signed:
    """A message that this node signed: PROPOSE counts as `Accepted`."""

    message: Vote | ViewChange


@dataclass(frozen=True, slots=True)
class Prepared:
    """The prepared certificate of the highest view."""

    certificate: Certificate


Record: TypeAlias = "Accepted | Fetched | Signed | Prepared"


def encode_record(record: Record) -> bytes:
    """Return the canonical bytes of a record."""
    match record:
        case Accepted():
            return cbor.encode({"body": encode_message(record.propose), "type": "accepted"})
        case Fetched():
            return cbor.encode({"body": record.block.encode(), "type": "fetched"})
        case Signed():
            return cbor.encode({"body": encode_message(record.message), "type": "signed"})
        case _:
            return cbor.encode({"body": record.certificate.encode(), "type": "prepared"})


def decode_record(raw: bytes) -> Record:
    """Decode a record of this node's own log.

    Raises:
        CborError: Not canonical: the log is damaged.
        FormatError: An unknown type or a malformed body.
    """
    fields = Fields(cbor.decode(raw, bytes_max=RECORD_BYTES_MAX), ("type", "body"), "record")
    body = fields.octets("body", 1, RECORD_BYTES_MAX)
    kind = fields.choice("type", ("accepted", "fetched", "signed", "prepared"))
    if kind == "fetched":
        return Fetched(decode_block(body))
    if kind == "prepared":
        return Prepared(decode_certificate(cbor.decode(body)))
    message = decode_message(body)
    if kind == "accepted" and isinstance(message, Propose):
        return Accepted(message)
    if kind == "signed" and isinstance(message, Vote | ViewChange):
        return Signed(message)
    raise FormatError(f"record: a {kind} record holds a {type(message).__name__}")


def height_of(record: Record) -> int:
    """Return the height that a record belongs to."""
    match record:
        case Accepted():
            return record.propose.height
        case Fetched():
            return record.block.header.height
        case Signed():
            return record.message.height
        case _:
            return record.certificate.height
