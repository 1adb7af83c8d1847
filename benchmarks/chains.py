"""Ledgers for benchmarks: a store with a large state, and long chains, made by the real store and application.

No nodes run here: whoever holds all vote keys certifies what blocks there shall be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nacl.signing import SigningKey

from benchmarks.notary import with_senders
from master.contracts.table import code_table
from master.io.store import Store
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
from wire.types import sha256

MAP_BYTES: Final = 64 << 30
BATCH: Final = 100_000
"""Entries of one block of a bulk load."""
NAMESPACE: Final = "notary"
MEMBERS: Final = tuple(f"sub-centre-{number}" for number in range(4))
BLOCK_MS: Final = 1_000


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
        time_ms=time.time_ns() // 1_000_000,
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


def fill(store: Store, author: Author, count: int, progress: Callable[[int], None] = lambda _: None) -> StateTree:
    """Give the store so many entries more, a hundred thousand a block; return the tree over all.

    Every block goes through `Store.commit`, in the order of the leaves: fast, since no page is touched twice.
    """
    tree = store.state_tree()
    for numbers in _batches(count):
        writes = sorted(Write(NAMESPACE, note_key(number), note_value(number)) for number in numbers)
        execution = author.change(store.head(), store, tree, writes)
        store.commit(execution, author.certify(execution.block.header))
        tree.apply(execution.tree_update)
        progress(len(numbers))
    return tree


def _batches(count: int) -> Iterator[Sequence[int]]:
    order = sorted((leaf_key(NAMESPACE, note_key(number)), number) for number in range(count))
    for start in range(0, count, BATCH):
        yield [number for _, number in order[start : start + BATCH]]
