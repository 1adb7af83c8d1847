"""What replicas say to each other, and its bytes: canonical CBOR maps told apart by their field ``type``.

Source: reference protocol of docs/spec, clauses CM-1 to CM-3; PBFT (Castro, Liskov 1999) with signatures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from wire import cbor
from wire.block import BLOCK_BYTES_MAX, Block, block_of_value
from wire.certificate import (
    VALIDATORS_MAX,
    Certificate,
    Step,
    ValidatorSet,
    decode_certificate,
    verify_certificate,
    vote_bytes,
)
from wire.errors import CertificateError, FormatError
from wire.fields import Fields
from wire.header import ZERO_DIGEST
from wire.types import TX_BYTES_MAX, Digest, sha256

MESSAGE_BYTES_MAX: Final = BLOCK_BYTES_MAX + 256 * 1024
BLOCKS_PER_ANSWER_MAX: Final = 64
GOSSIP_TRANSACTIONS_MAX: Final = 1024
PHASES: Final = ("new", "proposed", "prepared")
_STANDING_DOMAIN: Final = b"gridwitness/standing/1"

Verify: TypeAlias = Callable[[bytes, bytes, bytes], None]


@dataclass(frozen=True, slots=True)
class Vote:
    """PREPARE or COMMIT of one validator for one block."""

    member: str
    step: Step
    epoch: int
    height: int
    view: int
    digest: Digest
    signature: bytes

    def signed_bytes(self, chain: str) -> bytes:
        """Return the bytes under the signature."""
        return vote_bytes(chain, self.epoch, self.step, self.height, self.view, self.digest)


@dataclass(frozen=True, slots=True)
class ViewChange:
    """One validator's wish to decide ``height`` in ``view``, with the highest PC that it holds."""

    member: str
    epoch: int
    height: int
    view: int
    prepared: Certificate | None
    """A PREPARE certificate of a lower view at this height."""
    signature: bytes

    def digest(self) -> Digest:
        """Return what is voted: SHA-256(pc_view | pc_digest), or zeros without a certificate."""
        return prepared_digest(self.prepared)

    def signed_bytes(self, chain: str) -> bytes:
        """Return the bytes under the signature; they bind the certificate's view and digest."""
        return vote_bytes(chain, self.epoch, Step.VIEW_CHANGE, self.height, self.view, self.digest())


@dataclass(frozen=True, slots=True)
class Propose:
    """A block proposed in a view; above view 0 (NEW-VIEW) with the view changes that allow it."""

    member: str
    height: int
    view: int
    block: Block
    view_changes: tuple[ViewChange, ...]
    signature: bytes

    def signed_bytes(self, chain: str) -> bytes:
        """Return the bytes under the signature."""
        digest = proposal_digest(self.block.header.digest(), self.view_changes)
        return vote_bytes(chain, self.block.header.epoch, Step.PROPOSE, self.height, self.view, digest)


@dataclass(frozen=True, slots=True)
class Status:
    """Where a replica stands; sent on connection and every second."""

    height: int
    """Height that it is deciding; its head is one below."""
    view: int
    phase: str
    """One of `PHASES`."""


@dataclass(frozen=True, slots=True)
class GetStanding:
    """Asks what others know of this node's key, and how far they are; sent after every start."""

    nonce: Digest
    """32 bytes that no earlier start used."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """One statement of a validator with its signature: proof that its key was used."""

    member: str
    step: Step
    epoch: int
    height: int
    view: int
    digest: Digest
    signature: bytes

    def signed_bytes(self, chain: str) -> bytes:
        """Return the bytes under the signature."""
        return vote_bytes(chain, self.epoch, self.step, self.height, self.view, self.digest)


@dataclass(frozen=True, slots=True)
class Standing:
    """Answer to `GetStanding`, signed over its nonce."""

    member: str
    nonce: Digest
    certificate: Certificate | None
    """COMMIT certificate of the answerer's head; None at the genesis block."""
    is_quarantined: bool
    spoken: Spoken | None
    """The newest statement that the answerer holds of the asker's key."""
    signature: bytes

    @property
    def height(self) -> int:
        """Proven height of the answerer's head."""
        return 0 if self.certificate is None else self.certificate.height

    def signed_bytes(self, chain: str) -> bytes:
        """Return the bytes under the signature; ``spoken`` carries its own."""
        return standing_bytes(chain, self.member, self.nonce, self.certificate, is_quarantined=self.is_quarantined)


@dataclass(frozen=True, slots=True)
class GetBlocks:
    """Asks for committed blocks from a height on."""

    first_height: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """Committed blocks in order, each with its commit certificate."""

    blocks: tuple[tuple[Block, Certificate], ...]


