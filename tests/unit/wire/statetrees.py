"""State trees and chains of headers that are small enough to make proofs of by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.unit.wire.samples import GENESIS, HEADER
from wire.finality import FinalHeader
from wire.header import Header
from wire.merkle import leaf_digest, tree_head
from wire.stateproof import StateProof
from wire.statetree import DEPTH, EMPTY_BUCKET, bucket_digest, bucket_of, leaf_key
from wire.types import Digest, sha256

_LEVELS = [EMPTY_BUCKET]


def node(left: Digest, right: Digest) -> Digest:
    return sha256(b"\x01" + left + right)


for _ in range(DEPTH):
    _LEVELS.append(node(_LEVELS[-1], _LEVELS[-1]))


class Tree:
    """The state tree over a few entries, from the text of ST-1 to ST-5."""

    def __init__(self, entries: Mapping[tuple[str, bytes], bytes]) -> None:
        self.entries = entries
        self.buckets: dict[int, list[tuple[Digest, Digest]]] = {}
        for (namespace, key), value in entries.items():
            place = leaf_key(namespace, key)
            self.buckets.setdefault(bucket_of(place), []).append((place, sha256(value)))
        level = {number: bucket_digest(tuple(sorted(pairs))) for number, pairs in self.buckets.items()}
        self.levels = []
        for height in range(DEPTH):
            self.levels.append(level)
            level = {
                number: node(level.get(2 * number, _LEVELS[height]), level.get(2 * number + 1, _LEVELS[height]))
                for number in {number >> 1 for number in level}
            }
        self.root = level.get(0, _LEVELS[DEPTH])

    def prove(self, namespace: str, key: bytes, final: FinalHeader) -> StateProof:
        number = bucket_of(leaf_key(namespace, key))
        path = tuple(level.get((number >> height) ^ 1, _LEVELS[height]) for height, level in enumerate(self.levels))
        bucket = tuple(sorted(self.buckets.get(number, [])))
        return StateProof(namespace, key, self.entries.get((namespace, key)), bucket, path, final)


def chain_of(state_root: Digest, blocks: int) -> tuple[list[Header], list[Digest]]:
    """Return headers 1..``blocks``, ms apart, the newest with a state root."""
    digests, headers = [GENESIS.digest()], []
    for height in range(1, blocks + 1):
        root = state_root if height == blocks else HEADER.state_root
        changes = {"height": height, "time_ms": HEADER.time_ms + height, "parent": digests[-1], "state_root": root}
        header = replace(HEADER, **changes, history_root=tree_head(digests))  # type: ignore[arg-type]
        headers.append(header)
        digests.append(header.digest())
    return headers, [leaf_digest(digest) for digest in digests]
