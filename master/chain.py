"""What the replica decides about: the application over its store, fed from the mempool.

Verified signatures are remembered, so that a transaction that was checked on arrival costs nothing
when its block is executed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from master.consensus.events import Build, Epoch, Head, Timing
from master.consensus.messages import ViewChangeSet
from master.contracts import membership
from master.contracts.validator_records import NAMESPACE as VALIDATORS
from master.ledger.application import Application
from master.ledger.blobs import brought
from master.ledger.refusals import BlockRefused
from master.ledger.rows import Execution
from master.ledger.rows import Head as LedgerHead
from master.mempool import Mempool
from master.recent import RecentSet
from master.seams import BlockRefusedError
from wire.blob import BlobRef
from wire.block import Block
from wire.certificate import Certificate, ValidatorSet
from wire.epochs import EPOCHS_MAX, EpochEnd
from wire.header import Header
from wire.merkle import leaf_digest
from wire.tx import SignedTx
from wire.types import Digest

_EXECUTIONS_MAX: Final = 8
_VERIFIED: Final = 25_000
"""So many signatures are remembered at least, and twice as many at most."""


class Store(Protocol):
    """Durable blocks and state."""

    def head(self) -> LedgerHead:
        """Return the newest block."""
        ...

    def commit(
        self, execution: Execution, certificate: Certificate, next_validators: ValidatorSet | None = None
    ) -> None:
        """Store a block with all that comes of it, all or nothing; of the last one of an epoch the next set, too."""
        ...

    def epoch_ends(self, epoch: int) -> Sequence[EpochEnd]:
        """Return the ends of all epochs before ``epoch``, in order."""
        ...

    def keep_view_changes(self, height: int, view_changes: Sequence[bytes]) -> None:
        """Keep canonical view change sets of a height, durably."""
        ...

    def block(self, height: int) -> Block | None:
        """Return a stored block."""
        ...

    def header(self, height: int) -> Header | None:
        """Return a block's header, also when the block is not here."""
        ...

    def certificate(self, height: int) -> Certificate | None:
        """Return its certificate."""
        ...


class StateInMemory(Protocol):
    """Entries of the state that are kept beside the store."""

    def committed(self, execution: Execution) -> None:
        """Take over what a block changed."""
        ...


class VerifiedSignatures:
    """Checks a transaction's signature once."""

    def __init__(self) -> None:
        self._seen: RecentSet[tuple[Digest, bytes]] = RecentSet(_VERIFIED)

    def __call__(self, signed: SignedTx, public_key: bytes) -> None:
        """Prove that ``public_key`` signed the transaction.

        Raises:
            SignatureError: It did not.
        """
        if (signed.id, public_key) not in self._seen:
            signed.verify(public_key)
            self.add(signed, public_key)

    def add(self, signed: SignedTx, public_key: bytes) -> None:
        """Remember that ``public_key`` signed the transaction."""
        self._seen.add((signed.id, public_key))


def _never() -> bool:
    return False


