"""The signer guard: the one thing that a vote key must never forget (docs/spec CM-17 to CM-19).

It holds the last statement that the key signed, so that a node whose log is torn, lost or restored signs nothing
that contradicts what it said before. Pure values; master/io/guard.py keeps them on disk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from master.consensus.messages import Propose, ViewChange, Vote, proposal_digest
from wire import cbor
from wire.certificate import Step
from wire.errors import FormatError
from wire.fields import Fields
from wire.header import ZERO_DIGEST
from wire.types import Digest

GUARD_BYTES_MAX: Final = 256
_NAMES: Final = (
    "version",
    "floor",
    "epoch",
    "height",
    "view",
    "step",
    "digest",
    "commit_view",
    "restored",
    "lock",
    "new",
)
_VERSION: Final = 3


@dataclass(frozen=True, slots=True)
class Statement:
    """What one signature says."""

    epoch: int
    height: int
    view: int
    step: Step
    digest: Digest
    prepared_view: int | None = None
    """View of the certificate that a VIEW-CHANGE carries, None without one."""

    @property
    def place(self) -> tuple[int, int, int]:
        """Where it stands in the order in which a key signs."""
        return self.height, self.view, self.step


@dataclass(frozen=True, slots=True)
class SignerGuard:
    """What a key signed last, and how far the store of its node has come."""

    floor: int = 0
    """Height that the store has reached or is about to reach; it refuses no vote."""
    epoch: int = 0
    height: int = 0
    view: int = 0
    step: int = 0
    """A `Step`; 0 before the first statement."""
    digest: Digest = ZERO_DIGEST
    commit_view: int | None = None
    """Highest view in which COMMIT was signed at ``height``."""
    is_restored: bool = False
    """The key may have signed more than this guard knows of."""
    lock: Digest = ZERO_DIGEST
    """Names the present quarantine, zeros without one: a statement that ends it is good for this one alone."""
    is_new: bool = False
    """Made together with an empty store: the key may be older than both, and then this guard knows nothing of it."""

    @property
    def place(self) -> tuple[int, int, int]:
        """Where the last statement stands."""
        return self.height, self.view, self.step

    def refusal(self, statement: Statement) -> str | None:
        """Return why ``statement`` must not be signed, or None."""
        if statement.place < self.place:
            return f"something later is signed: height {self.height}, view {self.view}, step {self.step}"
        if statement.place == self.place and statement.digest != self.digest:
            return "another digest is signed"
        if self.forbids_view_change(statement):
            return f"COMMIT is signed in view {self.commit_view}, and the certificate is older"
        return None

    def forbids_view_change(self, statement: Statement) -> bool:
        """Tell whether a VIEW-CHANGE hides a certificate that this key has committed to."""
        if statement.step is not Step.VIEW_CHANGE or statement.height != self.height or self.commit_view is None:
            return False
        return statement.prepared_view is None or statement.prepared_view < self.commit_view

    def contradicts(self, statement: Statement) -> bool:
        """Tell whether the key was used beyond what this guard knows of."""
        differs = statement.digest != self.digest
        return statement.place > self.place or (statement.place == self.place and differs)

    def raised(self, statement: Statement) -> SignerGuard:
        """Return the guard after ``statement``, which it does not refuse."""
        commit_view = self.commit_view if statement.height == self.height else None
        floor = self.floor
        if statement.step is Step.COMMIT:
            # the block may be final any moment; this saves a write before it is stored
            commit_view, floor = statement.view, max(floor, statement.height)
        return replace(
            self,
            floor=floor,
            epoch=statement.epoch,
            height=statement.height,
            view=statement.view,
            step=int(statement.step),
            digest=statement.digest,
            commit_view=commit_view,
            is_new=False,
        )

    def marked(self, lock: Digest) -> SignerGuard:
        """Return the guard of a quarantine; one that is under way keeps its name."""
        name = lock if self.lock == ZERO_DIGEST else self.lock
        return replace(self, is_restored=True, lock=name, is_new=False)

    def unlocked(self, height: int, view: int, prepared_view: int | None) -> SignerGuard:
        """Return the guard of a node that organisations let speak again, from a height and view on.

        Args:
            height: Of the store's head and one more.
            view: Lowest in which the key may speak there.
            prepared_view: Of the certificate that it must carry on, None without one.
        """
        floor = max(self.floor, height - 1)
        return SignerGuard(floor=floor, height=height, view=view, commit_view=prepared_view)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode(
            {
                "version": _VERSION,
                "floor": self.floor,
                "epoch": self.epoch,
                "height": self.height,
                "view": self.view,
                "step": self.step,
                "digest": self.digest,
                "commit_view": self.commit_view,
                "restored": self.is_restored,
                "lock": self.lock,
                "new": self.is_new,
            }
        )


def decode_guard(raw: bytes) -> SignerGuard:
    """Decode a guard.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    value = cbor.decode(raw, bytes_max=GUARD_BYTES_MAX)
    fields = Fields(value, _NAMES, "guard")
    fields.integer("version", _VERSION, _VERSION)
    return SignerGuard(
        fields.integer("floor"),
        fields.integer("epoch"),
        fields.integer("height"),
        fields.integer("view"),
        fields.integer("step", 0, int(Step.COMMIT)),
        fields.digest("digest"),
        None if fields.is_null("commit_view") else fields.integer("commit_view"),
        _truth(fields, "restored"),
        fields.digest("lock"),
        _truth(fields, "new"),
    )


def _truth(fields: Fields, name: str) -> bool:
    value = fields.raw(name)
    if not isinstance(value, bool):
        raise FormatError(f"guard.{name}: true or false is due")
    return value


def statement_of(message: Vote | ViewChange | Propose) -> Statement:
    """Return what the signature of a message says."""
    match message:
        case Vote():
            return Statement(message.epoch, message.height, message.view, message.step, message.digest)
        case ViewChange():
            prepared_view = None if message.prepared is None else message.prepared.view
            place = (message.epoch, message.height, message.view)
            return Statement(*place, Step.VIEW_CHANGE, message.digest(), prepared_view)
        case _:
            digest = proposal_digest(message.block.header.digest(), message.view_changes)
            epoch = message.block.header.epoch
            return Statement(epoch, message.height, message.view, Step.PROPOSE, digest)
