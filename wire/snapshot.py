"""A state as of one height in parts that are each proven on arrival (docs/spec, clauses SN-1 to SN-4).

The state tree is cut at level 10 into 1,024 subtrees of 1,024 buckets. The manifest names their roots; a part carries
the entries of some neighbouring buckets of one subtree and the digests that lead from them to its root.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from wire import cbor
from wire.errors import FormatError, ProofError
from wire.fields import Fields
from wire.finality import FinalHeader, decode_final_header, decode_path, verify_final_header
from wire.merkle import Frontier
from wire.stateproof import BUCKET_PAIRS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX
from wire.statetree import DEPTH, EMPTY_BUCKET, bucket_digest, bucket_of, leaf_key, node_digest
from wire.types import DIGEST_BYTES, Digest, check_identifier, sha256

if TYPE_CHECKING:
    from wire.certificate import Certificate
    from wire.epochs import TrustedEpoch
    from wire.genesis import Genesis
    from wire.header import Header

TYPE: Final = "snapshot"
VERSION: Final = 1
SUBTREE_LEVEL: Final = 10
SUBTREES: Final = 1 << SUBTREE_LEVEL
SUBTREE_BUCKETS: Final = 1 << (DEPTH - SUBTREE_LEVEL)
MANIFEST_BYTES_MAX: Final = 4 * 1024 * 1024
PART_ENTRIES_MAX: Final = 65_536
PART_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of the entries of a part."""
PART_PATH_MAX: Final = 2 * (DEPTH - SUBTREE_LEVEL)
EDGE_MAX: Final = 63
_PAIR_BYTES: Final = 2 * DIGEST_BYTES
_MANIFEST: Final = ("type", "version", "final", "edge", "roots")
_LENGTHS: Final = struct.Struct(">BHI")
_PART: Final = ("subtree", "bucket", "buckets", "before", "entries", "after", "path")


def _empty_levels() -> tuple[Digest, ...]:
    """Return the digest of a node without leaves, by the number of levels below it."""
    levels = [EMPTY_BUCKET]
    for _ in range(DEPTH - SUBTREE_LEVEL):
        levels.append(node_digest(levels[-1], levels[-1]))
    return tuple(levels)


_EMPTY: Final = _empty_levels()
EMPTY_SUBTREE: Final = _EMPTY[-1]
"""Root of a subtree without leaves; nobody needs to ask for it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One state entry."""

    namespace: str
    key: bytes
    value: bytes
    """Canonical CBOR as it stands in the state."""

    @property
    def leaf(self) -> Digest:
        """Its place in the tree."""
        return leaf_key(self.namespace, self.key)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """How far the entries of a subtree are known."""

    bucket: int = 0
    """First bucket, within the subtree, that is not known whole; 1,024 when all are."""
    entries: int = 0
    """How many of that bucket's entries are known."""

    @property
    def is_end(self) -> bool:
        """Tell whether the subtree is known whole."""
        return self.bucket == SUBTREE_BUCKETS


