"""What replicas say to each other, as values; `message_codec` gives their bytes, `message_checks` proves them.

Source: reference protocol of docs/spec, clauses CM-1 to CM-3; PBFT (Castro, Liskov 1999) with signatures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from master.consensus.blob_messages import BlobMessage
from master.consensus.fault_messages import FaultMessage
from master.consensus.snapshot_messages import SnapshotMessage
from wire import cbor
from wire.block import Block
from wire.certificate import Certificate, Step, vote_bytes
from wire.header import ZERO_DIGEST
from wire.types import Digest, sha256

PHASES: Final = ("new", "proposed", "prepared")
_STANDING_DOMAIN: Final = b"gridwitness/standing/1"


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
class ViewChangeSet:
    """The view changes that allowed a proposal above view 0; kept with the block of its height for audits."""

    view: int
    view_changes: tuple[ViewChange, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode(
            {"view": self.view, "view_changes": [view_change_value(entry) for entry in self.view_changes]}
        )


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
    " | SnapshotMessage | FaultMessage | BlobMessage"
)


def epoch_of(message: Vote | ViewChange | Propose) -> int:
    """Return the epoch whose validators a statement is for; its signature covers it."""
    return message.block.header.epoch if isinstance(message, Propose) else message.epoch


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


def view_change_value(entry: ViewChange) -> dict[str, cbor.Value]:
    """Return a VIEW-CHANGE as the map that goes into messages and into the digest of a proposal."""
    return {
        "member": entry.member,
        "epoch": entry.epoch,
        "height": entry.height,
        "view": entry.view,
        "prepared": None if entry.prepared is None else entry.prepared.to_value(),
        "signature": entry.signature,
    }


def proposal_digest(block_digest: Digest, view_changes: tuple[ViewChange, ...]) -> Digest:
    """Return the digest that a PROPOSE signs: SHA-256(block digest | SHA-256(view changes) or 0)."""
    if not view_changes:
        return sha256(block_digest + ZERO_DIGEST)
    proof = cbor.encode([view_change_value(entry) for entry in view_changes])
    return sha256(block_digest + sha256(proof))
