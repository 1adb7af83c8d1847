"""What the replica decides about: the application over its store, fed from the mempool.

Verified signatures are remembered, so that a transaction that was checked on arrival costs nothing
when its block is executed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from master.consensus.events import Build, Head
from master.consensus.messages import ViewChangeSet
from master.ledger.application import Application, BlockRefused
from master.ledger.rows import Execution
from master.ledger.rows import Head as LedgerHead
from master.mempool import Mempool
from master.seams import BlockRefusedError
from wire.block import Block
from wire.certificate import Certificate, ValidatorSet
from wire.merkle import leaf_digest
from wire.tx import SignedTx
from wire.types import Digest

_EXECUTIONS_MAX: Final = 8
_VERIFIED_MAX: Final = 100_000


class Store(Protocol):
    """Durable blocks and state."""

    def head(self) -> LedgerHead:
        """Return the newest block."""
        ...

    def commit(self, execution: Execution, certificate: Certificate) -> None:
        """Store a block with all that comes of it, all or nothing, durably."""
        ...

    def keep_view_changes(self, height: int, view_changes: Sequence[bytes]) -> None:
        """Keep canonical view change sets of a height, durably."""
        ...

    def block(self, height: int) -> Block | None:
        """Return a stored block."""
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
        self._seen: OrderedDict[tuple[Digest, bytes], None] = OrderedDict()

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
        self._seen[signed.id, public_key] = None
        while len(self._seen) > _VERIFIED_MAX:
            self._seen.popitem(last=False)


class Chain:
    """The replica's view of the ledger: builds, executes and applies blocks on the head."""

    def __init__(
        self,
        application: Application,
        store: Store,
        mempool: Mempool,
        validators: ValidatorSet,
        member: str,
        block_bytes_max: int,
        state: StateInMemory,
        fault_proofs: Callable[[], Sequence[bytes]] = tuple,
    ) -> None:
        self._application = application
        self._store = store
        self._state = state
        self._mempool = mempool
        self._validators_hash = validators.digest()
        self._member = member
        self._block_bytes_max = block_bytes_max
        self._executions: OrderedDict[Digest, Execution] = OrderedDict()
        self._fault_proofs = fault_proofs
        self._known_faults: Sequence[bytes] = ()
        self._differing: tuple[Block, Sequence[Digest]] | None = None
        """Newest block that came out otherwise here, and to what."""
        self._left_out: set[Digest] = set()
        self._head = store.head()
        self.refused: list[Digest] = []
        """Pending transactions that no block can hold any more; emptied by the event loop."""

    @property
    def head(self) -> LedgerHead:
        """The newest applied block."""
        return self._head

    def candidates(self) -> Sequence[SignedTx]:
        """Return pending transactions in a fair order, about one block of them; called on the event loop."""
        self._known_faults = self._fault_proofs()
        candidates = self._mempool.candidates(self._block_bytes_max)
        left_out, self._left_out = self._left_out, set()
        return [signed for signed in candidates if signed.id not in left_out] if left_out else candidates

    def build(self, build: Build, candidates: Sequence[SignedTx], wall_ms: int) -> Block | None:
        """Build and execute a block on the head."""
        if not candidates and not build.empty_allowed:
            return None
        execution, refused = self._application.propose(
            self._head,
            proposer=self._member,
            epoch=0,
            validators_hash=self._validators_hash,
            next_validators_hash=self._validators_hash,
            time_ms=max(wall_ms, build.time_ms_min),
            candidates=candidates,
            bytes_max=self._block_bytes_max,
            fault_proofs=self._known_faults,
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
        self._store.commit(execution, certificate)
        self._application.committed(execution)
        self._state.committed(execution)
        self._executions.clear()
        self._head = execution.head
        header = block.header
        return Head(header.height, self._head.digest, header.time_ms, header.proposer)

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

    def leave_out(self, transactions: Sequence[Digest]) -> None:
        """Build the next block without these transactions, should this node lead; once."""
        self._left_out.update(transactions)

    def committed(self, height: int) -> tuple[Block, Certificate] | None:
        """Return a stored block and its certificate."""
        block, certificate = self._store.block(height), self._store.certificate(height)
        return None if block is None or certificate is None else (block, certificate)

    def _remember(self, execution: Execution) -> None:
        self._executions[execution.block.header.digest()] = execution
        while len(self._executions) > _EXECUTIONS_MAX:
            self._executions.popitem(last=False)
