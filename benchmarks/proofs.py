"""Size and time of proofs: state at a million keys, history at a million blocks, 4 and 16 validators."""

from __future__ import annotations

import random
import time
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from nacl.signing import SigningKey

from benchmarks.results import Result, median
from master.ledger.history import completed_nodes, consistency_path, inclusion_path
from master.ledger.tree import StateTree
from wire import cbor
from wire.certificate import Step, build_certificate, vote_bytes
from wire.finality import FinalHeader
from wire.genesis import Genesis, GenesisValidator, Organisation
from wire.header import Header
from wire.historyproof import (
    ConsistencyProof,
    HistoryProof,
    decode_consistency_proof,
    decode_history_proof,
    verify_consistency_proof,
    verify_history_proof,
)
from wire.merkle import EMPTY_HEAD, Frontier, leaf_digest
from wire.stateproof import StateProof, decode_state_proof, verify_state_proof
from wire.statetree import bucket_of, leaf_key
from wire.types import Digest, sha256

KEYS = 1_000_000
BLOCKS = 1_000_000
OLD = 777
ROUNDS = 200
NAMESPACE, KEY, VALUE = "membership", b"gateway/gw-1", cbor.encode({"station": "station-1"})


def measure() -> Sequence[Result]:
    """Make each proof once and verify its bytes 200 times; medians."""
    chance = random.Random(1)
    return (*_state(chance), *_history(chance))


class _Ledger:
    """A ledger of n validators that certify whatever is asked."""

    def __init__(self, validators: int) -> None:
        names = [f"sub-centre-{number:02}" for number in range(validators)]
        self.keys = {name: SigningKey(sha256(name.encode())) for name in names}
        self.genesis = Genesis(
            name="bench",
            time_ms=0,
            validators=tuple(
                GenesisValidator(name, bytes(self.keys[name].verify_key), name.encode()) for name in names
            ),
            organisations=tuple(Organisation(name, "sub-centre") for name in names),
            keys=(),
            stations=(),
            gateways=(),
            devices=(),
            parameters={},
            code_table=(),
        )

    def header(self, height: int, state_root: Digest = EMPTY_HEAD, history_root: Digest = EMPTY_HEAD) -> Header:
        chosen = self.genesis.validator_set().digest()
        return Header(
            chain=self.genesis.chain(),
            epoch=0,
            height=height,
            proposer="sub-centre-00",
            time_ms=height * 2000,
            parent=sha256(b"parent"),
            tx_count=0,
            tx_root=EMPTY_HEAD,
            outcome_root=EMPTY_HEAD,
            state_root=state_root,
            history_root=history_root,
            validators_hash=chosen,
            next_validators_hash=chosen,
            code_table_hash=self.genesis.code_table_hash(),
            fault_proof_root=EMPTY_HEAD,
        )

    def final(self, header: Header) -> FinalHeader:
        digest = header.digest()
        signed = vote_bytes(header.chain, 0, Step.COMMIT, header.height, 0, digest)
        signers = list(self.keys)[: self.genesis.validator_set().quorum]
        votes = [(name, self.keys[name].sign(signed).signature) for name in signers]
        return FinalHeader(header, build_certificate(Step.COMMIT, 0, header.height, 0, digest, votes), ())


def _state(chance: random.Random) -> Iterator[Result]:
    place = leaf_key(NAMESPACE, KEY)
    leaves = sorted((chance.randbytes(32), chance.randbytes(32)) for _ in range(KEYS))
    insort(leaves, (place, sha256(VALUE)))
    tree, number = StateTree.rebuild(leaves), bucket_of(place)
    bucket = tuple(pair for pair in leaves if bucket_of(pair[0]) == number)
    for validators in (4, 16):
        ledger = _Ledger(validators)
        final = ledger.final(ledger.header(BLOCKS, tree.root))
        raw = StateProof(NAMESPACE, KEY, VALUE, bucket, tree.path(number), final).encode()
        note = f"{KEYS:,} keys, {len(bucket)} of them in the bucket, certificate of {validators} validators"
        yield Result(f"state proof, n = {validators}", len(raw), "bytes", note)
        verified_us = _median_us(partial(_verify_state, raw, ledger.genesis))
        yield Result(f"state proof verified, n = {validators}", verified_us, "us", "from bytes, genesis file in memory")
    yield Result("state proof made", _median_us(lambda: tree.path(number)), "us", "20 siblings from the tree in memory")


def _verify_state(raw: bytes, genesis: Genesis) -> None:
    verify_state_proof(decode_state_proof(raw), genesis)


def _history(chance: random.Random) -> Iterator[Result]:
    ledger, nodes, frontier = _Ledger(4), dict[tuple[int, int], Digest](), Frontier()
    old, root_of_old = ledger.header(OLD), EMPTY_HEAD
    began_s = time.perf_counter()
    for height in range(BLOCKS):
        if height == OLD:
            root_of_old = frontier.head()
            old = replace(old, history_root=root_of_old)
        leaf = leaf_digest(old.digest() if height == OLD else chance.randbytes(32))
        for level, index, digest in completed_nodes(frontier, leaf):
            nodes[level, index] = digest
        frontier.append(leaf)
    appended_us = (time.perf_counter() - began_s) / BLOCKS * 1e6

    def read(level: int, index: int) -> Digest:
        return nodes[level, index]

    final = ledger.final(ledger.header(BLOCKS, history_root=frontier.head()))
    inclusion = HistoryProof(old, inclusion_path(OLD, BLOCKS, read), final).encode()
    consistency = ConsistencyProof(old, consistency_path(OLD, BLOCKS, read), final).encode()
    note = f"block {OLD} in {BLOCKS:,}, 4 validators"
    yield Result("history proof", len(inclusion), "bytes", note)
    yield Result("history proof made", _median_us(lambda: inclusion_path(OLD, BLOCKS, read)), "us", "nodes in memory")
    verified_us = _median_us(lambda: verify_history_proof(decode_history_proof(inclusion), ledger.genesis))
    yield Result("history proof verified", verified_us, "us", "from bytes")
    yield Result("consistency proof", len(consistency), "bytes", note)
    verified_us = _median_us(
        lambda: verify_consistency_proof(decode_consistency_proof(consistency), old, ledger.genesis)
    )
    yield Result("consistency proof verified", verified_us, "us", "from bytes")
    yield Result("history grown by a block", appended_us, "us", "digests of completed subtrees, disk not counted")


def _median_us(work: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        began_s = time.perf_counter()
        work()
        times.append((time.perf_counter() - began_s) * 1e6)
    return median(times)