@dataclass(frozen=True, slots=True)
class GetBody:
    """Asks for the block of a digest at the height that is being decided."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class Body:
    """A block that is not final yet; it proves nothing but its own digest."""

    block: Block


@dataclass(frozen=True, slots=True)
class Gossip:
    """Transactions that arrived at one node and are meant for all."""

    transactions: tuple[bytes, ...]


Message: TypeAlias = (
    "Vote | ViewChange | Propose | Status | GetStanding | Standing | GetBlocks | Blocks | GetBody | Body | Gossip"
)


def standing_bytes(
    chain: str, member: str, nonce: Digest, certificate: Certificate | None, *, is_quarantined: bool
) -> bytes:
    """Return what a `Standing` signs; no vote shares its first bytes."""
    value: dict[str, cbor.Value] = {
        "chain": chain,
        "member": member,
        "nonce": nonce,
        "certificate": None if certificate is None else certificate.to_value(),
        "quarantined": is_quarantined,
    }
    return _STANDING_DOMAIN + sha256(cbor.encode(value))


def prepared_digest(prepared: Certificate | None) -> Digest:
    """Return the digest that a VIEW-CHANGE signs for its prepared certificate."""
    if prepared is None:
        return ZERO_DIGEST
    return sha256(prepared.view.to_bytes(8, "big") + prepared.digest)


def proposal_digest(block_digest: Digest, view_changes: tuple[ViewChange, ...]) -> Digest:
    """Return the digest that a PROPOSE signs: SHA-256(block digest | SHA-256(view changes) or 0)."""
    if not view_changes:
        return sha256(block_digest + ZERO_DIGEST)
    proof = cbor.encode([_view_change_value(entry) for entry in view_changes])
    return sha256(block_digest + sha256(proof))


def encode_message(message: Message) -> bytes:
    """Return the canonical bytes of a message."""
    kind, to_value = _ENCODERS[type(message)]
    return cbor.encode({"type": kind, **to_value(message)})


def decode_message(raw: bytes) -> Message:
    """Decode a message; no signature in it has been checked.

    Raises:
        CborError: Not canonical or longer than `MESSAGE_BYTES_MAX`.
        FormatError: An unknown type, or a field missing, unknown or out of range.
    """
    value = cbor.decode_map(raw, bytes_max=MESSAGE_BYTES_MAX)
    kind = value.pop("type", None)
    decoder = _DECODERS.get(kind) if isinstance(kind, str) else None
    if decoder is None:
        raise FormatError(f"message: type {kind!r} is unknown")
    return decoder(value)


def verify_message(message: Message, chain: str, validators: ValidatorSet, verify: Verify) -> None:
    """Prove every signature in a message with the validators of the epoch that is being decided.

    Args:
        message: As decoded.
        chain: Name of the ledger.
        validators: The deciding set.
        verify: Checks (key, message, signature); a cache may stand here.

    Raises:
        CertificateError: The signer is no validator, or a certificate lacks signatures.
        SignatureError: A signature does not verify.
    """
    if isinstance(message, Vote | ViewChange | Propose | Standing):
        _verify_signature(message, chain, validators, verify)
    if isinstance(message, Standing):
        _verify_standing(message, chain, validators, verify)
    elif isinstance(message, Propose):
        for entry in message.view_changes:
            verify_message(entry, chain, validators, verify)
    elif isinstance(message, ViewChange) and message.prepared is not None:
        _verify_prepared(message, message.prepared, chain, validators, verify)
    elif isinstance(message, Blocks):
        for block, certificate in message.blocks:
            if certificate.digest != block.header.digest() or certificate.step != Step.COMMIT:
                raise CertificateError(f"block {block.header.height}: its certificate is about something else")
            verify_certificate(certificate, chain, validators, verify)


def _verify_prepared(
    message: ViewChange,
    prepared: Certificate,
    chain: str,
    validators: ValidatorSet,
    verify: Verify,
) -> None:
    if prepared.step != Step.PREPARE or prepared.height != message.height:
        raise CertificateError("view change: its certificate is no PREPARE of this height")
    if prepared.view >= message.view or prepared.epoch != message.epoch:
        raise CertificateError("view change: its certificate is not of an earlier view")
    verify_certificate(prepared, chain, validators, verify)


def _verify_standing(message: Standing, chain: str, validators: ValidatorSet, verify: Verify) -> None:
    if message.certificate is not None:
        if message.certificate.step != Step.COMMIT:
            raise CertificateError("standing: its certificate is no COMMIT")
        verify_certificate(message.certificate, chain, validators, verify)
    if message.spoken is not None:
        _verify_signature(message.spoken, chain, validators, verify)


def _verify_signature(
    message: Vote | ViewChange | Propose | Standing | Spoken, chain: str, validators: ValidatorSet, verify: Verify
) -> None:
    validator = validators.find(message.member)
    if validator is None:
        raise CertificateError(f"message: {message.member!r} is no validator of this epoch")
    verify(validator.vote_key, message.signed_bytes(chain), message.signature)


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


def _view_change_value(entry: ViewChange) -> dict[str, cbor.Value]:
    return {
        "member": entry.member,
        "epoch": entry.epoch,
        "height": entry.height,
        "view": entry.view,
        "prepared": None if entry.prepared is None else entry.prepared.to_value(),
        "signature": entry.signature,
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
        "view_changes": [_view_change_value(entry) for entry in message.view_changes],
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
}

_ENCODERS: Final[dict[type, tuple[str, Callable[[Any], dict[str, cbor.Value]]]]] = {
    Vote: ("vote", _statement_value),
    ViewChange: ("view-change", _view_change_value),
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
}
