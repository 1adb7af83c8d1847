from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.wire.samples import (
    CHAIN,
    FIRST_END,
    GENESIS,
    MEMBERS,
    NEXT_VALIDATORS,
    VALIDATORS,
    VOTE_KEYS,
    Json,
    key_of,
)
from wire import cbor
from wire.certificate import Step, vote_bytes
from wire.errors import CborError, CertificateError, FormatError, SignatureError
from wire.faultproof import (
    AMNESIA,
    FAULT_PROOF_BYTES_MAX,
    KINDS,
    FaultFile,
    FaultProof,
    Prepared,
    Statement,
    bound_digest,
    decode_fault_file,
    decode_fault_proof,
    verify_fault_file,
    verify_fault_proof,
)
from wire.header import ZERO_DIGEST
from wire.types import sha256

LOW, HIGH = sorted((sha256(b"one block"), sha256(b"another block")))
HEIGHT = 43
MEMBER = "sub-west"


def said(step: Step, view: int, digest: bytes, member: str = MEMBER, epoch: int = 0) -> Statement:
    signed = vote_bytes(CHAIN, epoch, step, HEIGHT, view, digest)
    return Statement(step, view, digest, VOTE_KEYS[member].sign(signed).signature)


def doubled(step: Step = Step.PREPARE, member: str = MEMBER, epoch: int = 0) -> FaultProof:
    pair = (said(step, 2, LOW, member, epoch), said(step, 2, HIGH, member, epoch))
    return FaultProof(CHAIN, epoch, HEIGHT, member, *pair)


def forgetful(prepared: Prepared | None, commit_view: int = 2, view: int = 3) -> FaultProof:
    """Return the proof that a COMMIT of ``commit_view`` was hidden behind an older certificate."""
    pair = (said(Step.COMMIT, commit_view, LOW), said(Step.VIEW_CHANGE, view, bound_digest(prepared)))
    return FaultProof(CHAIN, 0, HEIGHT, MEMBER, *pair, prepared)


PROOF = doubled()
AMNESIAS = (forgetful(None), forgetful(Prepared(1, HIGH)), forgetful(None, 0, 1))


# holds FP-1 FP-2
@pytest.mark.parametrize("step", Step)
def test_fault_proof_of_a_step_signed_twice_round_trips_and_verifies(step: Step) -> None:
    proof = doubled(step)
    decoded = decode_fault_proof(proof.encode())
    assert decoded == proof
    assert decoded.kind == KINDS[step - 1]
    assert decoded.place == (MEMBER, HEIGHT, decoded.kind)
    assert decoded.digest() == sha256(proof.encode())
    verify_fault_proof(decoded, CHAIN, 0, VALIDATORS)


# holds FP-1 FP-2
@pytest.mark.parametrize("proof", AMNESIAS)
def test_fault_proof_of_a_hidden_commit_round_trips_and_verifies(proof: FaultProof) -> None:
    decoded = decode_fault_proof(proof.encode())
    assert decoded == proof
    assert decoded.kind == AMNESIA
    verify_fault_proof(decoded, CHAIN, 0, VALIDATORS)