class Chain:
    """The replica's view of the ledger: builds, executes and applies blocks on the head."""

    def __init__(  # noqa: PLR0913 - all that a node has of its ledger
        self,
        application: Application,
        store: Store,
        mempool: Mempool,
        validators: ValidatorSet,
        member: str,
        block_bytes_max: int,
        state: StateInMemory,
        fault_proofs: Callable[[], Sequence[bytes]] = tuple,
        *,
        patience: Callable[[], Callable[[], bool]] = lambda: _never,
    ) -> None:
        """Begin at the store's head.

        Args:
            application: Executes blocks.
            store: Keeps them.
            mempool: Gives candidates.
            validators: Of epoch 0.
            member: Name of this node.
            block_bytes_max: Most bytes of transactions in a block of this node; the ledger's own limit holds, too.
            state: Follows the store.
            fault_proofs: What is known against validators.
            patience: Called when a block is begun; what it returns says when the block has taken long enough.
        """
        self._application = application
        self._store = store
        self._state = state
        self._mempool = mempool
        self._member = member
        self._block_bytes_max = block_bytes_max
        self.parameters = application.parameters()
        """What nodes go by at the next height; replaced when a block changes it."""
        self.gateways = application.gateways()
        """Every gateway and its station; replaced when a block adds or moves one."""
        self._executions: OrderedDict[Digest, Execution] = OrderedDict()
        self._fault_proofs = fault_proofs
        self._patience = patience
        self._known_faults: Sequence[bytes] = ()
        self._differing: tuple[Block, Sequence[Digest]] | None = None
        """Newest block that came out otherwise here, and to what."""
        self._left_out: set[Digest] = set()
        self._head = store.head()
        ends = store.epoch_ends(EPOCHS_MAX)
        self._sets = [validators, *(end.validators for end in ends)]
        """The set of every epoch up to the one that decides the next block."""
        self._is_epoch_new = bool(ends) and ends[-1].header.height == self._head.height
        self._following = application.validators()
        """The set that decides the next block but one, as the state names it."""
        self.peers = application.peers(self._head)
        """Who may connect, as the newest state says; replaced whenever it says otherwise."""
        self.refused: list[Digest] = []
        """Pending transactions that no block can hold any more; emptied by the event loop."""

    @property
    def head(self) -> LedgerHead:
        """The newest applied block."""
        return self._head

    @property
    def epoch(self) -> Epoch:
        """Who decides the next block."""
        return Epoch(len(self._sets) - 1, self._sets[-1])

    def validators_of(self, epoch: int) -> ValidatorSet | None:
        """Return the validators of an epoch; the next one is known as soon as its change has been executed."""
        if epoch == len(self._sets) and self._following != self._sets[-1]:
            return self._following
        return self.begun_set(epoch)

    def begun_set(self, epoch: int) -> ValidatorSet | None:
        """Return the validators of an epoch that has begun with the next block or before."""
        return self._sets[epoch] if 0 <= epoch < len(self._sets) else None

    def consensus_head(self) -> Head:
        """Return the newest block as the replica sees it."""
        height = self._head.height
        header = self._store.header(height) if height else None
        proposer = None if header is None else header.proposer
        certificate = self._store.certificate(height) if height else None
        return self._seen(proposer, certificate)

    def candidates(self) -> Sequence[SignedTx]:
        """Return pending transactions in a fair order, about one block of them; called on the event loop."""
        self._known_faults = self._fault_proofs()
        candidates = self._mempool.candidates(min(self._block_bytes_max, self.parameters.block_bytes_max))
        left_out = self._left_out
        return [signed for signed in candidates if signed.id not in left_out] if left_out else candidates

    def build(self, build: Build, candidates: Sequence[SignedTx], wall_ms: int) -> Block | None:
        """Build and execute a block on the head."""
        if not candidates and not build.empty_allowed:
            return None
        epoch = self.epoch
        execution, refused = self._application.propose(
            self._head,
            proposer=self._member,
            epoch=epoch.number,
            validators_hash=epoch.validators.digest(),
            next_validators_hash=self._following.digest(),
            time_ms=max(wall_ms, build.time_ms_min),
            candidates=candidates,
            bytes_max=self._block_bytes_max,
            fault_proofs=self._known_faults,
            is_late=self._patience(),
        )
        self.refused.extend(tx for tx, _ in refused)
        if not execution.block.transactions and not build.empty_allowed:
            return None
        self._remember(execution)
        return execution.block

    def execute(self, block: Block) -> None:
        """Execute a proposed block on the head.

        Raises:
            BlockRefusedError: It may not stand there, or comes out otherwise.
        """
        if block.header.digest() in self._executions:
            return
        self._check_sets(block)
        try:
            self._remember(self._application.process(self._head, block))
        except BlockRefused as error:
            self._differing = block, error.results
            raise BlockRefusedError(str(error), diverged=error.diverged) from error

    def apply(self, block: Block, certificate: Certificate) -> Head:
        """Store a final block and return the new head.

        Raises:
            BlockRefusedError: It comes out otherwise here.
            StorageError: The store did not take it; nothing changed.
        """
        self.execute(block)
        execution = self._executions[block.header.digest()]
        is_end = self._following != self._sets[-1]
        self._store.commit(execution, certificate, self._following if is_end else None)
        self._application.committed(execution)
        self._state.committed(execution)
        self._executions.clear()
        self._head, self._is_epoch_new = execution.head, is_end
        if block.header.proposer == self._member:
            self._left_out.clear()
        if is_end:
            self._sets = [*self._sets, self._following]
        namespaces = {write.namespace for write in execution.writes}
        if membership.NAMESPACE in namespaces:
            self.parameters = self._application.parameters()
            if any(write.key.startswith(membership.GATEWAY) for write in execution.writes):
                self.gateways = self._application.gateways()
        if VALIDATORS in namespaces:
            self._following = self._application.validators()
            self.peers = self._application.peers(self._head)
        elif len(self.peers) > len(self._following):
            # some are admitted for a while alone
            self.peers = self._application.peers(self._head)
        return self._seen(block.header.proposer, certificate)

    def _seen(self, proposer: str | None, certificate: Certificate | None) -> Head:
        head, present = self._head, self._sets[-1]
        following = self._following.digest() if self._following != present else None
        begun = self.epoch if self._is_epoch_new else None
        times = self.parameters
        timing = Timing(times.block_interval_ms, times.heartbeat_ms, times.skew_ms)
        return Head(head.height, head.digest, head.time_ms, proposer, certificate, following, begun, timing)

    def _check_sets(self, block: Block) -> None:
        """Refuse a block that names other validators than this node has for it (docs/spec VM-7).

        Raises:
            BlockRefusedError: Says what differs.
        """
        header, epoch = block.header, self.epoch
        rules = (
            ("epoch", header.epoch == epoch.number),
            ("validators", header.validators_hash == epoch.validators.digest()),
            ("next validators", header.next_validators_hash == self._following.digest()),
        )
        for what, holds in rules:
            if not holds:
                raise BlockRefusedError(f"block {header.height} names another {what} than is due")

    def archive(self, height: int, view_changes: Sequence[ViewChangeSet]) -> None:
        """Keep what votes above view 0 rested on."""
        self._store.keep_view_changes(height, [entry.encode() for entry in view_changes])

    def results(self, digest: Digest) -> tuple[Block, Sequence[Digest]] | None:
        """Return a block that was executed on the head, and the leaf digests of its outcomes as they came out here."""
        execution = self._executions.get(digest)
        if execution is not None:
            return execution.block, [leaf_digest(raw) for raw in execution.outcomes]
        differing = self._differing
        is_it = differing is not None and differing[0].header.digest() == digest
        return differing if is_it else None

    def brought(self, block: Block) -> tuple[BlobRef, ...]:
        """Return the blobs that a block which was executed on the head brings; called on the event loop."""
        execution = self._executions.get(block.header.digest())
        return () if execution is None else brought(execution.writes)

    def leave_out(self, transactions: Sequence[Digest]) -> None:
        """Build without these transactions until a block is final that this node built."""
        self._left_out.update(transactions)

    def committed(self, height: int) -> tuple[Block, Certificate] | None:
        """Return a stored block and its certificate."""
        block, certificate = self._store.block(height), self._store.certificate(height)
        return None if block is None or certificate is None else (block, certificate)

    def _remember(self, execution: Execution) -> None:
        self._executions[execution.block.header.digest()] = execution
        while len(self._executions) > _EXECUTIONS_MAX:
            self._executions.popitem(last=False)
