"""What goes into a replica (events) and what comes out of it (effects); plain frozen values.

The order of effects is a contract with the shell: it performs them one after the other, and a
`Persist` or `Seal` is on disk before anything behind it is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from master.consensus.guard import SignerGuard
from master.consensus.messages import Message, Propose, ViewChangeSet
from wire.block import Block
from wire.certificate import Certificate, ValidatorSet
from wire.faultproof import FaultProof
from wire.types import Digest


@dataclass(frozen=True, slots=True)
class Epoch:
    """A validator set with its number."""

    number: int
    validators: ValidatorSet


@dataclass(frozen=True, slots=True)
class Timing:
    """Times that are parameters of the ledger, in milliseconds; as the state after one block says."""

    block_interval_ms: int
    heartbeat_ms: int
    skew_ms: int


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block that this node has stored."""

    height: int
    digest: Digest
    time_ms: int
    proposer: str | None
    """Member that built it; None for the genesis block."""
    certificate: Certificate | None = None
    """Its COMMIT certificate where it is at hand; None for the genesis block."""
    next_validators_hash: Digest | None = None
    """What the next header must name as the set after it; None while no change is under way."""
    epoch: Epoch | None = None
    """The epoch that begins with the next height; None when the present one goes on."""
    timing: Timing | None = None
    """What holds for the next height; None: what held for the last one."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message whose size, form and signatures the shell has checked."""

    sender: str
    """Member at the other end of the connection."""
    message: Message


@dataclass(frozen=True, slots=True)
class Flawed:
    """A proposal that its author signed although a view change inside it proves nothing."""

    proposal: Propose
    reason: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed, or transactions arrived."""

    pending: bool
    """Whether the mempool holds a transaction that could go into a block."""
    waiting_ms: int = 0
    """For how long one and the same acceptable transaction has been the oldest."""


@dataclass(frozen=True, slots=True)
class Built:
    """Answer to `Build`; ``block`` is None when there was nothing to propose."""

    height: int
    view: int
    block: Block | None


@dataclass(frozen=True, slots=True)
class Executed:
    """Answer to `Execute`: whether the block's roots came out as its header says."""

    digest: Digest
    accepted: bool
    fault: str = ""
    """Which rule the block breaks, so that no honest leader built it; empty when it only came out otherwise here."""


@dataclass(frozen=True, slots=True)
class Applied:
    """Answer to `Apply`: the block is stored for good."""

    head: Head
    waiting_ms: int = 0
    """As in `Tick`, after what the block holds has left the mempool."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection to a member has come up."""

    member: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The last connection that a member opened to this node has ended."""

    member: str


@dataclass(frozen=True, slots=True)
class Diverged:
    """A certified block does not execute to its roots here: this node must stop signing."""

    height: int
    detail: str


Event: TypeAlias = "Received | Flawed | Tick | Built | Executed | Applied | Connected | Disconnected | Diverged"


@dataclass(frozen=True, slots=True)
class Persist:
    """Write records to the write-ahead log, all or none, and wait until they are on disk."""

    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Seal:
    """Write the signer guard to its own file and wait until it is on disk."""

    guard: SignerGuard


@dataclass(frozen=True, slots=True)
class Send:
    """Send to one member."""

    member: str
    message: Message


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send to every other validator."""

    message: Message


@dataclass(frozen=True, slots=True)
class Build:
    """Build and execute a block of pending transactions; answer with `Built`."""

    height: int
    view: int
    time_ms_min: int
    """Lowest block time allowed."""
    empty_allowed: bool


@dataclass(frozen=True, slots=True)
class Execute:
    """Execute a proposed block on top of the head; answer with `Executed`."""

    block: Block


@dataclass(frozen=True, slots=True)
class Apply:
    """Store a final block, certificate and state; answer with `Applied` or `Diverged`."""

    block: Block
    certificate: Certificate
    view_changes: tuple[ViewChangeSet, ...] = ()
    """What this node's PREPAREs of that height rested on, to be kept beside the block."""


@dataclass(frozen=True, slots=True)
class Wake:
    """Send a `Tick` at this monotonic time."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Report:
    """Something that operators and metrics must see."""

    code: str
    """view-change, divergence, invalid-proposal, vote-refused, quarantine, quarantine-over."""
    detail: str
    cause: str = ""
    """Why a view was left, in a word that a metric may carry: timeout, invalid-proposal, followed, complaint."""


@dataclass(frozen=True, slots=True)
class Accuse:
    """A validator broke the protocol, and this proves it: tell everybody, and bring it to the ledger."""

    proof: FaultProof


Effect: TypeAlias = "Persist | Seal | Send | Broadcast | Build | Execute | Apply | Wake | Report | Accuse"


@dataclass(frozen=True, slots=True)
class Now:
    """The two clocks that a step may look at."""

    wall_ms: int
    """Milliseconds since 1970 UTC; may jump."""
    monotonic_ms: int
    """Never runs backward; for timers."""