# holds FP-1
@pytest.mark.parametrize(
    ("proof", "reason"),
    [
        (replace(PROOF, second=said(Step.PREPARE, 3, HIGH)), "of different views"),
        (replace(PROOF, second=PROOF.first), "ascending order"),
        (replace(PROOF, first=PROOF.second, second=PROOF.first), "ascending order"),
        (replace(PROOF, prepared=Prepared(1, LOW)), "without being about one"),
        (replace(PROOF, second=said(Step.COMMIT, 2, HIGH)), "a commit, then a view change"),
        (replace(AMNESIAS[0], first=AMNESIAS[0].second, second=AMNESIAS[0].first), "a commit, then a view change"),
        (forgetful(None, 3, 3), "not for a later view"),
        (forgetful(None, 4, 3), "not for a later view"),
        (replace(AMNESIAS[0], prepared=Prepared(1, HIGH)), "over another certificate"),
        (replace(AMNESIAS[1], prepared=None), "over another certificate"),
        (forgetful(Prepared(2, LOW)), "hides nothing"),
        (replace(PROOF, height=0), "height"),
        (replace(PROOF, member="No One"), "member"),
        (replace(PROOF, first=replace(PROOF.first, signature=bytes(63))), "signature"),
        (replace(PROOF, first=replace(PROOF.first, view=-1)), "view"),
    ],
)
def test_fault_proof_of_what_an_honest_validator_may_sign_is_refused(proof: FaultProof, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_fault_proof(proof.encode())


# holds FP-1
@pytest.mark.parametrize("change", [{"type": "conflict"}, {"version": 2}, {"first": 7}, {"prepared": {}}, {"more": 1}])
def test_fault_proof_of_another_form_is_refused(change: dict[str, Json]) -> None:
    value: Json = cbor.decode(PROOF.encode())
    with pytest.raises(FormatError):
        decode_fault_proof(cbor.encode({**value, **change}))
    with pytest.raises(CborError):
        decode_fault_proof(PROOF.encode() + b"\x00")
    with pytest.raises(CborError):
        decode_fault_proof(cbor.encode(bytes(FAULT_PROOF_BYTES_MAX)))


# holds FP-1
def test_fault_proof_largest_fits_its_limit() -> None:
    largest = replace(
        AMNESIAS[1],
        chain="c" * 64,
        epoch=2**63 - 1,
        height=2**63 - 1,
        member="m" * 64,
        first=replace(AMNESIAS[1].first, view=2**63 - 2),
        second=replace(AMNESIAS[1].second, view=2**63 - 1),
    )
    assert len(largest.encode()) <= FAULT_PROOF_BYTES_MAX
    assert decode_fault_proof(largest.encode()) == largest


# holds FP-2
def test_fault_proof_of_another_ledger_epoch_or_member_is_refused() -> None:
    with pytest.raises(CertificateError, match="not 0 of other"):
        verify_fault_proof(PROOF, "other", 0, VALIDATORS)
    with pytest.raises(CertificateError, match="not 1 of"):
        verify_fault_proof(PROOF, CHAIN, 1, VALIDATORS)
    with pytest.raises(CertificateError, match="no validator of epoch 0"):
        verify_fault_proof(PROOF, CHAIN, 0, NEXT_VALIDATORS)


# holds FP-2
@pytest.mark.parametrize("place", ["first", "second"])
def test_fault_proof_with_one_statement_of_somebody_else_is_refused(place: str) -> None:
    statement = getattr(PROOF, place)
    signed = vote_bytes(CHAIN, 0, statement.step, HEIGHT, statement.view, statement.digest)
    forged = replace(statement, signature=key_of("somebody").sign(signed).signature)
    with pytest.raises(SignatureError):
        verify_fault_proof(replace(PROOF, **{place: forged}), CHAIN, 0, VALIDATORS)


# holds FP-3
def test_bound_digest_is_what_a_view_change_signs() -> None:
    assert bound_digest(None) == ZERO_DIGEST
    assert bound_digest(Prepared(258, LOW)) == sha256(bytes(6) + b"\x01\x02" + LOW)


# holds FP-4
def test_fault_file_verifies_with_the_genesis_file_alone() -> None:
    file = FaultFile(PROOF, ())
    assert decode_fault_file(file.encode()) == file
    verify_fault_file(file, GENESIS)
    later = FaultFile(doubled(member=MEMBERS[0], epoch=1), (FIRST_END,))
    assert decode_fault_file(later.encode()) == later
    verify_fault_file(later, GENESIS)


# holds FP-4
def test_fault_file_with_too_few_epochs_or_a_member_who_left_is_refused() -> None:
    with pytest.raises(CertificateError, match="about epoch 1"):
        verify_fault_file(FaultFile(doubled(member=MEMBERS[0], epoch=1), ()), GENESIS)
    with pytest.raises(CertificateError, match="no validator of epoch 1"):
        verify_fault_file(FaultFile(doubled(epoch=1), (FIRST_END,)), GENESIS)


# holds FP-4
@pytest.mark.parametrize("change", [{"type": "fault-proof"}, {"version": 2}, {"proof": b""}, {"epochs": 1}])
def test_fault_file_of_another_form_is_refused(change: dict[str, Json]) -> None:
    value: Json = cbor.decode(FaultFile(PROOF, ()).encode())
    with pytest.raises(FormatError):
        decode_fault_file(cbor.encode({**value, **change}))
