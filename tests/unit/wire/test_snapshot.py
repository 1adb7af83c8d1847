from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.ledger.snapshots import crowded, cut, roots_of, tree_of
from tests.unit.wire.samples import FIRST_END, GENESIS, HEADER, NEXT_VALIDATORS, Json, certify
from wire import cbor
from wire.errors import CborError, CertificateError, FormatError, ProofError
from wire.finality import FinalHeader
from wire.header import Header
from wire.merkle import Frontier, leaf_digest
from wire.snapshot import Manifest, decode_manifest, part_of_value, verify_manifest
from wire.types import sha256

TREE = tree_of(crowded())
ROOTS = roots_of(TREE)


def history(size: int) -> Frontier:
    frontier = Frontier()
    for height in range(size):
        frontier.append(leaf_digest(sha256(f"block {height}".encode())))
    return frontier


def manifest_of(header: Header) -> Manifest:
    """Return the manifest of a block whose state is that of `TREE`."""
    frontier = history(header.height)
    header = replace(header, state_root=TREE.root, history_root=frontier.head())
    return Manifest(FinalHeader(header, certify(header), ()), frontier.edge, ROOTS)


MANIFEST = manifest_of(HEADER)


# holds SN-1 SN-2
def test_manifest_survives_the_round_trip_and_is_proven_by_the_genesis_file() -> None:
    raw = MANIFEST.encode()
    assert decode_manifest(raw) == MANIFEST
    epoch = verify_manifest(decode_manifest(raw), GENESIS)
    assert (epoch.number, epoch.validators) == (0, GENESIS.validator_set())
    assert MANIFEST.height == MANIFEST.history.size == 42
    assert len(raw) < 36_000


# holds SN-2
def test_manifest_of_a_later_epoch_carries_the_way_to_it() -> None:
    frontier = history(60)
    header = replace(
        MANIFEST.final.header,
        epoch=1,
        height=60,
        history_root=frontier.head(),
        validators_hash=NEXT_VALIDATORS.digest(),
        next_validators_hash=NEXT_VALIDATORS.digest(),
    )
    final = FinalHeader(header, certify(header), (FIRST_END,))
    assert verify_manifest(Manifest(final, frontier.edge, ROOTS), GENESIS).number == 1
    with pytest.raises(CertificateError):
        verify_manifest(Manifest(replace(final, epochs=()), frontier.edge, ROOTS), GENESIS)


def _certified(**changes: Json) -> Manifest:
    header = replace(MANIFEST.final.header, **changes)
    return replace(MANIFEST, final=FinalHeader(header, certify(header), ()))


LIES: dict[str, tuple[Manifest, type[Exception], str]] = {
    "another state": (_certified(state_root=sha256(b"other")), ProofError, "state_root"),
    "another history": (_certified(history_root=sha256(b"other")), ProofError, "history_root"),
    "edge of another history": (replace(MANIFEST, edge=history(41).edge), ProofError, "history_root"),
    "edge too short": (replace(MANIFEST, edge=MANIFEST.edge[1:]), ProofError, "do not fit"),
    "roots swapped": (replace(MANIFEST, roots=ROOTS[::-1]), ProofError, "state_root"),
    "end of an epoch": (_certified(next_validators_hash=NEXT_VALIDATORS.digest()), ProofError, "ends an epoch"),
    "too few signatures": (
        replace(MANIFEST, final=FinalHeader(MANIFEST.final.header, certify(MANIFEST.final.header, ("dispatch",)), ())),
        CertificateError,
        "certificate",
    ),
}


# holds SN-2
@pytest.mark.parametrize("lie", LIES)
def test_manifest_that_lies_is_refused(lie: str) -> None:
    manifest, error, reason = LIES[lie]
    with pytest.raises(error, match=reason):
        verify_manifest(manifest, GENESIS)


def _edit(change: Callable[[Json], object]) -> bytes:
    value: Json = cbor.decode(MANIFEST.encode())
    change(value)
    return cbor.encode(value)


MALFORMED: dict[str, tuple[Callable[[Json], object], str]] = {
    "type": (lambda value: value.update(type="receipt"), "snapshot.type"),
    "version": (lambda value: value.update(version=2), "snapshot.version"),
    "roots": (lambda value: value.update(roots=bytes(32)), "snapshot.roots"),
    "edge": (lambda value: value.update(edge=[b"short"]), "snapshot.edge"),
    "final": (lambda value: value.update(final=None), "final"),
    "unknown": (lambda value: value.update(more=1), "more"),
}


# holds SN-1
@pytest.mark.parametrize("what", MALFORMED)
def test_manifest_malformed_is_refused_and_the_field_is_named(what: str) -> None:
    change, named = MALFORMED[what]
    with pytest.raises(FormatError, match=named):
        decode_manifest(_edit(change))


def test_manifest_not_canonical_is_refused() -> None:
    with pytest.raises(CborError):
        decode_manifest(MANIFEST.encode() + b"\x00")


def _entry(namespace: bytes, key: bytes, value: bytes) -> bytes:
    return struct.pack(">BHI", len(namespace), len(key), len(value)) + namespace + key + value


PART = cut(crowded(), 1)[1][2].to_value()
BAD_PARTS: dict[str, tuple[Json, str]] = {
    "subtree": ({"subtree": 1024}, "part.subtree"),
    "bucket": ({"bucket": 1024}, "part.bucket"),
    "no buckets": ({"buckets": 0}, "part.buckets"),
    "too many buckets": ({"bucket": 1000, "buckets": 25}, "part.buckets"),
    "half a pair": ({"before": bytes(63)}, "part.before"),
    "pairs too many": ({"after": bytes(64 * 16_385)}, "part.after"),
    "entry cut in its head": ({"entries": bytes(6)}, "part.entries"),
    "entry cut in its value": ({"entries": _entry(b"notary", b"k", b"v")[:-1]}, "part.entries"),
    "namespace": ({"entries": _entry(b"Notary", b"k", b"v")}, "part.entries.namespace"),
    "no key": ({"entries": _entry(b"notary", b"", b"v")}, "part.entries"),
    "key too long": ({"entries": _entry(b"notary", bytes(447), b"v")}, "part.entries"),
    "no value": ({"entries": _entry(b"notary", b"k", b"")}, "part.entries"),
    "too many entries": ({"entries": _entry(b"notary", b"k", b"v") * 65_537}, "more than 65536"),
    "path too long": ({"path": [bytes(32)] * 21}, "part.path"),
}


# holds SN-3
@pytest.mark.parametrize("what", BAD_PARTS)
def test_part_malformed_is_refused_and_the_field_is_named(what: str) -> None:
    change, named = BAD_PARTS[what]
    with pytest.raises(FormatError, match=named):
        part_of_value({**PART, **change})
