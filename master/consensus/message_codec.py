"""The bytes of what replicas say: canonical CBOR maps told apart by their field ``type``.

Decoding proves no signature; that is done in `message_checks`. A new message is one encoder, one decoder and a line in
each table at the end.

Source: docs/spec/consensus.md, CM-1 to CM-3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from master.consensus import blob_messages, fault_messages, snapshot_messages
from master.consensus.messages import (
    PHASES,
    Blocks,
    Body,
    GetBlocks,
    GetBody,
    GetStanding,
    Gossip,
    Message,
    Propose,
    Spoken,
    Standing,
    Status,
    ViewChange,
    ViewChangeSet,
    Vote,
    view_change_value,
)
from wire import cbor
from wire.block import BLOCK_BYTES_MAX, block_of_value
from wire.certificate import VALIDATORS_MAX, Step, decode_certificate
from wire.errors import UNKNOWN_TYPE, FormatError
from wire.fields import Fields
from wire.types import TX_BYTES_MAX, shown

MESSAGE_BYTES_MAX: Final = BLOCK_BYTES_MAX + 256 * 1024
VALUES_MAX: Final = 16_384
BYTES_PER_VALUE: Final = 8
"""Up to 2 MiB: parts of the state have four values in fifty bytes."""
DENSE_BYTES_MAX: Final = 2 * 1024 * 1024
BYTES_PER_VALUE_BEYOND: Final = 32
"""Beyond: what is longer is long because of its byte strings."""
BLOCKS_PER_ANSWER_MAX: Final = 64
GOSSIP_TRANSACTIONS_MAX: Final = 1024


def encode_message(message: Message) -> bytes:
    """Return the canonical bytes of a message."""
    kind, to_value = _ENCODERS[type(message)]
    return cbor.encode({"type": kind, **to_value(message)})


def values_max(size_bytes: int) -> int:
    """Return how many CBOR values a message of so many bytes may have (docs/spec TP-6)."""
    dense = min(size_bytes, DENSE_BYTES_MAX)
    return VALUES_MAX + dense // BYTES_PER_VALUE + (size_bytes - dense) // BYTES_PER_VALUE_BEYOND


def decode_message(raw: bytes) -> Message:
    """Decode a message; no signature in it has been checked.

    Raises:
        CborError: Not canonical, longer than `MESSAGE_BYTES_MAX` or of too many values (CM-1).
        FormatError: An unknown type, or a field missing, unknown or out of range.
    """
    value = cbor.decode_map(raw, bytes_max=MESSAGE_BYTES_MAX, values_max=values_max(len(raw)))
    kind = value.pop("type", None)
    decoder = _DECODERS.get(kind) if isinstance(kind, str) else None
    if decoder is None:
        raise FormatError(f"message: type {shown(kind)} is unknown", code=UNKNOWN_TYPE)
    return decoder(value)


def decode_view_change_set(raw: bytes) -> ViewChangeSet:
    """Decode archived view changes; no signature in them has been checked.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(cbor.decode(raw), ("view", "view_changes"), "view change set")
    entries = fields.sequence("view_changes", VALIDATORS_MAX)
    return ViewChangeSet(fields.integer("view", 1), tuple(_decode_view_change(entry) for entry in entries))


def _statement_value(vote: Vote | Spoken) -> dict[str, cbor.Value]:
    return {
        "member": vote.member,
        "step": vote.step.name.lower(),
        "epoch": vote.epoch,
        "height": vote.height,
        "view": vote.view,
        "digest": vote.digest,
        "signature": vote.signature,
    }


def _standing_value(message: Standing) -> dict[str, cbor.Value]:
    spoken = message.spoken
    return {
        "member": message.member,
        "nonce": message.nonce,
        "certificate": None if message.certificate is None else message.certificate.to_value(),
        "quarantined": message.is_quarantined,
        "spoken": None if spoken is None else _statement_value(spoken),
        "signature": message.signature,
    }


def _propose_value(message: Propose) -> dict[str, cbor.Value]:
    return {
        "member": message.member,
        "height": message.height,
        "view": message.view,
        "block": message.block.to_value(),
        "view_changes": [view_change_value(entry) for entry in message.view_changes],
        "signature": message.signature,
    }


def _blocks_value(message: Blocks) -> dict[str, cbor.Value]:
    return {
        "blocks": [
            {"block": block.to_value(), "certificate": certificate.to_value()} for block, certificate in message.blocks
        ]
    }


_STATEMENT: Final = ("member", "step", "epoch", "height", "view", "digest", "signature")
_STEP_WORDS: Final = tuple(step.name.lower() for step in Step)


def _decode_vote(value: object) -> Vote:
    fields = Fields(value, _STATEMENT, "vote")
    step = Step.PREPARE if fields.choice("step", ("prepare", "commit")) == "prepare" else Step.COMMIT
    return Vote(
        fields.identifier("member"),
        step,
        fields.integer("epoch"),
        fields.integer("height", 1),
        fields.integer("view"),
        fields.digest("digest"),
        fields.octets("signature", 64, 64),
    )


