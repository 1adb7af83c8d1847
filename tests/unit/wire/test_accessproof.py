from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.wire.samples import GENESIS, HEADER, MEMBERS, certify
from wire import cbor
from wire.accessproof import AccessProof, decode_access_proof, verify_access_proof
from wire.errors import CertificateError, ProofError, WireError
from wire.finality import FinalHeader
from wire.grants import NAMESPACE, PAGE_GRANTS, Grant, page_key
from wire.header import Header
from wire.historyproof import HistoryProof
from wire.merkle import inclusion_path, leaf_digest, tree_head
from wire.stateproof import StateProof
from wire.statetree import DEPTH, EMPTY_BUCKET, bucket_digest, bucket_of, leaf_key
from wire.types import Digest, sha256

CLASS, SUBJECT, BLOCKS = "settings", "device/dev-1", 9
LAB = Grant(sha256(b"1"), "organisation/lab", "grid", 2, None, None, 6, "grid")
AUDITOR = Grant(sha256(b"2"), "role/auditor", "grid", 4, None, HEADER.time_ms + 7, None, None)
_LEVELS = [EMPTY_BUCKET]


def node(left: Digest, right: Digest) -> Digest:
    return sha256(b"\x01" + left + right)


for _ in range(DEPTH):
    _LEVELS.append(node(_LEVELS[-1], _LEVELS[-1]))


class Tree:
    """The state tree over a few entries of one namespace, from the text of ST-1 to ST-5."""

    def __init__(self, entries: dict[bytes, bytes]) -> None:
        self.entries = entries
        self.buckets: dict[int, list[tuple[Digest, Digest]]] = {}
        for key, value in entries.items():
            place = leaf_key(NAMESPACE, key)
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

    def prove(self, key: bytes, final: FinalHeader) -> StateProof:
        number = bucket_of(leaf_key(NAMESPACE, key))
        path = tuple(level.get((number >> height) ^ 1, _LEVELS[height]) for height, level in enumerate(self.levels))
        bucket = tuple(sorted(self.buckets.get(number, [])))
        return StateProof(NAMESPACE, key, self.entries.get(key), bucket, path, final)


def page(*grants: Grant) -> bytes:
    return cbor.encode({"grants": [grant.to_value() for grant in grants]})


def chain_of(state_root: Digest) -> tuple[list[Header], list[Digest]]:
    """Return headers 1..BLOCKS, ms apart, the newest with a state root."""
    digests, headers = [GENESIS.digest()], []
    for height in range(1, BLOCKS + 1):
        root = state_root if height == BLOCKS else HEADER.state_root
        changes = {"height": height, "time_ms": HEADER.time_ms + height, "parent": digests[-1], "state_root": root}
        header = replace(HEADER, **changes, history_root=tree_head(digests))  # type: ignore[arg-type]
        headers.append(header)
        digests.append(header.digest())
    return headers, [leaf_digest(digest) for digest in digests]


def proof_of(asked: int | None, *pages: bytes, count: int | None = None) -> AccessProof:
    """Return a true proof about block ``asked``, with as many pages as are due, or ``count``."""
    tree = Tree({page_key(CLASS, SUBJECT, number): raw for number, raw in enumerate(pages)})
    headers, leaves = chain_of(tree.root)
    final = FinalHeader(headers[-1], certify(headers[-1]), ())
    due = len(pages) + 1 if count is None else count
    proofs = tuple(tree.prove(page_key(CLASS, SUBJECT, number), final) for number in range(due))
    path = () if asked is None else inclusion_path(leaves[:BLOCKS], asked)
    history = None if asked is None else HistoryProof(headers[asked - 1], path, final)
    return AccessProof(CLASS, SUBJECT, proofs, history)


# holds AC-8
@pytest.mark.parametrize(
    ("asked", "readers"),
    [
        (1, []),
        (2, ["organisation/lab"]),
        (4, ["organisation/lab", "role/auditor"]),
        (6, ["role/auditor"]),
        (7, []),
        (None, []),
    ],
)
def test_access_proof_shows_who_could_read_at_every_height(asked: int | None, readers: list[str]) -> None:
    proof = decode_access_proof(proof_of(asked, page(LAB, AUDITOR), count=1).encode())
    found = verify_access_proof(proof, GENESIS)
    assert [grant.reader for grant in found.grants] == readers
    assert (found.height, found.known_height) == (asked or BLOCKS, BLOCKS)
    assert len(found.grants) + len(found.others) == 2


# holds AC-8
def test_access_proof_that_nobody_ever_had_a_grant_verifies() -> None:
    found = verify_access_proof(proof_of(3), GENESIS)
    assert (found.grants, found.others) == ((), ())


# holds AC-8
def test_access_proof_over_several_pages_has_all_of_them() -> None:
    full = page(*[LAB] * PAGE_GRANTS)
    assert len(verify_access_proof(proof_of(5, full, page(AUDITOR), count=2), GENESIS).grants) == PAGE_GRANTS + 1
    assert len(verify_access_proof(proof_of(5, full), GENESIS).grants) == PAGE_GRANTS
    with pytest.raises(ProofError, match="page 1 is missing"):
        verify_access_proof(proof_of(5, full, page(AUDITOR), count=1), GENESIS)


# holds AC-8
def test_access_proof_that_leaves_something_out_is_refused() -> None:
    proof = proof_of(5, page(LAB, AUDITOR), count=1)
    (first,) = proof.pages
    other = proof_of(5)
    assert proof.history is not None
    cases = [
        (replace(proof, subject="device/dev-2"), "another entry stands"),
        (replace(proof, data_class="contracts"), "another entry stands"),
        (replace(proof, pages=(replace(first, namespace="notary"),)), "another entry stands"),
        (replace(proof, pages=(replace(first, value=None),)), "holds something else"),
        (replace(proof, pages=(replace(first, value=page(LAB)),)), "holds something else"),
        (proof_of(5, page(LAB), count=2), "page 1 stands behind one that is not full"),
        (replace(proof, pages=(first, *other.pages)), "page 1 is of another block"),
        (replace(proof, history=other.history), "the history is that of another block"),
        (replace(proof, history=replace(proof.history, path=())), "."),
    ]
    for wrong, reason in cases:
        with pytest.raises(ProofError, match=reason):
            verify_access_proof(wrong, GENESIS)


# holds AC-8
def test_access_proof_without_a_quorum_is_refused() -> None:
    proof = proof_of(None, page(LAB), count=1)
    final = FinalHeader(proof.pages[0].final.header, certify(HEADER, MEMBERS[:1]), ())
    with pytest.raises(CertificateError):
        verify_access_proof(replace(proof, pages=(replace(proof.pages[0], final=final),)), GENESIS)


# holds AC-8
@pytest.mark.parametrize(
    "changes",
    [
        {"type": "state-proof"},
        {"version": 2},
        {"class": "public"},
        {"subject": "dev-1"},
        {"pages": []},
        {"pages": ["text"]},
        {"pages": [b"\xa0"]},
        {"history": b""},
    ],
)
def test_access_proof_of_another_form_is_refused(changes: dict[str, cbor.Value]) -> None:
    value = cbor.decode_map(proof_of(5, page(LAB), count=1).encode())
    assert decode_access_proof(cbor.encode(value)) == proof_of(5, page(LAB), count=1)
    with pytest.raises(WireError):
        decode_access_proof(cbor.encode(value | changes))
