"""The ledger at a million and at five million keys: blocks, proofs, restart; and catching up. 8 to 12 minutes."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks import recovery
from benchmarks.chains import (
    MAP_BYTES,
    NAMESPACE,
    Author,
    bench_author,
    change,
    fill,
    note_key,
    note_value,
)
from benchmarks.notary import Notes
from benchmarks.results import Result, median, percentile
from master.io.snapshots import SnapshotFolder
from master.io.state_cache import CachedState
from master.io.store import Store
from master.ledger.application import Application
from master.ledger.proofs import Prover
from master.ledger.state import Write
from master.ledger.tree import StateTree
from wire.block import Block
from wire.stateproof import decode_state_proof, verify_state_proof
from wire.tx import SignedTx, open_tx

SIZES: Final = (1_000_000, 5_000_000)
UPDATES: Final = 1_000
ROUNDS: Final = 100
BLOCK_ROUNDS: Final = 40
PROOFS: Final = 200


def measure(sizes: Sequence[int] = SIZES, rounds: int = ROUNDS) -> Sequence[Result]:
    """Fill a store to each size and measure there, then restart a node and let one catch up.

    Args:
        sizes: Keys in the state, ascending; a test passes small ones.
        rounds: Blocks of random updates at each size.
    """
    print("ledger: takes 8 to 12 minutes", flush=True)
    return (*measure_store(sizes, rounds), *recovery.measure_restart(), *recovery.measure_catch_up())


def measure_store(sizes: Sequence[int] = SIZES, rounds: int = ROUNDS) -> Sequence[Result]:
    """Fill a store to each size and measure there."""
    author, found = bench_author(), list[Result]()
    with (
        tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name,
        Store.create(Path(name) / "ledger", author.genesis, map_bytes=MAP_BYTES) as store,
    ):
        bench = _Bench(store, author, store.state_tree(), Notes(author.genesis.chain()))
        for start, size in zip((0, *sizes), sizes, strict=False):
            fill(store, author, bench.tree, range(start, size))
            found += bench.rows(size, rounds)
        stored_mib = (Path(name) / "ledger" / "data.mdb").stat().st_size / 2**20
        found.append(Result(f"store with {_millions(sizes[-1])} keys", stored_mib, "MiB", "values of 60 bytes"))
    return found


@dataclass
class _Bench:
    """One store and what is done to it."""

    store: Store
    author: Author
    tree: StateTree
    notes: Notes
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    turn: int = 0

    def __post_init__(self) -> None:
        self.state = CachedState(self.store, self.tree.is_empty)
        self.application = Application(self.author.genesis, self.state, self.tree, _believe, _Opened())

    def rows(self, size: int, rounds: int) -> Iterator[Result]:
        """Measure everything at one size."""
        keys = _millions(size)
        began_s = time.perf_counter()
        tree = self.store.state_tree()
        yield Result(f"state tree from {keys} keys", time.perf_counter() - began_s, "s", "at every start of a node")
        assert tree.root == self.tree.root
        updates = min(UPDATES, size)
        note = f"{updates:,} random keys of {keys} get another value: tree, store with fsync, undo; no contract runs"
        yield from _times(f"{updates:,} updates, {keys} keys", [self._update(size) for _ in range(rounds)], note)
        note = f"{UPDATES // 2} notary transactions change {UPDATES:,} entries: executed, stored with fsync, applied"
        times = [self._block() for _ in range(min(BLOCK_ROUNDS, rounds))]
        yield from _times(f"block of {UPDATES // 2} transactions, {keys} keys", times, note)
        yield from self._snapshot(keys)
        yield from self._proofs(size, min(PROOFS, 2 * rounds))

    def _snapshot(self, keys: str) -> Iterator[Result]:
        with tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name, closing(self.store.view()) as view:
            began_s = time.perf_counter()
            written = SnapshotFolder(Path(name)).write(self.store, view, lambda: None)
            took_s = time.perf_counter() - began_s
        note = "beside the node, which sleeps between pieces of it; here without rest"
        yield Result(f"snapshot of {keys} keys written", took_s, "s", note)
        yield Result(f"snapshot of {keys} keys", written / 2**20, "MiB", note)

    def _update(self, size: int) -> float:
        self.turn += 1
        numbers = self.chance.sample(range(size), min(UPDATES, size))
        writes = [Write(NAMESPACE, note_key(number), note_value(number, self.turn)) for number in numbers]
        began_s = time.perf_counter()
        change(self.store, self.author, self.tree, writes)
        return time.perf_counter() - began_s

    def _block(self) -> float:
        block = self._propose([open_tx(raw) for raw in self.notes.sign(UPDATES // 2)])
        began_s = time.perf_counter()
        execution = self.application.process(self.store.head(), block)
        self.store.commit(execution, self.author.certify(block.header))
        self.state.committed(execution)
        self.application.committed(execution)
        return time.perf_counter() - began_s

    def _propose(self, candidates: Sequence[SignedTx]) -> Block:
        head, validators = self.store.head(), self.author.genesis.validator_set().digest()
        execution, refused = self.application.propose(
            head,
            proposer=min(self.author.keys),
            epoch=0,
            validators_hash=validators,
            next_validators_hash=validators,
            time_ms=head.time_ms + 1000,
            candidates=candidates,
            bytes_max=1 << 20,
        )
        assert not refused, refused
        return execution.block

    def _proofs(self, size: int, count: int) -> Iterator[Result]:
        keys, prover = _millions(size), Prover(self.store, self.tree)
        heights = self.store.past_heights()
        for height, about in ((heights[-1], "newest height"), (heights[0], f"{len(heights) - 1} blocks ago")):
            made_s, verified_s, sizes = [], [], []
            for number in self.chance.sample(range(size), count):
                began_s = time.perf_counter()
                proof = prover.state_proof(NAMESPACE, note_key(number), height)
                made_s.append(time.perf_counter() - began_s)
                assert proof is not None
                raw = proof.encode()
                began_s = time.perf_counter()
                verify_state_proof(decode_state_proof(raw), self.author.genesis)
                verified_s.append(time.perf_counter() - began_s)
                sizes.append(len(raw))
            note = f"{keys} keys, {about}, every block since with {UPDATES:,} updates; certificate of 3"
            name = f"state proof, {keys} keys, {about}"
            yield Result(f"{name}", median(sizes), "bytes", note)
            yield Result(f"{name}: made p50", median(made_s) * 1e3, "ms", note)
            yield Result(f"{name}: made p95", percentile(made_s, 0.95) * 1e3, "ms", note)
            yield Result(f"{name}: verified", median(verified_s) * 1e3, "ms", "from bytes, with the genesis file")


class _Opened:
    """Opens each transaction once, as a node's mempool does."""

    def __init__(self) -> None:
        self._known: dict[bytes, SignedTx] = {}

    def __call__(self, raw: bytes) -> SignedTx:
        if raw not in self._known:
            self._known[raw] = open_tx(raw)
        return self._known[raw]


def _believe(_tx: SignedTx, _public_key: bytes) -> None:
    """Do what a node does that has verified the signature on arrival."""


def _times(name: str, times_s: Sequence[float], note: str) -> Iterator[Result]:
    yield Result(f"{name}: p50", median(times_s) * 1e3, "ms", note)
    yield Result(f"{name}: p95", percentile(times_s, 0.95) * 1e3, "ms", note)


def _millions(count: int) -> str:
    return f"{count / 1e6:g} M"