@dataclass(frozen=True, slots=True)
class Part:
    """Entries of neighbouring buckets of one subtree."""

    subtree: int
    bucket: int
    """First bucket, within the subtree."""
    buckets: int
    """How many buckets, empty ones included."""
    before: bytes
    """Pairs (leaf key, value digest) of the first bucket that stand before the first entry."""
    entries: tuple[Entry, ...]
    """Sorted by leaf key."""
    after: bytes
    """Pairs of the last bucket that stand behind the last entry."""
    path: tuple[Digest, ...]
    """Digests of the nodes beside these buckets, in the order in which a walk from the subtree's root meets them."""

    @property
    def start(self) -> Place:
        """Where it begins."""
        return Place(self.bucket, len(self.before) // _PAIR_BYTES)

    @property
    def end(self) -> Place:
        """Where the next part begins."""
        if not self.after:
            return Place(self.bucket + self.buckets, 0)
        last = self.bucket + self.buckets - 1
        base = (self.subtree << (DEPTH - SUBTREE_LEVEL)) + last
        carried = sum(bucket_of(entry.leaf) == base for entry in self.entries)
        known = len(self.before) // _PAIR_BYTES if self.buckets == 1 else 0
        return Place(last, known + carried)

    def to_value(self) -> dict[str, cbor.Value]:
        """Return the part as a CBOR map."""
        return {
            "subtree": self.subtree,
            "bucket": self.bucket,
            "buckets": self.buckets,
            "before": self.before,
            "entries": b"".join(map(_framed, self.entries)),
            "after": self.after,
            "path": list(self.path),
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot is of, and the roots that its parts must lead to."""

    final: FinalHeader
    edge: tuple[Digest, ...]
    """Heads of the complete subtrees, largest first, of the history over blocks 0 up to the one before."""
    roots: tuple[Digest, ...]
    """Of the 1,024 subtrees."""

    @property
    def height(self) -> int:
        """Height after whose block the state stood so."""
        return self.final.header.height

    @property
    def history(self) -> Frontier:
        """The history as of the header's history_root."""
        return Frontier(self.height, self.edge)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode(
            {
                "type": TYPE,
                "version": VERSION,
                "final": self.final.to_value(),
                "edge": list(self.edge),
                "roots": b"".join(self.roots),
            }
        )


@dataclass(frozen=True, slots=True)
class OldBlock:
    """What every node keeps of a block, pruned or not, for proofs and query tables."""

    header: Header
    certificate: Certificate
    outcomes: tuple[bytes, ...]
    """Canonical, of its transactions in their order."""
    fault_proofs: tuple[bytes, ...] = ()
    """Canonical, as they stand in the block."""


def decode_manifest(raw: bytes) -> Manifest:
    """Decode a manifest of at most 4 MiB; it proves nothing before `verify_manifest`.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(cbor.decode(raw, bytes_max=MANIFEST_BYTES_MAX), _MANIFEST, TYPE)
    fields.choice("type", (TYPE,))
    fields.integer("version", VERSION, VERSION)
    roots = fields.octets("roots", SUBTREES * DIGEST_BYTES, SUBTREES * DIGEST_BYTES)
    return Manifest(
        decode_final_header(fields.raw("final")),
        decode_path(fields, "edge", EDGE_MAX),
        tuple(roots[at : at + DIGEST_BYTES] for at in range(0, len(roots), DIGEST_BYTES)),
    )


def verify_manifest(manifest: Manifest, genesis: Genesis) -> TrustedEpoch:
    """Prove with the genesis file alone that the roots and the history are those of a final block; return its epoch.

    Raises:
        CertificateError: The header or an epoch on the way is not certified.
        ProofError: The roots lead to another state_root, or the history to another history_root.
    """
    epoch = verify_final_header(manifest.final, genesis)
    header = manifest.final.header
    if header.next_validators_hash != header.validators_hash:
        raise ProofError(f"snapshot: block {header.height} ends an epoch, and the set that follows is not in it")
    if subtrees_root(manifest.roots) != header.state_root:
        raise ProofError("snapshot: the subtree roots lead to another state_root")
    if manifest.history.head() != header.history_root:
        raise ProofError("snapshot: the history leads to another history_root")
    return epoch


def subtrees_root(roots: Sequence[Digest]) -> Digest:
    """Return the state root over the roots of all 1,024 subtrees."""
    level = list(roots)
    while len(level) > 1:
        level = [node_digest(left, right) for left, right in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def part_of_value(value: object) -> Part:
    """Check the form of a part; it proves nothing before `verify_part`.

    Raises:
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(value, _PART, "part")
    bucket = fields.integer("bucket", 0, SUBTREE_BUCKETS - 1)
    return Part(
        fields.integer("subtree", 0, SUBTREES - 1),
        bucket,
        fields.integer("buckets", 1, SUBTREE_BUCKETS - bucket),
        _pairs(fields, "before"),
        tuple(_entries(fields.octets("entries", 0, PART_BYTES_MAX))),
        _pairs(fields, "after"),
        decode_path(fields, "path", PART_PATH_MAX),
    )


def _pairs(fields: Fields, name: str) -> bytes:
    pairs = fields.octets(name, 0, BUCKET_PAIRS_MAX * _PAIR_BYTES)
    if len(pairs) % _PAIR_BYTES:
        raise FormatError(f"{fields.where(name)}: pairs of two digests are due")
    return pairs


def _framed(entry: Entry) -> bytes:
    namespace = entry.namespace.encode("ascii")
    head = _LENGTHS.pack(len(namespace), len(entry.key), len(entry.value))
    return b"".join((head, namespace, entry.key, entry.value))


def _entries(data: bytes) -> Iterator[Entry]:
    """Yield the entries of a part.

    Raises:
        FormatError: A length is out of range or leads beyond the end.
    """
    at = count = 0
    while at < len(data):
        if at + _LENGTHS.size > len(data) or count == PART_ENTRIES_MAX:
            raise FormatError(f"part.entries: cut off, or more than {PART_ENTRIES_MAX}")
        named, keyed, valued = _LENGTHS.unpack_from(data, at)
        start = at + _LENGTHS.size
        at, count = start + named + keyed + valued, count + 1
        if not (0 < keyed <= KEY_BYTES_MAX and 0 < valued <= VALUE_BYTES_MAX) or at > len(data):
            raise FormatError(f"part.entries: entry {count} has a length out of range")
        middle = start + named + keyed
        namespace = check_identifier(data[start : start + named].decode("latin-1"), "part.entries.namespace")
        yield Entry(namespace, data[start + named : middle], data[middle:at])


def verify_part(part: Part, root: Digest) -> None:
    """Prove that a part holds exactly what the subtree under ``root`` has in its buckets.

    Args:
        part: As decoded.
        root: Of its subtree, from a verified manifest.

    Raises:
        ProofError: An entry is missing, added, changed or out of place, or the path leads elsewhere.
    """
    own = [(entry.leaf, sha256(entry.value)) for entry in part.entries]
    pairs = [*_split(part.before), *own, *_split(part.after)]
    if any(second[0] <= first[0] for first, second in pairwise(pairs)):
        raise ProofError("part: its leaves are not sorted or not unique")
    base = part.subtree << (DEPTH - SUBTREE_LEVEL)
    found: dict[int, list[tuple[Digest, Digest]]] = {}
    for pair in pairs:
        found.setdefault(bucket_of(pair[0]) - base, []).append(pair)
    last = part.bucket + part.buckets - 1
    if found and not (part.bucket <= min(found) and max(found) <= last):
        raise ProofError("part: a leaf stands outside its buckets")
    ends = ((part.before, part.bucket), (part.after, last))
    if any(pairs and {bucket_of(key) - base for key, _ in _split(pairs)} != {bucket} for pairs, bucket in ends):
        raise ProofError("part: the pairs before or behind its entries are of another bucket")
    if not own and (part.before or part.after):
        raise ProofError("part: it holds no entry of a bucket that it cuts")
    digests = {bucket: bucket_digest(pairs) for bucket, pairs in found.items()}
    path = iter(part.path)
    inside = range(part.bucket, last + 1)
    if _fold(0, SUBTREE_BUCKETS, inside, digests, path) != root or next(path, None) is not None:
        raise ProofError("part: it does not lead to the root of its subtree")


def _fold(low: int, high: int, inside: range, digests: dict[int, Digest], path: Iterator[Digest]) -> Digest:
    """Return the digest over buckets low..high-1: from the path outside ``inside``, from ``digests`` within."""
    if high <= inside.start or low >= inside.stop:
        return next(path, EMPTY_BUCKET)
    if high - low == 1:
        return digests.get(low, EMPTY_BUCKET)
    middle = (low + high) // 2
    left = _fold(low, middle, inside, digests, path)
    return node_digest(left, _fold(middle, high, inside, digests, path))


def path_beside(digests: Sequence[Digest], inside: range) -> tuple[Digest, ...]:
    """Return the path of a part that covers ``inside``.

    Args:
        digests: Of all 1,024 buckets of the subtree.
        inside: Buckets of the part.
    """
    found: list[Digest] = []

    def walk(low: int, high: int) -> None:
        if high <= inside.start or low >= inside.stop:
            found.append(subtree_root(digests[low:high]))
        elif high - low > 1:
            middle = (low + high) // 2
            walk(low, middle)
            walk(middle, high)

    walk(0, SUBTREE_BUCKETS)
    return tuple(found)


def subtree_root(digests: Sequence[Digest]) -> Digest:
    """Return the digest over neighbouring buckets, whose number is a power of two."""
    level = list(digests)
    height = 0
    while len(level) > 1:
        empty = _EMPTY[height]
        height += 1
        level = [
            _EMPTY[height] if left == right == empty else node_digest(left, right)
            for left, right in zip(level[::2], level[1::2], strict=True)
        ]
    return level[0]


def _split(pairs: bytes) -> list[tuple[Digest, Digest]]:
    return [
        (pairs[at : at + DIGEST_BYTES], pairs[at + DIGEST_BYTES : at + _PAIR_BYTES])
        for at in range(0, len(pairs), _PAIR_BYTES)
    ]