def _decode_view_change(value: object) -> ViewChange:
    names = ("member", "epoch", "height", "view", "prepared", "signature")
    fields = Fields(value, names, "view change")
    return ViewChange(
        fields.identifier("member"),
        fields.integer("epoch"),
        fields.integer("height", 1),
        fields.integer("view", 1),
        None if fields.is_null("prepared") else decode_certificate(fields.raw("prepared")),
        fields.octets("signature", 64, 64),
    )


def _decode_propose(value: object) -> Propose:
    names = ("member", "height", "view", "block", "view_changes", "signature")
    fields = Fields(value, names, "propose")
    return Propose(
        fields.identifier("member"),
        fields.integer("height", 1),
        fields.integer("view"),
        block_of_value(fields.raw("block")),
        tuple(_decode_view_change(entry) for entry in fields.sequence("view_changes", VALIDATORS_MAX)),
        fields.octets("signature", 64, 64),
    )


def _decode_status(value: object) -> Status:
    fields = Fields(value, ("height", "view", "phase"), "status")
    return Status(fields.integer("height", 1), fields.integer("view"), fields.choice("phase", PHASES))


def _decode_get_standing(value: object) -> GetStanding:
    return GetStanding(Fields(value, ("nonce",), "get-standing").digest("nonce"))


def _decode_spoken(value: object) -> Spoken:
    fields = Fields(value, _STATEMENT, "spoken")
    return Spoken(
        fields.identifier("member"),
        Step[fields.choice("step", _STEP_WORDS).upper()],
        fields.integer("epoch"),
        fields.integer("height", 1),
        fields.integer("view"),
        fields.digest("digest"),
        fields.octets("signature", 64, 64),
    )


def _decode_standing(value: object) -> Standing:
    names = ("member", "nonce", "certificate", "quarantined", "spoken", "signature")
    fields = Fields(value, names, "standing")
    is_quarantined = fields.raw("quarantined")
    if not isinstance(is_quarantined, bool):
        raise FormatError("standing.quarantined: true or false is due")
    return Standing(
        fields.identifier("member"),
        fields.digest("nonce"),
        None if fields.is_null("certificate") else decode_certificate(fields.raw("certificate")),
        is_quarantined,
        None if fields.is_null("spoken") else _decode_spoken(fields.raw("spoken")),
        fields.octets("signature", 64, 64),
    )


def _decode_get_blocks(value: object) -> GetBlocks:
    return GetBlocks(Fields(value, ("first_height",), "get-blocks").integer("first_height", 1))


def _decode_blocks(value: object) -> Blocks:
    pairs = []
    for entry in Fields(value, ("blocks",), "blocks").sequence("blocks", BLOCKS_PER_ANSWER_MAX):
        fields = Fields(entry, ("block", "certificate"), "blocks")
        pairs.append((block_of_value(fields.raw("block")), decode_certificate(fields.raw("certificate"))))
    return Blocks(tuple(pairs))


def _decode_get_body(value: object) -> GetBody:
    return GetBody(Fields(value, ("digest",), "get-body").digest("digest"))


def _decode_body(value: object) -> Body:
    return Body(block_of_value(Fields(value, ("block",), "body").raw("block")))


def _decode_gossip(value: object) -> Gossip:
    fields = Fields(value, ("transactions",), "gossip")
    entries = fields.sequence("transactions", GOSSIP_TRANSACTIONS_MAX)
    transactions = tuple(entry for entry in entries if isinstance(entry, bytes) and len(entry) <= TX_BYTES_MAX)
    if len(transactions) != len(entries):
        raise FormatError("gossip.transactions: byte strings of at most 64 KiB are due")
    return Gossip(transactions)


_DECODERS: Final[dict[str, Callable[[object], Message]]] = {
    "vote": _decode_vote,
    "view-change": _decode_view_change,
    "propose": _decode_propose,
    "status": _decode_status,
    "get-standing": _decode_get_standing,
    "standing": _decode_standing,
    "get-blocks": _decode_get_blocks,
    "blocks": _decode_blocks,
    "get-body": _decode_get_body,
    "body": _decode_body,
    "gossip": _decode_gossip,
    **snapshot_messages.DECODERS,
    **fault_messages.DECODERS,
    **blob_messages.DECODERS,
}

_ENCODERS: Final[dict[type, tuple[str, Callable[[Any], dict[str, cbor.Value]]]]] = {
    Vote: ("vote", _statement_value),
    ViewChange: ("view-change", view_change_value),
    Propose: ("propose", _propose_value),
    Status: (
        "status",
        lambda status: {"height": status.height, "view": status.view, "phase": status.phase},
    ),
    GetStanding: ("get-standing", lambda request: {"nonce": request.nonce}),
    Standing: ("standing", _standing_value),
    GetBlocks: ("get-blocks", lambda request: {"first_height": request.first_height}),
    Blocks: ("blocks", _blocks_value),
    GetBody: ("get-body", lambda request: {"digest": request.digest}),
    Body: ("body", lambda body: {"block": body.block.to_value()}),
    Gossip: ("gossip", lambda gossip: {"transactions": list(gossip.transactions)}),
    **snapshot_messages.ENCODERS,
    **fault_messages.ENCODERS,
    **blob_messages.ENCODERS,
}
