from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.wire.samples import CERTIFICATE, CHAIN, HEADER, MEMBERS, VALIDATORS, VOTE_KEYS, Json, certify, public_of
from wire import cbor
from wire.certificate import (
    Certificate,
    Step,
    Validator,
    ValidatorSet,
    build_certificate,
    decode_certificate,
    decode_validators,
    faults,
    quorum,
    verify_certificate,
    vote_bytes,
)
from wire.errors import CertificateError, FormatError
from wire.types import sha256

DIGEST = sha256(b"a block")


def validators(count: int) -> tuple[Validator, ...]:
    return tuple(Validator(f"node-{number:02}", sha256(bytes((number,))), bytes(32)) for number in range(count))


def value() -> dict[str, Any]:
    return CERTIFICATE.to_value()


# holds QC-1
@pytest.mark.parametrize(
    ("count", "may_fail", "signers"),
    [(1, 0, 1), (2, 0, 2), (3, 0, 2), (4, 1, 3), (5, 1, 4), (6, 1, 4), (7, 2, 5), (10, 3, 7), (13, 4, 9), (16, 5, 11)],
)
def test_quorum_of_each_size(count: int, may_fail: int, signers: int) -> None:
    assert faults(count) == may_fail
    assert quorum(count) == signers
    assert ValidatorSet(validators(count)).quorum == signers


# holds QC-2
def test_validators_round_trip_and_are_found() -> None:
    assert decode_validators(cbor.decode(cbor.encode(VALIDATORS.to_value()))) == VALIDATORS
    assert VALIDATORS.digest() == sha256(cbor.encode(VALIDATORS.to_value()))
    assert len(VALIDATORS) == 4
    assert VALIDATORS.find("sub-north") == VALIDATORS.validators[2]
    assert VALIDATORS.index("sub-north") == 2
    assert VALIDATORS.find("stranger") is None
    with pytest.raises(CertificateError, match="'stranger' is no validator"):
        VALIDATORS.index("stranger")


# holds QC-2
@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ((), "0 of them"),
        (validators(17), "17 of them"),
        (tuple(reversed(validators(2))), "not sorted or not unique"),
        (validators(1) * 2, "not sorted or not unique"),
        ((validators(1)[0], Validator("node-99", validators(1)[0].vote_key, bytes(32))), "share a vote key"),
    ],
)
def test_validators_out_of_order_or_ambiguous_are_refused(entries: tuple[Validator, ...], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        ValidatorSet(entries)


# holds QC-2
@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({}, "an array is due"),
        ([None], "where a map is due"),
        ([{"member": "A", "vote_key": bytes(32), "tls_digest": bytes(32)}], "validators.member"),
        ([{"member": "a", "vote_key": bytes(31), "tls_digest": bytes(32)}], "validators.vote_key"),
        ([{"member": "a", "vote_key": bytes(32), "tls_digest": b""}], "validators.tls_digest"),
    ],
)
def test_validators_of_another_shape_are_refused(entries: Json, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_validators(entries)


# holds QC-3
def test_vote_bytes_are_domain_chain_epoch_step_height_view_digest() -> None:
    expected = (
        b"\x12gridwitness/vote/1\x04name" + bytes.fromhex("00000000000000050400000000000000070000000000000009") + DIGEST
    )
    assert vote_bytes("name", 5, Step.COMMIT, 7, 9, DIGEST) == expected


# holds QC-3
def test_vote_bytes_of_different_votes_differ() -> None:
    votes = {
        vote_bytes(chain, epoch, step, height, view, digest)
        for chain in ("a", "aa")
        for epoch in (0, 1)
        for step in Step
        for height in (1, 2**63 - 1)
        for view in (0, 1)
        for digest in (DIGEST, bytes(32))
    }
    assert len(votes) == 2 * 2 * 4 * 2 * 2 * 2


# holds QC-3
def test_vote_bytes_number_the_steps_in_their_order() -> None:
    assert [(step.name, step.value) for step in sorted(Step)] == [
        ("VIEW_CHANGE", 1),
        ("PROPOSE", 2),
        ("PREPARE", 3),
        ("COMMIT", 4),
    ]


# holds QC-5
@pytest.mark.parametrize("step", [Step.PREPARE, Step.COMMIT])
def test_certificate_round_trips(step: Step) -> None:
    certificate = certify(HEADER, step=step, view=3)
    assert decode_certificate(cbor.decode(certificate.encode())) == certificate
    assert certificate.signers == MEMBERS[:3]


# holds QC-5
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scheme": "cometbft-1"}, "certificate.scheme: one of gridwitness-pbft-1"),
        ({"step": "view_change"}, "certificate.step"),
        ({"step": "propose"}, "certificate.step"),
        ({"step": 4}, "certificate.step"),
        ({"epoch": -1}, "certificate.epoch"),
        ({"height": 0}, "certificate.height"),
        ({"view": -1}, "certificate.view"),
        ({"view": 2**63}, "certificate.view"),
        ({"digest": b""}, "certificate.digest"),
        ({"signatures": None}, "certificate.signatures"),
        ({"signatures": [["a", bytes(64)]] * 17}, "at most 16 entries"),
        ({"signatures": [["b", bytes(64)], ["a", bytes(64)]]}, "not sorted or not unique"),
        ({"signatures": [["a", bytes(64)], ["a", bytes(64)]]}, "not sorted or not unique"),
        ({"signatures": [["a", bytes(63)]]}, "pairs of a member and 64 bytes"),
        ({"signatures": [["a", "x" * 64]]}, "pairs of a member and 64 bytes"),
        ({"signatures": [["a"]]}, "pairs of a member and 64 bytes"),
        ({"signatures": [["a", bytes(64), 0]]}, "pairs of a member and 64 bytes"),
        ({"signatures": [None]}, "pairs of a member and 64 bytes"),
        ({"signatures": [{"a": bytes(64)}]}, "pairs of a member and 64 bytes"),
        ({"signatures": [["A", bytes(64)]]}, "no identifier"),
        ({"signatures": [[1, bytes(64)]]}, "no identifier"),
        ({"more": 0}, "field 'more' is unknown"),
    ],
)
def test_certificate_of_another_shape_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_certificate({**value(), **changes})


