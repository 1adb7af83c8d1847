"""Statements that end a quarantine: made from reports, signed by a quorum of organisations, good for one lock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.wire.samples import CHAIN, HEADER, MEMBERS, VALIDATORS, VOTE_KEYS, Json, certify, key_of, public_of
from wire import cbor
from wire.certificate import Certificate, Step
from wire.errors import CborError, CertificateError, FormatError, SignatureError
from wire.header import ZERO_DIGEST
from wire.types import sha256
from wire.unlock import (
    REPORT,
    STATEMENT,
    UNLOCK_BYTES_MAX,
    LockStatement,
    Unlock,
    decode_statement,
    decode_unlock,
    merge_reports,
    verify_unlock,
)

LOCK = sha256(b"this quarantine")
HEIGHT = HEADER.height
ROOT_KEYS = {member: [public_of(f"{member} root")] for member in MEMBERS}


def certificate(view: int) -> Certificate:
    return certify(HEADER, step=Step.PREPARE, view=view)


def report(
    member: str = MEMBERS[0],
    *,
    lock: bytes = ZERO_DIGEST,
    height: int = HEIGHT,
    view: int = 0,
    prepared: Certificate | None = None,
) -> LockStatement:
    vote_key = VOTE_KEYS[member].verify_key.encode()
    return LockStatement(REPORT, CHAIN, member, vote_key, lock, height, view, prepared)


LOCKED = report(lock=LOCK)


def signed(statement: LockStatement, *organisations: str) -> Unlock:
    unlock = Unlock(statement)
    for organisation in organisations:
        name = f"{organisation} root"
        signature = key_of(name).sign(statement.signed_bytes()).signature
        unlock = unlock.signed(organisation, public_of(name), signature)
    return unlock


def verify(unlock: Unlock, epoch: int = 0) -> None:
    verify_unlock(unlock, CHAIN, epoch, VALIDATORS, ROOT_KEYS)


# holds FP-11
@pytest.mark.parametrize("made", [LOCKED, report(view=7, prepared=certificate(5))])
def test_lock_report_round_trips(made: LockStatement) -> None:
    assert decode_statement(made.encode(), REPORT) == made


# holds FP-11
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": STATEMENT}, "type"),
        ({"version": 2}, "version"),
        ({"lock": b""}, "lock"),
        ({"vote_key": None}, "vote_key"),
        ({"resume_height": 0}, "resume_height"),
        ({"view": -1}, "view"),
        ({"prepared": 5}, "certificate"),
        ({"prepared": certify(HEADER).to_value()}, "a PREPARE certificate of height 42"),
        ({"resume_height": 43, "prepared": certificate(0).to_value()}, "a PREPARE certificate of height 43"),
        ({"more": 1}, "more"),
    ],
)
def test_lock_report_of_another_form_is_refused(change: dict[str, Json], reason: str) -> None:
    value: Json = cbor.decode(LOCKED.encode())
    with pytest.raises(FormatError, match=reason):
        decode_statement(cbor.encode({**value, **change}), REPORT)


# holds FP-12
def test_reports_make_a_statement_at_the_highest_height_with_the_highest_certificate() -> None:
    low, high = certificate(1), certificate(4)
    others = [
        report(MEMBERS[1], view=3, prepared=low),
        report(MEMBERS[2], view=2, prepared=high),
        report(MEMBERS[3], height=HEIGHT - 1, view=99),
    ]
    made = merge_reports(LOCKED, others)
    assert made == replace(LOCKED, kind=STATEMENT, view=5, prepared=high)
    assert decode_statement(made.encode(), STATEMENT) == made
    assert merge_reports(LOCKED, others[:1]).view == 4
    assert merge_reports(LOCKED, ()) == replace(LOCKED, kind=STATEMENT, view=1)
    later = merge_reports(report(lock=LOCK, height=HEIGHT - 3, view=9), others)
    assert (later.resume_height, later.view) == (HEIGHT, 5)


# holds FP-12
def test_reports_of_a_node_that_is_not_locked_or_of_two_ledgers_make_no_statement() -> None:
    with pytest.raises(FormatError, match="not in quarantine"):
        merge_reports(report(), ())
    with pytest.raises(FormatError, match="several ledgers"):
        merge_reports(LOCKED, [replace(report(MEMBERS[1]), chain="other-00000000")])


# holds FP-12
@pytest.mark.parametrize(("view", "prepared"), [(0, None), (4, certificate(4)), (3, certificate(4))])
def test_statement_that_would_vote_again_where_votes_are_lost_is_refused(
    view: int, prepared: Certificate | None
) -> None:
    made = replace(LOCKED, kind=STATEMENT, view=view, prepared=prepared)
    with pytest.raises(FormatError, match="above 0 and above the certificate's"):
        decode_statement(made.encode(), STATEMENT)


STATED = merge_reports(LOCKED, [report(MEMBERS[1], prepared=certificate(0))])


# holds FP-13
def test_unlock_signed_by_a_quorum_of_organisations_verifies() -> None:
    unlock = signed(STATED, *reversed(MEMBERS[:3]))
    assert decode_unlock(unlock.encode()) == unlock
    verify(unlock)
    verify(signed(STATED, *MEMBERS))
    verify(signed(merge_reports(LOCKED, ()), *MEMBERS[1:]))
    assert signed(STATED, "dispatch", "dispatch") == signed(STATED, "dispatch")


# holds FP-13
def test_unlock_signed_by_too_few_or_by_strangers_is_refused() -> None:
    with pytest.raises(CertificateError, match="2 organisations signed, 3 of 4 are due"):
        verify(signed(STATED, *MEMBERS[:2]))
    with pytest.raises(CertificateError, match="'lab' runs no validator"):
        verify(signed(STATED, "lab", *MEMBERS[:3]))
    unlock = signed(STATED, *MEMBERS[:3])
    other_key = unlock.signed(MEMBERS[0], public_of("thief"), key_of("thief").sign(STATED.signed_bytes()).signature)
    with pytest.raises(SignatureError, match="has no such key"):
        verify(other_key)
    forged = unlock.signed(MEMBERS[0], ROOT_KEYS[MEMBERS[0]][0], bytes(64))
    with pytest.raises(SignatureError):
        verify(forged)
    with pytest.raises(SignatureError):
        verify(replace(unlock, statement=replace(STATED, view=9)))


# holds FP-13
@pytest.mark.parametrize(
    "change", [{"chain": "other-00000000"}, {"node": "lab"}, {"vote_key": bytes(32)}, {"node": MEMBERS[1]}]
)
def test_unlock_of_another_ledger_node_or_key_is_refused(change: dict[str, Json]) -> None:
    with pytest.raises(CertificateError, match="no validator"):
        verify(signed(replace(STATED, **change), *MEMBERS))


# holds FP-13
def test_unlock_with_a_certificate_that_proves_nothing_is_refused() -> None:
    with pytest.raises(CertificateError, match="of epoch 0, not 1"):
        verify(signed(STATED, *MEMBERS), epoch=1)
    weak = replace(STATED, prepared=certify(HEADER, MEMBERS[:2], step=Step.PREPARE))
    with pytest.raises(CertificateError, match="2 signatures"):
        verify(signed(weak, *MEMBERS))


# holds FP-13
@pytest.mark.parametrize(
    "signatures",
    [
        5,
        [5],
        [["dispatch", bytes(31), bytes(64)]],
        [["dispatch", bytes(32), bytes(63)]],
        [["dispatch", bytes(32)]],
        [[b"dispatch", bytes(32), bytes(64)]],
        [["dispatch", bytes(32), bytes(64)]] * 2,
        [["dispatch", bytes(32), bytes(64)]] * 17,
    ],
)
def test_unlock_with_signatures_of_another_form_is_refused(signatures: Json) -> None:
    value: Json = cbor.decode(Unlock(STATED).encode())
    with pytest.raises(FormatError):
        decode_unlock(cbor.encode({**value, "signatures": signatures}))
    with pytest.raises(CborError):
        decode_unlock(bytes(UNLOCK_BYTES_MAX + 1))
    with pytest.raises(FormatError):
        decode_unlock(cbor.encode({**value, "type": STATEMENT}))
