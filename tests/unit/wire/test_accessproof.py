from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.unit.wire.samples import GENESIS, HEADER, MEMBERS, certify
from tests.unit.wire.statetrees import Tree, chain_of
from wire import cbor
from wire.accessproof import AccessProof, decode_access_proof, verify_access_proof
from wire.errors import CertificateError, ProofError, WireError
from wire.finality import FinalHeader
from wire.grants import NAMESPACE, PAGE_GRANTS, Grant, PastGrant, page_key, past_key
from wire.historyproof import HistoryProof
from wire.merkle import inclusion_path
from wire.types import sha256

CLASS, SUBJECT, BLOCKS = "settings", "device/dev-1", 9
LAB = Grant(sha256(b"1"), "organisation/lab", "grid", 2, None, None, 6, "grid")
AUDITOR = Grant(sha256(b"2"), "role/auditor", "grid", 4, None, HEADER.time_ms + 7, None, None)


def page(*grants: Grant) -> bytes:
    return cbor.encode({"grants": [grant.to_value() for grant in grants]})


def past_page(*left: tuple[int, Grant]) -> bytes:
    return cbor.encode({"grants": [PastGrant(height, grant).to_value() for height, grant in left]})


def proof_of(
    asked: int | None,
    *pages: bytes,
    count: int | None = None,
    past: Sequence[bytes] = (),
    past_from: int = 0,
    past_to: int = 0,
) -> AccessProof:
    """Return a true proof about block ``asked``, with as many pages as are due, or ``count``."""
    entries = {(NAMESPACE, page_key(CLASS, SUBJECT, number)): raw for number, raw in enumerate(pages)}
    entries |= {(NAMESPACE, past_key(CLASS, SUBJECT, number)): raw for number, raw in enumerate(past)}
    tree = Tree(entries)
    headers, leaves = chain_of(tree.root, BLOCKS)
    final = FinalHeader(headers[-1], certify(headers[-1]), ())
    due = len(pages) + 1 if count is None else count
    proofs = tuple(tree.prove(NAMESPACE, page_key(CLASS, SUBJECT, number), final) for number in range(due))
    path = () if asked is None else inclusion_path(leaves[:BLOCKS], asked)
    history = None if asked is None else HistoryProof(headers[asked - 1], path, final)
    left = (tree.prove(NAMESPACE, past_key(CLASS, SUBJECT, number), final) for number in range(past_from, past_to))
    return AccessProof(CLASS, SUBJECT, proofs, tuple(left), history)


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


EARLIER = Grant(sha256(b"3"), "role/regulator", "grid", 1, None, None, 3, "grid")
FULL = page(*[AUDITOR] * PAGE_GRANTS)


@pytest.fixture
def one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one page be all the places there are."""
    monkeypatch.setattr("wire.accessproof.PAGES_MAX", 1)


# holds AC-8
@pytest.mark.usefixtures("one_page")
@pytest.mark.parametrize(
    ("asked", "past_from", "past_to", "readers"),
    [
        (2, 0, 2, {"role/regulator", "organisation/lab"}),
        (3, 0, 2, {"organisation/lab"}),
        # of the first page all had left by then
        (5, 1, 2, {"organisation/lab", "role/auditor"}),
        (7, 1, 2, set()),
    ],
)
def test_access_proof_of_places_that_were_given_up_shows_who_could_read(
    asked: int, past_from: int, past_to: int, readers: set[str]
) -> None:
    past = [past_page(*[(4, EARLIER)] * PAGE_GRANTS), past_page((5, EARLIER), (8, LAB))]
    proof = proof_of(asked, FULL, count=1, past=past, past_from=past_from, past_to=past_to)
    found = verify_access_proof(decode_access_proof(proof.encode()), GENESIS)
    assert {grant.reader for grant in found.grants} == readers


# holds AC-8
@pytest.mark.usefixtures("one_page")
def test_access_proof_that_leaves_out_what_gave_up_its_place_is_refused() -> None:
    left = past_page(*[(4, EARLIER)] * PAGE_GRANTS)

    def made(asked: int, past_from: int, past_to: int) -> AccessProof:
        return proof_of(asked, FULL, count=1, past=[left, past_page((5, LAB))], past_from=past_from, past_to=past_to)

    whole, nothing = made(2, 0, 2), proof_of(2, FULL, count=1, past_to=1)
    assert len(verify_access_proof(nothing, GENESIS).others) == PAGE_GRANTS, "none has left"
    first, second = whole.past
    cases = [
        (made(2, 0, 0), "belong to places that are all taken"),
        (proof_of(2, page(LAB), count=1, past_to=1), "belong to places that are all taken"),
        (replace(whole, past=nothing.past), "of another block than the first"),
        (made(2, 1, 2), "page 0 of the past is missing"),
        (made(4, 2, 3), "page 1 of the past is missing"),
        (made(2, 0, 1), "the last page of the past is missing"),
        (made(2, 0, 3), "page 2 of the past stands behind one that is not full"),
        (replace(whole, past=(first, first)), "where page 1 of the past is due"),
        (replace(whole, past=(replace(first, key=first.key[:-1] + b"x"), second)), "a page of the past is due"),
        (replace(whole, past=(replace(first, key=b"past/x/00000000"), second)), "where page 0 of the past is due"),
        (replace(whole, past=(replace(first, key=first.key + b"0"), second)), "a page of the past is due"),
        (replace(whole, past=(first, replace(second, value=past_page((5, AUDITOR))))), "holds something else"),
    ]
    for wrong, reason in cases:
        with pytest.raises(ProofError, match=reason):
            verify_access_proof(wrong, GENESIS)


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
        {"past": None},
        {"past": [b"\xa0"]},
        {"history": b""},
    ],
)
def test_access_proof_of_another_form_is_refused(changes: dict[str, cbor.Value]) -> None:
    value = cbor.decode_map(proof_of(5, page(LAB), count=1).encode())
    assert decode_access_proof(cbor.encode(value)) == proof_of(5, page(LAB), count=1)
    with pytest.raises(WireError):
        decode_access_proof(cbor.encode(value | changes))