# holds QC-4 QC-6 QC-7
@pytest.mark.parametrize("signers", [MEMBERS, MEMBERS[:3], MEMBERS[1:], ("dispatch", "sub-north", "sub-west")])
def test_certificate_of_a_quorum_verifies(signers: tuple[str, ...]) -> None:
    verify_certificate(certify(HEADER, signers), CHAIN, VALIDATORS)


# holds QC-6
@pytest.mark.parametrize("signers", [(), MEMBERS[:1], MEMBERS[:2], MEMBERS[2:]])
def test_certificate_below_the_quorum_is_refused(signers: tuple[str, ...]) -> None:
    with pytest.raises(CertificateError, match=f"{len(signers)} signatures, 3 of 4 are due"):
        verify_certificate(certify(HEADER, signers), CHAIN, VALIDATORS)


# holds QC-6
def test_certificate_that_counts_one_signer_twice_is_refused() -> None:
    """Decoding refuses this, too; a certificate that was built and not decoded must not slip through."""
    votes = CERTIFICATE.signatures[:2]
    doubled = build_certificate(Step.COMMIT, 0, HEADER.height, 0, HEADER.digest(), (*votes, votes[0]))
    with pytest.raises(CertificateError, match="one validator signs twice"):
        verify_certificate(doubled, CHAIN, VALIDATORS)


# holds QC-7
def test_certificate_with_a_stranger_is_refused_even_above_the_quorum() -> None:
    keys = {**VOTE_KEYS, "zz-stranger": VOTE_KEYS["dispatch"]}
    with pytest.raises(CertificateError, match="'zz-stranger' is no validator of this epoch"):
        verify_certificate(certify(HEADER, (*MEMBERS, "zz-stranger"), keys=keys), CHAIN, VALIDATORS)


# holds QC-7
def test_certificate_with_one_bad_signature_is_refused_even_above_the_quorum() -> None:
    swapped = {**VOTE_KEYS, "sub-west": VOTE_KEYS["dispatch"]}
    with pytest.raises(CertificateError, match="the signature of 'sub-west' does not verify"):
        verify_certificate(certify(HEADER, MEMBERS, keys=swapped), CHAIN, VALIDATORS)


# holds QC-8
@pytest.mark.parametrize(
    "changes",
    [
        {"step": Step.PREPARE},
        {"epoch": 1},
        {"height": HEADER.height + 1},
        {"view": 1},
        {"digest": DIGEST},
    ],
)
def test_certificate_whose_signatures_are_over_something_else_is_refused(changes: dict[str, Any]) -> None:
    changed: Certificate = replace(CERTIFICATE, **changes)
    with pytest.raises(CertificateError, match="does not verify"):
        verify_certificate(changed, CHAIN, VALIDATORS)


# holds QC-8
def test_certificate_with_votes_of_two_views_is_refused() -> None:
    early, late = certify(HEADER, MEMBERS[:2]), certify(HEADER, MEMBERS[2:], view=1)
    mixed = replace(early, signatures=(*early.signatures, *late.signatures))
    with pytest.raises(CertificateError, match="the signature of 'sub-north' does not verify"):
        verify_certificate(mixed, CHAIN, VALIDATORS)


# holds QC-8
def test_certificate_of_another_chain_is_refused() -> None:
    with pytest.raises(CertificateError, match="does not verify"):
        verify_certificate(CERTIFICATE, "other-00000000", VALIDATORS)


def test_certificate_check_may_be_cached() -> None:
    seen: list[tuple[bytes, bytes, bytes]] = []
    verify_certificate(CERTIFICATE, CHAIN, VALIDATORS, lambda *arguments: seen.append(arguments))
    assert [key for key, _, _ in seen] == [public_of(f"{member} votes") for member in MEMBERS[:3]]
    assert {signed for _, signed, _ in seen} == {CERTIFICATE.vote_bytes(CHAIN)}
