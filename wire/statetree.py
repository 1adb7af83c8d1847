"""Shape of the state tree: keys, buckets and the way from a bucket to the root (docs/spec, clauses ST-1 to ST-5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wire.errors import ProofError
from wire.types import DIGEST_BYTES, Digest, sha256

if TYPE_CHECKING:
    from collections.abc import Sequence

DEPTH: Final = 20
BUCKETS: Final = 1 << DEPTH
EMPTY_BUCKET: Final = bytes(DIGEST_BYTES)
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"


def leaf_key(namespace: str, key: bytes) -> Digest:
    """Return the place of a state entry in the tree: 32 bytes.

    Args:
        namespace: ASCII, at most 255 characters.
        key: Key within the namespace.

    Source: docs/spec ST-1.
    """
    name = namespace.encode("ascii")
    return sha256(bytes((len(name),)) + name + key)


def bucket_of(key: Digest) -> int:
    """Return the bucket of a leaf key: its first 20 bits, 0..2^20-1."""
    return int.from_bytes(key[:3], "big") >> 4


def bucket_digest(pairs: Sequence[tuple[Digest, Digest]]) -> Digest:
    """Return the digest of one bucket.

    Args:
        pairs: Leaf key and value digest, sorted by leaf key.

    Source: docs/spec ST-4.
    """
    if not pairs:
        return EMPTY_BUCKET
    return sha256(_LEAF + b"".join(key + value for key, value in pairs))


def node_digest(left: Digest, right: Digest) -> Digest:
    """Return the digest of an inner node. Source: docs/spec ST-5."""
    return sha256(_NODE + left + right)


def path_root(bucket: int, digest: Digest, path: Sequence[Digest]) -> Digest:
    """Return the root to which a bucket digest and its path lead.

    Args:
        bucket: Number of the bucket.
        digest: See `bucket_digest`.
        path: 20 sibling digests, bucket level first.

    Raises:
        ProofError: The path has another length, or there is no such bucket.
    """
    if len(path) != DEPTH or not 0 <= bucket < BUCKETS:
        raise ProofError(f"state tree: bucket {bucket} with a path of {len(path)}")
    for sibling in path:
        digest = node_digest(sibling, digest) if bucket & 1 else node_digest(digest, sibling)
        bucket >>= 1
    return digest
