"""Chains of blocks that change the state at random, a store that holds them, and a model that remembers all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from random import Random
from typing import Final

from master.io.store import Store
from master.io.store_env import TABLES
from master.ledger.genesis import genesis_writes, leaves_of
from master.ledger.preview import preview
from master.ledger.rows import Execution, Head, genesis_head, head_after
from master.ledger.state import Write
from master.ledger.tree import bucket_of, leaf_key
from tests.unit.ledger.worlds import MemoryState, key_of, make_genesis
from tests.unit.wire import samples
from wire import cbor
from wire.block import Block
from wire.certificate import Certificate, Step, build_certificate
from wire.genesis import Genesis
from wire.header import Header
from wire.merkle import EMPTY_HEAD

NAMESPACE: Final = "notary"
MAP_BYTES: Final = 64 * 1024 * 1024
GENESIS: Final = make_genesis()


@cache
def keys() -> tuple[bytes, ...]:
    """Return keys of which some share a bucket, some the bucket beside it, some the upper bits, some nothing."""
    found: defaultdict[int, list[bytes]] = defaultdict(list)
    for number in range(6000):
        key = b"key-%d" % number
        found[bucket_of(leaf_key(NAMESPACE, key))].append(key)
    crowded = [same for same in found.values() if len(same) > 1][:3]
    beside = [[*found[number], *found[number ^ 1]] for number in list(found) if number ^ 1 in found][:2]
    near = [same for number, same in sorted(found.items())[:4]]
    chosen = [key for group in (*crowded, *beside, *near) for key in group]
    return tuple(dict.fromkeys((*chosen, b"key-1", b"key-2", b"key-3")))


class Chain:
    """Makes blocks and commits them to every store that is given; the model has the state after each height."""

    def __init__(self, rng: Random, genesis: Genesis = GENESIS) -> None:
        writes = genesis_writes(genesis)
        self.genesis = genesis
        self.rng = rng
        self.leaves = MemoryState(writes, leaves_of(writes))
        self.tree = self.leaves.tree()
        self.head: Head = genesis_head(genesis, self.tree.root)
        self.model: list[Mapping[bytes, bytes]] = [{}]
        self.headers: list[Header | None] = [None]

    def next(self, changes_max: int = 6) -> Execution:
        """Return the next block, which sets, changes and removes a few keys, or none."""
        entries = dict(self.model[-1])
        for key in self.rng.sample(keys(), self.rng.randint(0, min(changes_max, len(keys())))):
            if key in entries and self.rng.random() < 0.4:
                del entries[key]
            else:
                entries[key] = cbor.encode(self.rng.randbytes(self.rng.randint(1, 40)))
        changed = sorted(entries.keys() | self.model[-1].keys())
        writes = tuple(
            Write(NAMESPACE, key, entries.get(key)) for key in changed if entries.get(key) != self.model[-1].get(key)
        )
        execution = self._execution(writes)
        self.leaves.take(writes, execution.leaves)
        self.tree.apply(execution.tree_update)
        self.head = execution.head
        self.model.append(entries)
        self.headers.append(execution.block.header)
        return execution

    def _execution(self, writes: tuple[Write, ...]) -> Execution:
        leaves, update = preview(self.leaves, self.tree, writes)
        validators = self.genesis.validator_set().digest()
        header = replace(
            samples.HEADER,
            chain=self.genesis.chain(),
            epoch=0,
            height=self.head.height + 1,
            proposer="dispatch",
            time_ms=self.head.time_ms + 1000,
            parent=self.head.digest,
            tx_count=0,
            tx_root=EMPTY_HEAD,
            outcome_root=EMPTY_HEAD,
            state_root=update.root,
            history_root=self.head.history.head(),
            validators_hash=validators,
            next_validators_hash=validators,
            code_table_hash=self.genesis.code_table_hash(),
        )
        block = Block(header, ())
        return Execution(block, (), (), 0, writes, leaves, update, head_after(self.head, block))

    def certify(self, execution: Execution) -> Certificate:
        """Return the commit of the one validator."""
        height = execution.block.header.height
        unsigned = build_certificate(Step.COMMIT, 0, height, 0, execution.head.digest, [])
        signature = key_of("vote").sign(unsigned.vote_bytes(self.genesis.chain())).signature
        return build_certificate(Step.COMMIT, 0, height, 0, execution.head.digest, [("dispatch", signature)])

    def grow(self, store: Store, blocks: int, changes_max: int = 6) -> None:
        """Commit so many blocks."""
        for _ in range(blocks):
            execution = self.next(changes_max)
            store.commit(execution, self.certify(execution))


def dump(store: Store, *left_out: str) -> dict[str, dict[bytes, bytes]]:
    """Return every record of every table but those left out."""
    return {name: dict(store.raw_records(name)) for name in TABLES if name not in left_out}
