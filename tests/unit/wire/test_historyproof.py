from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.wire.samples import GENESIS, HEADER, MEMBERS, certify
from wire import cbor
from wire.errors import CborError, CertificateError, FormatError, ProofError, WireError
from wire.finality import FinalHeader
from wire.header import Header
from wire.historyproof import (
    ConsistencyProof,
    HistoryProof,
    check_consistency,
    check_inclusion,
    decode_consistency_proof,
    decode_history_proof,
    verify_consistency_proof,
    verify_history_proof,
)
from wire.merkle import consistency_path, inclusion_path, leaf_digest, tree_head

BLOCKS = 20


def chain_of(blocks: int) -> list[Header]:
    """Return headers 1..blocks, each of which stands on those before."""
    digests, headers = [GENESIS.digest()], []
    for height in range(1, blocks + 1):
        header = replace(HEADER, height=height, parent=digests[-1], history_root=tree_head(digests))
        headers.append(header)
        digests.append(header.digest())
    return headers


HEADERS = chain_of(BLOCKS)
LEAVES = [leaf_digest(GENESIS.digest()), *(leaf_digest(header.digest()) for header in HEADERS)]


def final_of(header: Header) -> FinalHeader:
    return FinalHeader(header, certify(header), ())


def inclusion(height: int, newer: int) -> HistoryProof:
    path = inclusion_path(LEAVES[:newer], height)
    return HistoryProof(HEADERS[height - 1], path, final_of(HEADERS[newer - 1]))


def consistency(height: int, newer: int) -> ConsistencyProof:
    path = consistency_path(LEAVES[:newer], height)
    return ConsistencyProof(HEADERS[height - 1], path, final_of(HEADERS[newer - 1]))


PROOF, CONTINUED = inclusion(5, 18), consistency(5, 18)


# holds HP-1 HP-2
@pytest.mark.parametrize(("height", "newer"), [(1, 2), (1, 20), (5, 18), (16, 17), (19, 20)])
def test_history_proof_of_an_old_block_verifies(height: int, newer: int) -> None:
    proof = decode_history_proof(inclusion(height, newer).encode())
    assert proof == inclusion(height, newer)
    verify_history_proof(proof, GENESIS)


LIES: dict[str, Callable[[HistoryProof], HistoryProof]] = {
    "another block": lambda proof: replace(proof, header=replace(proof.header, tx_root=bytes(32))),
    "another height": lambda proof: replace(proof, header=replace(proof.header, height=6)),
    "a height that the header does not cover": lambda proof: replace(proof, header=HEADERS[17]),
    "another chain": lambda proof: replace(proof, header=replace(proof.header, chain="other-00000000")),
    "another sibling": lambda proof: replace(proof, path=(bytes(32), *proof.path[1:])),
    "a sibling too few": lambda proof: replace(proof, path=proof.path[:-1]),
    "a sibling too many": lambda proof: replace(proof, path=(*proof.path, bytes(32))),
    "another newer header": lambda proof: replace(proof, final=final_of(HEADERS[18])),
}


# holds HP-2
@pytest.mark.parametrize("lie", LIES)
def test_history_proof_with_a_lie_is_refused(lie: str) -> None:
    with pytest.raises(ProofError):
        verify_history_proof(LIES[lie](PROOF), GENESIS)


# holds HP-3
def test_history_proof_under_an_uncertified_header_is_refused() -> None:
    weak = replace(PROOF.final, certificate=certify(PROOF.final.header, MEMBERS[:2]))
    with pytest.raises(CertificateError):
        verify_history_proof(replace(PROOF, final=weak), GENESIS)
    with pytest.raises(CertificateError):
        verify_consistency_proof(replace(CONTINUED, final=weak), CONTINUED.header, GENESIS)
    check_inclusion(PROOF.header, PROOF.path, weak.header)


# holds HP-1 HP-4
@pytest.mark.parametrize(("height", "newer"), [(1, 1), (1, 2), (8, 9), (8, 16), (5, 18), (20, 20)])
def test_consistency_proof_of_two_headers_verifies(height: int, newer: int) -> None:
    proof = decode_consistency_proof(consistency(height, newer).encode())
    assert proof == consistency(height, newer)
    verify_consistency_proof(proof, HEADERS[height - 1], GENESIS)


REWRITTEN: dict[str, Callable[[ConsistencyProof], ConsistencyProof]] = {
    "another sibling": lambda proof: replace(proof, path=(bytes(32), *proof.path[1:])),
    "a sibling too few": lambda proof: replace(proof, path=proof.path[:-1]),
    "an older header": lambda proof: replace(proof, final=final_of(HEADERS[3])),
    "another chain": lambda proof: replace(proof, header=replace(proof.header, chain="other-00000000")),
    "a past that was rewritten": lambda proof: replace(
        proof, header=replace(proof.header, history_root=tree_head([b"another past"] * 5))
    ),
}


# holds HP-4
@pytest.mark.parametrize("lie", REWRITTEN)
def test_consistency_proof_with_a_lie_is_refused(lie: str) -> None:
    proof = REWRITTEN[lie](CONTINUED)
    with pytest.raises(ProofError):
        verify_consistency_proof(proof, proof.header, GENESIS)


# holds HP-5
def test_consistency_proof_about_another_header_than_the_known_one_is_refused() -> None:
    with pytest.raises(ProofError, match="another header than the known one of height 6"):
        verify_consistency_proof(CONTINUED, HEADERS[5], GENESIS)
    check_consistency(HEADERS[5], consistency(6, 18).path, HEADERS[17])


# holds HP-1 HP-6
@pytest.mark.parametrize(
    ("field", "value"),
    [("type", "receipt"), ("version", 2), ("header", b""), ("path", [bytes(32)] * 65), ("final", {}), ("more", 1)],
)
def test_history_proof_of_another_shape_is_refused(field: str, value: cbor.Value) -> None:
    for proof, decode in ((PROOF, decode_history_proof), (CONTINUED, decode_consistency_proof)):
        decoded = cbor.decode_map(proof.encode())
        with pytest.raises(WireError):
            decode(cbor.encode({**decoded, field: value}))
    with pytest.raises(FormatError):
        decode_history_proof(CONTINUED.encode())


# holds HP-6
def test_history_proof_past_4_mib_is_refused_unread() -> None:
    with pytest.raises(CborError, match="longer than"):
        decode_history_proof(bytes(4 * 1024 * 1024 + 1))


# holds HP-2 HP-4
def test_history_proof_with_any_one_byte_changed_is_refused() -> None:
    raw, continued = PROOF.encode(), CONTINUED.encode()
    for at in range(0, len(raw), 7):
        with pytest.raises(WireError):
            verify_history_proof(decode_history_proof(raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]), GENESIS)
    for at in range(0, len(continued), 7):
        damaged = continued[:at] + bytes((continued[at] ^ 1,)) + continued[at + 1 :]
        with pytest.raises(WireError):
            verify_consistency_proof(decode_consistency_proof(damaged), CONTINUED.header, GENESIS)
