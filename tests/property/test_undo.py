"""Proofs at recent heights of random chains against a model that remembers every state."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from master.io.store import Store
from master.ledger.proofs import Prover
from master.ledger.undo import KEPT_BLOCKS
from tests.unit.store.chains import MAP_BYTES, NAMESPACE, Chain, keys
from wire.stateproof import decode_state_proof, verify_state_proof


# holds UN-1 UN-2
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 2 * KEPT_BLOCKS + 10), st.integers(1, len(keys())))
def test_random_chain_is_proven_at_each_recent_height(seed: int, blocks: int, changes_max: int) -> None:
    chain = Chain(Random(seed))
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.create(Path(folder) / "store", chain.genesis, map_bytes=MAP_BYTES) as store,
    ):
        chain.grow(store, blocks, changes_max)
        prover = Prover(store, chain.tree)
        assert store.past_heights() == range(max(1, blocks - KEPT_BLOCKS), blocks + 1)
        for height in store.past_heights():
            # a signature takes most of the time: one proof of a height is verified to genesis, all against the header
            chosen = chain.rng.choice(keys())
            for key in (*keys(), b"never"):
                proof = prover.state_proof(NAMESPACE, key, height)
                assert proof is not None
                assert (proof.value, proof.final.header) == (chain.model[height].get(key), chain.headers[height])
                if key == chosen:
                    verify_state_proof(decode_state_proof(proof.encode()), chain.genesis)
