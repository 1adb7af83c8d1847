from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.wire.samples import GENESIS, HEADER, MEMBERS, certify
from tests.unit.wire.statetrees import Tree, chain_of
from wire import cbor
from wire.accessproof import AccessProof, decode_access_proof, verify_access_proof
from wire.errors import CertificateError, ProofError, WireError
from wire.finality import FinalHeader
from wire.grants import NAMESPACE, PAGE_GRANTS, Grant, page_key
from wire.historyproof import HistoryProof
from wire.merkle import inclusion_path
from wire.types import sha256

CLASS, SUBJECT, BLOCKS = "settings", "device/dev-1", 9
LAB = Grant(sha256(b"1"), "organisation/lab", "grid", 2, None, None, 6, "grid")
AUDITOR = Grant(sha256(b"2"), "role/auditor", "grid", 4, None, HEADER.time_ms + 7, None, None)


def page(*grants: Grant) -> bytes:
    return cbor.encode({"grants": [grant.to_value() for grant in grants]})


def proof_of(asked: int | None, *pages: bytes, count: int | None = None) -> AccessProof:
    """Return a true proof about block ``asked``, with as many pages as are due, or ``count``."""
    tree = Tree({(NAMESPACE, page_key(CLASS, SUBJECT, number)): raw for number, raw in enumerate(pages)})
    headers, leaves = chain_of(tree.root, BLOCKS)
    final = FinalHeader(headers[-1], certify(headers[-1]), ())
    due = len(pages) + 1 if count is None else count
    proofs = tuple(tree.prove(NAMESPACE, page_key(CLASS, SUBJECT, number), final) for number in range(due))
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
