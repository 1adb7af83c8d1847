"""Ledgers for benchmarks: a store with a large state, and long chains, made by the real store and application.

No nodes run here: whoever holds all vote keys certifies what blocks there shall be.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nacl.signing import SigningKey

from benchmarks.notary import Notes, with_senders
from master.contracts.table import code_table
from master.io.state_cache import CachedState
from master.io.store import Store
from master.ledger.application import Application
from master.ledger.preview import preview
from master.ledger.rows import Execution, Head, head_after
from master.ledger.state import Write
from master.ledger.tree import StateTree
from wire import cbor
from wire.block import Block
from wire.certificate import Certificate, Step, build_certificate, vote_bytes
from wire.genesis import Genesis, GenesisValidator, Organisation
from wire.header import Header
from wire.merkle import EMPTY_HEAD
from wire.statetree import leaf_key
from wire.tx import SignedTx, open_tx
from wire.types import sha256

MAP_BYTES: Final = 64 << 30
BATCH: Final = 100_000
"""Entries of one block of a bulk load."""
NAMESPACE: Final = "notary"
MEMBERS: Final = tuple(f"sub-centre-{number}" for number in range(4))
BLOCK_MS: Final = 1_000
PAST_MS: Final = 86_400_000
"""How long ago a chain begins, so that it has not reached the present."""


@dataclass(frozen=True, slots=True)
class Author:
    """Holds the vote keys of all validators of a genesis file."""

    genesis: Genesis
    keys: Mapping[str, SigningKey]

    def certify(self, header: Header) -> Certificate:
        """Return the certificate of a quorum."""
        digest = header.digest()
        signed = vote_bytes(header.chain, 0, Step.COMMIT, header.height, 0, digest)
        signers = sorted(self.keys)[: self.genesis.validator_set().quorum]
        votes = [(name, self.keys[name].sign(signed).signature) for name in signers]
        return build_certificate(Step.COMMIT, 0, header.height, 0, digest, votes)

    def change(self, head: Head, store: Store, tree: StateTree, writes: Sequence[Write]) -> Execution:
        """Return the block without transactions that changes the state so; no contract would make it."""
        leaves, update = preview(store, tree, writes)
        validators = self.genesis.validator_set().digest()
        header = Header(
            chain=self.genesis.chain(),
            epoch=0,
            height=head.height + 1,
            proposer=min(self.keys),
            time_ms=head.time_ms + BLOCK_MS,
            parent=head.digest,
            tx_count=0,
            tx_root=EMPTY_HEAD,
            outcome_root=EMPTY_HEAD,
            state_root=update.root,
            history_root=head.history.head(),
            validators_hash=validators,
            next_validators_hash=validators,
            code_table_hash=self.genesis.code_table_hash(),
            fault_proof_root=EMPTY_HEAD,
        )
        block = Block(header, ())
        return Execution(block, (), (), 0, tuple(writes), leaves, update, head_after(head, block))


def bench_author() -> Author:
    """Return four validators and the thousand senders of the notary load."""
    keys = {name: SigningKey(sha256(name.encode())) for name in MEMBERS}
    genesis = Genesis(
        name="bench",
        time_ms=time.time_ns() // 1_000_000 - PAST_MS,
        validators=tuple(GenesisValidator(name, bytes(keys[name].verify_key), name.encode()) for name in MEMBERS),
        organisations=tuple(Organisation(name, "sub-centre") for name in MEMBERS),
        keys=(),
        stations=(),
        gateways=(),
        devices=(),
        parameters={},
        code_table=code_table(),
    )
    return Author(with_senders(genesis), keys)


def note_key(number: int) -> bytes:
    """Return the key of one entry of the large state."""
    return b"archive/note-%09d" % number


def note_value(number: int, turn: int = 0) -> bytes:
    """Return its value, of the form that the notary contract writes."""
    return cbor.encode({"digest": sha256(b"%d %d" % (number, turn)), "height": 1 + turn, "time_ms": 1})


def fill(store: Store, author: Author, tree: StateTree, numbers: range) -> None:
    """Give the store so many entries more, a hundred thousand a block, and bring the tree up to date.

    Every block goes through `Store.commit`, in the order of the leaves: fast, since no page is touched twice.
    """
    for batch in _batches(numbers):
        change(store, author, tree, [Write(NAMESPACE, note_key(number), note_value(number)) for number in batch])


def change(store: Store, author: Author, tree: StateTree, writes: Sequence[Write]) -> None:
    """Commit a block that writes just so."""
    execution = author.change(store.head(), store, tree, sorted(writes))
    store.commit(execution, author.certify(execution.block.header))
    tree.apply(execution.tree_update)


def _batches(numbers: range) -> Iterator[Sequence[int]]:
    order = sorted((leaf_key(NAMESPACE, note_key(number)), number) for number in numbers)
    for start in range(0, len(order), BATCH):
        yield [number for _, number in order[start : start + BATCH]]


def grow(store: Store, author: Author, blocks: int, transactions: int) -> None:
    """Commit blocks of so many notary transactions each, executed like any others."""
    tree = store.state_tree()
    notes = Notes(author.genesis.chain())
    validators = author.genesis.validator_set().digest()
    state = CachedState(store, tree.is_empty)
    application = Application(author.genesis, state, tree, _unverified)
    for _ in range(blocks):
        head = store.head()
        execution, refused = application.propose(
            head,
            proposer=min(author.keys),
            epoch=0,
            validators_hash=validators,
            next_validators_hash=validators,
            time_ms=head.time_ms + BLOCK_MS,
            candidates=[open_tx(raw) for raw in notes.sign(transactions)],
            bytes_max=1 << 20,
        )
        assert not refused, refused
        store.commit(execution, author.certify(execution.block.header))
        state.committed(execution)
        application.committed(execution)


def _unverified(_tx: SignedTx, _public_key: bytes) -> None:
    """Believe the signature that was made a moment ago."""
