"""A toy application: the state is a hash chain of transactions, a transaction executes once."""

from __future__ import annotations

from typing import Final

from master.consensus.events import Build, Epoch, Head
from master.contracts.validator_records import Change
from tests.simulation.registry import Registry
from wire.block import Block
from wire.certificate import Certificate, ValidatorSet
from wire.header import ZERO_DIGEST, Header, tx_root
from wire.merkle import EMPTY_HEAD
from wire.types import Digest, sha256

CHAIN: Final = "simulated"
EPOCH: Final = 3
BLOCK_TRANSACTIONS: Final = 8
GENESIS: Final = Head(0, sha256(b"genesis of the simulated chain"), 1_700_000_000_000, None)


class Ledger:
    """What one node has stored; survives crashes."""

    def __init__(self, validators: ValidatorSet, organisations: tuple[str, ...] = ()) -> None:
        self._genesis = validators, organisations
        self.epoch = EPOCH
        self.validators = validators
        """Who decides the next block."""
        self.registry = Registry(validators, organisations)
        """As of the newest block: it names who decides the next block but one."""
        self._sets = {EPOCH: validators}
        self.blocks: list[tuple[Block, Certificate]] = []
        self.head = GENESIS
        self.state = ZERO_DIGEST
        self.done: set[bytes] = set()
        self.codes: list[str] = []
        """What came of calls that concern the validators."""

    @property
    def following(self) -> ValidatorSet:
        """The set that decides the next block but one."""
        return self.registry.validators

    @property
    def pending(self) -> Change | None:
        """The change of validators that is open."""
        return self.registry.pending

    def copy(self, height: int) -> Ledger:
        """Return what was stored when ``height`` was the newest block."""
        older = Ledger(*self._genesis)
        for block, certificate in self.blocks[:height]:
            older.apply(block, certificate)
        return older

    def set_of(self, epoch: int) -> ValidatorSet | None:
        """Return the validators of an epoch, if they are known here."""
        if epoch == self.epoch + 1 and self.registry.validators != self.validators:
            return self.registry.validators
        return self._sets.get(max(epoch, EPOCH))

    def reopen(self) -> None:
        """Start again: nothing is kept in memory that the disk does not hold."""

    def build(self, build: Build, proposer: str, wall_ms: int, pending: list[bytes]) -> Block | None:
        """Return a block of pending transactions."""
        chosen = tuple(entry for entry in pending if entry not in self.done)[:BLOCK_TRANSACTIONS]
        if not chosen and not build.empty_allowed:
            return None
        return self.block_of(chosen, proposer, max(build.time_ms_min, wall_ms))

    def block_of(self, transactions: tuple[bytes, ...], proposer: str, time_ms: int) -> Block:
        """Return the block above the head that executes ``transactions``."""
        state = self._state_after(transactions)
        header = Header(
            chain=CHAIN,
            epoch=self.epoch,
            height=self.head.height + 1,
            proposer=proposer,
            time_ms=time_ms,
            parent=self.head.digest,
            tx_count=len(transactions),
            tx_root=tx_root(transactions),
            outcome_root=ZERO_DIGEST,
            state_root=state,
            history_root=sha256(self.head.digest),
            validators_hash=self.validators.digest(),
            next_validators_hash=self.registry.validators.digest(),
            code_table_hash=ZERO_DIGEST,
            fault_proof_root=EMPTY_HEAD,
        )
        return Block(header, transactions)

    def accepts(self, block: Block) -> bool:
        """Execute a block above the head and tell whether its roots come out."""
        fresh = len(set(block.transactions)) == len(block.transactions) and self.done.isdisjoint(block.transactions)
        header = block.header
        follows = (header.height, header.parent, header.epoch) == (self.head.height + 1, self.head.digest, self.epoch)
        sets = (header.validators_hash, header.next_validators_hash)
        is_set_right = sets == (self.validators.digest(), self.registry.validators.digest())
        return fresh and follows and is_set_right and header.state_root == self._state_after(block.transactions)

    def apply(self, block: Block, certificate: Certificate) -> Head:
        """Store a block; the caller has checked it."""
        header, following = block.header, self.registry.validators
        place = (header.height, header.time_ms)
        self.registry, codes = self.registry.after(block.transactions, *place, self.state)
        self.codes += codes
        self.state = header.state_root
        self.done.update(block.transactions)
        self.blocks.append((block, certificate))
        is_end = following != self.validators
        if is_end:
            self.epoch, self.validators = self.epoch + 1, following
            self._sets[self.epoch] = following
        later = self.registry.validators
        self.head = Head(
            header.height,
            header.digest(),
            header.time_ms,
            header.proposer,
            certificate,
            later.digest() if later != following else None,
            Epoch(self.epoch, following) if is_end else None,
        )
        return self.head

    def _state_after(self, transactions: tuple[bytes, ...]) -> Digest:
        state = self.state
        for entry in transactions:
            state = sha256(state + entry)
        return state
