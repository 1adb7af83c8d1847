"""The state tree and the replay window once more, as slow and plain as possible."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def naive_root(leaves: Mapping[bytes, bytes]) -> bytes:
    """Return the state root by recursion over bit strings; empty subtrees are computed once per depth."""
    empty = [bytes(32)]
    for _ in range(20):
        empty.append(hashlib.sha256(b"\x01" + empty[-1] + empty[-1]).digest())

    def walk(keys: list[bytes], depth: int) -> bytes:
        if not keys:
            return empty[20 - depth]
        if depth == 20:
            pairs = b"".join(key + leaves[key] for key in sorted(keys))
            return hashlib.sha256(b"\x00" + pairs).digest()
        sides: tuple[list[bytes], list[bytes]] = ([], [])
        for key in keys:
            sides[int.from_bytes(key, "big") >> (255 - depth) & 1].append(key)
        return hashlib.sha256(b"\x01" + walk(sides[0], depth + 1) + walk(sides[1], depth + 1)).digest()

    return walk(sorted(leaves), 0)


class NaiveWindow:
    """Remembers every number."""

    def __init__(self) -> None:
        self.used: set[int] = set()

    def is_used(self, seq: int) -> bool:
        highest = max(self.used, default=0)
        return seq in self.used or seq < highest - 4096
