"""State tree, replay window, overlay and fingerprints against plain models."""

from __future__ import annotations

import hashlib
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from master.ledger.genesis import leaves_of
from master.ledger.sequence import SequenceWindow, decode_window
from master.ledger.state import Overlay, Write
from master.ledger.tree import StateTree, bucket_digest, bucket_of, path_root
from rules.fingerprint import Fingerprint, fingerprint
from tests.unit.ledger.naive import NaiveWindow, naive_root
from tests.unit.ledger.worlds import MemoryState
from wire.merkle import tree_head
from wire.types import CHUNK_BYTES

# few keys, so that they meet
NAMESPACES = st.sampled_from(["a", "ab"])
KEYS = st.binary(max_size=2)
VALUES = st.one_of(st.none(), st.binary(max_size=2))
CHANGES = st.lists(st.tuples(NAMESPACES, KEYS, VALUES), max_size=20)
# leaf keys that share buckets and neighbours
LEAF_KEYS = st.builds(
    lambda bucket, rest: (bucket << 4).to_bytes(3, "big") + bytes((rest,)) * 29,
    st.sampled_from([0, 1, 2, 16, 17, 524_287, 524_288, 1_048_575]),
    st.integers(0, 3),
)
LEAVES = st.dictionaries(LEAF_KEYS, st.binary(min_size=32, max_size=32), max_size=12)


@given(st.lists(LEAVES, max_size=4), st.data())
def test_tree_after_any_batches_has_the_naive_root(batches: list[dict[bytes, bytes]], data: st.DataObject) -> None:
    tree, leaves = StateTree(), dict[bytes, bytes]()
    for batch in batches:
        removed = set(data.draw(st.sets(st.sampled_from(sorted(leaves)), max_size=3))) if leaves else set()
        leaves = {key: value for key, value in {**leaves, **batch}.items() if key not in removed}
        buckets = {}
        for index in {bucket_of(key) for key in (*batch, *removed)}:
            buckets[index] = bucket_digest([(k, v) for k, v in sorted(leaves.items()) if bucket_of(k) == index])
        update = tree.preview(buckets)
        tree.apply(update)
        assert tree.root == update.root == naive_root(leaves)
    assert StateTree.rebuild(sorted(leaves.items())).root == tree.root
    for key in leaves:
        index = bucket_of(key)
        pairs = [(k, v) for k, v in sorted(leaves.items()) if bucket_of(k) == index]
        assert path_root(index, bucket_digest(pairs), tree.path(index)) == tree.root


@given(CHANGES)
def test_tree_does_not_depend_on_the_order_of_writes(changes: list[tuple[str, bytes, bytes | None]]) -> None:
    final = {(namespace, key): value for namespace, key, value in changes}
    writes = [Write(namespace, key, value) for (namespace, key), value in final.items()]
    forward, backward = leaves_of(writes), leaves_of(reversed(writes))
    assert forward == backward
    kept = {key: value for key, value in forward if value is not None}
    assert StateTree.rebuild(kept.items()).root == naive_root(kept)


# numbers around the edges of the window
SEQS = st.lists(
    st.one_of(st.integers(1, 12), st.integers(4090, 4110), st.integers(8185, 8200), st.just(2**63 - 1)), max_size=40
)


@given(SEQS)
def test_window_agrees_with_a_model_that_remembers_everything(seqs: list[int]) -> None:
    window, model = SequenceWindow(), NaiveWindow()
    for seq in seqs:
        assert window.is_used(seq) == model.is_used(seq)
        if not model.is_used(seq):
            window = decode_window(window.use(seq).encode())
            model.used.add(seq)
    for near in {seq + step for seq in seqs for step in (-1, 0, 1)} - {0}:
        assert window.is_used(near) == model.is_used(near)


@given(CHANGES, CHANGES, CHANGES, st.binary(max_size=1))
def test_overlays_agree_with_a_dictionary(
    base: list[tuple[str, bytes, bytes | None]],
    lower: list[tuple[str, bytes, bytes | None]],
    upper: list[tuple[str, bytes, bytes | None]],
    prefix: bytes,
) -> None:
    model: dict[tuple[str, bytes], bytes] = {(n, k): v for n, k, v in base if v is not None}
    below = MemoryState([Write(n, k, v) for (n, k), v in model.items()])
    start = dict(model)
    first = Overlay(below)
    second = Overlay(first)
    for overlay, changes in ((first, lower), (second, upper)):
        for namespace, key, value in changes:
            if value is None:
                overlay.delete(namespace, key)
                model.pop((namespace, key), None)
            else:
                overlay.put(namespace, key, value)
                model[namespace, key] = value
    for namespace in ("a", "ab"):
        expected = sorted((k, v) for (n, k), v in model.items() if n == namespace and k.startswith(prefix))
        assert list(second.scan(namespace, prefix)) == expected
    first.absorb(second)
    writes = first.writes()
    below.take(writes, ())
    assert below.entries == model
    assert all(before < after for before, after in pairwise((w.namespace, w.key) for w in writes))
    assert all(start.get((w.namespace, w.key)) != w.value for w in writes)


@given(st.integers(0, 3 * CHUNK_BYTES), st.lists(st.integers(0, CHUNK_BYTES + 2), max_size=6))
def test_fingerprint_does_not_depend_on_how_a_file_is_cut(size: int, cuts: list[int]) -> None:
    content = hashlib.shake_128(b"file").digest(size)
    running, at = Fingerprint(), 0
    for cut in cuts:
        running.update(content[at : at + cut])
        at += cut
    running.update(content[at:])
    found = running.result()
    assert found == fingerprint(content)
    assert found.sha256 == hashlib.sha256(content).digest()
    assert found.chunk_root == tree_head(content[at : at + CHUNK_BYTES] for at in range(0, size, CHUNK_BYTES))
