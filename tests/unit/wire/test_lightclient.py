from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.wire.samples import (
    FIRST_END,
    GENESIS,
    HEADER,
    MEMBERS,
    NEXT_VALIDATORS,
    SECOND_END,
    SECOND_HEADER,
    THIRD_VALIDATORS,
    TIME_MS,
    certify,
    end_of,
)
from tests.unit.wire.test_historyproof import HEADERS, inclusion
from wire import cbor
from wire.epochs import EpochEnd
from wire.errors import CertificateError, FormatError, ProofError, WireError
from wire.faultproof import decode_fault_proof, verify_fault_proof
from wire.finality import FinalHeader
from wire.header import Header
from wire.lightclient import (
    CertifiedHeader,
    Conflict,
    ConflictError,
    LightState,
    accept,
    accept_history,
    age_ms,
    begin,
    check_known,
    contradiction,
    decode_conflict,
    fault_proofs,
    is_fresh,
    is_trust_expired,
    verify_conflict,
)

LATER = replace(SECOND_HEADER, next_validators_hash=NEXT_VALIDATORS.digest())


def final_of(header: Header, *epochs: EpochEnd, signers: tuple[str, ...] = MEMBERS[:3], view: int = 0) -> FinalHeader:
    return FinalHeader(header, certify(header, signers, view=view), epochs)


def certified(header: Header, *, view: int = 0) -> CertifiedHeader:
    return CertifiedHeader(header, certify(header, view=view))


def knowing(header: Header = HEADER, *epochs: EpochEnd) -> LightState:
    return accept(begin(GENESIS), final_of(header, *epochs))


def conflict_of(state: LightState, final: FinalHeader) -> Conflict:
    """Return the evidence, after a trip over the wire and a check that genesis alone proves it."""
    with pytest.raises(ConflictError) as raised:
        accept(state, final)
    conflict = decode_conflict(raised.value.conflict.encode())
    assert conflict == raised.value.conflict
    verify_conflict(conflict, GENESIS)
    return conflict


# holds LC-1
def test_light_state_begins_with_the_genesis_file_alone() -> None:
    state = begin(GENESIS)
    assert (state.chain, state.anchor, state.newest) == (GENESIS.chain(), GENESIS.digest(), None)
    first = state.epoch(0)
    assert first is not None
    assert (first.validators, first.first_height) == (GENESIS.validator_set(), 1)
    assert state.epoch(1) is None


# holds LC-2
def test_light_state_walks_over_every_epoch_and_keeps_the_newest_header() -> None:
    third = replace(HEADER, epoch=2, height=70, validators_hash=THIRD_VALIDATORS.digest())
    third = replace(third, next_validators_hash=THIRD_VALIDATORS.digest())
    state = knowing(LATER, FIRST_END)
    assert state.newest == certified(LATER)
    state = accept(state, final_of(replace(LATER, height=50), FIRST_END))
    assert state.newest == certified(LATER)
    later = replace(SECOND_END, header=replace(SECOND_END.header, height=65))
    later = replace(later, certificate=certify(later.header, MEMBERS[:2]))
    state = accept(state, final_of(third, FIRST_END, later, signers=MEMBERS[:3]))
    assert state.newest is not None
    assert (state.newest.header.height, len(state.ends)) == (70, 2)


# holds LC-2
def test_light_state_needs_no_epochs_that_it_knows() -> None:
    state = knowing(LATER, FIRST_END)
    newer = replace(LATER, height=62)
    assert accept(state, FinalHeader(newer, certify(newer), ())).newest == certified(newer)


# holds LC-2
@pytest.mark.parametrize(
    "final",
    [
        final_of(LATER),
        final_of(LATER, SECOND_END),
        final_of(HEADER, signers=MEMBERS[:2]),
        final_of(replace(HEADER, chain="other-00000000")),
        final_of(replace(LATER, height=42), FIRST_END),
        final_of(LATER, end_of(HEADER, THIRD_VALIDATORS, MEMBERS[:2])),
        final_of(LATER, replace(FIRST_END, validators=THIRD_VALIDATORS)),
        final_of(LATER, EpochEnd(HEADER, certify(HEADER), GENESIS.validator_set())),
    ],
    ids=[
        "an epoch missing",
        "an epoch skipped",
        "below the quorum",
        "another chain",
        "below its epoch",
        "an end below the quorum",
        "an end with another set",
        "an end that changes nothing",
    ],
)
def test_light_state_refuses_what_is_not_certified(final: FinalHeader) -> None:
    with pytest.raises(CertificateError) as raised:
        accept(begin(GENESIS), final)
    assert not isinstance(raised.value, ConflictError)


# holds LC-3
def test_header_of_the_old_set_above_the_end_of_its_epoch_is_a_conflict() -> None:
    state = accept(begin(GENESIS), final_of(LATER, FIRST_END))
    above = replace(HEADER, height=43)
    conflict = conflict_of(state, final_of(above, FIRST_END))
    assert (conflict.first.header, conflict.second.header) == (FIRST_END.header, above)


# holds LC-3
def test_epoch_that_ended_below_the_newest_header_is_a_conflict() -> None:
    state = knowing(replace(HEADER, height=100))
    conflict = conflict_of(state, final_of(LATER, FIRST_END))
    assert "whose epoch ended with block 42" in (contradiction(conflict.first.header, conflict.second.header) or "")


# holds LC-3 LC-4
def test_epoch_that_ended_twice_is_a_conflict() -> None:
    state = knowing(LATER, FIRST_END)
    for height in (42, 44):
        twin = end_of(replace(HEADER, height=height), THIRD_VALIDATORS)
        header = replace(LATER, validators_hash=THIRD_VALIDATORS.digest())
        conflict = conflict_of(state, final_of(header, twin))
        assert (conflict.first.header, conflict.second.header) == (FIRST_END.header, twin.header)


# holds LC-2
def test_epoch_end_with_other_signers_is_the_same_end() -> None:
    state = knowing(LATER, FIRST_END)
    again = replace(FIRST_END, certificate=certify(FIRST_END.header, MEMBERS[1:]))
    assert accept(state, final_of(LATER, again)) == state


# holds LC-4 LC-6
def test_two_certified_headers_of_one_height_are_a_conflict_and_name_who_signed_twice() -> None:
    state = knowing()
    twin = replace(HEADER, tx_root=bytes(32))
    conflict = conflict_of(state, final_of(twin, signers=MEMBERS[1:]))
    assert verify_conflict(conflict, GENESIS) == MEMBERS[1:3]
    other_view = conflict_of(state, final_of(twin, view=1))
    assert verify_conflict(other_view, GENESIS) == ()
    assert accept(state, final_of(HEADER, signers=MEMBERS[1:])) == state


# holds LC-4 LC-6
def test_conflict_in_a_later_epoch_carries_the_way_to_it() -> None:
    twin = replace(LATER, tx_root=bytes(32))
    conflict = conflict_of(knowing(LATER, FIRST_END), final_of(twin))
    assert conflict.epochs == (FIRST_END,)
    with pytest.raises(CertificateError, match="not known yet"):
        verify_conflict(replace(conflict, epochs=()), GENESIS)


# holds LC-4
@pytest.mark.parametrize("is_newer", [False, True])
def test_block_that_does_not_stand_on_its_neighbour_is_a_conflict(*, is_newer: bool) -> None:
    child = replace(HEADER, height=43, parent=HEADER.digest())
    stranger = replace(child, parent=bytes(32))
    first, second = (HEADER, stranger) if is_newer else (stranger, HEADER)
    assert "stands on another block 42" in str(contradiction(first, second))
    conflict_of(knowing(first), final_of(second))
    assert accept(knowing(HEADER), final_of(child)).newest == certified(child)


# holds LC-4
def test_header_kept_from_before_is_compared_with_a_new_one() -> None:
    state = knowing(replace(HEADER, height=90))
    old, twin = certified(HEADER), certified(replace(HEADER, tx_root=bytes(32)))
    check_known(state, old, old)
    check_known(state, old, certified(replace(HEADER, height=44)))
    with pytest.raises(ConflictError):
        check_known(state, old, twin)


# holds LC-11
def test_conflict_of_one_view_gives_a_fault_proof_of_everybody_who_signed_twice() -> None:
    twin = replace(HEADER, tx_root=bytes(32))
    for sides in ((HEADER, twin), (twin, HEADER)):
        conflict = Conflict(certified(sides[0]), certified(sides[1]), ())
        proofs = fault_proofs(conflict)
        assert tuple(proof.member for proof in proofs) == MEMBERS[:3] == verify_conflict(conflict, GENESIS)
        for proof in proofs:
            assert decode_fault_proof(proof.encode()) == proof
            verify_fault_proof(proof, GENESIS.chain(), 0, GENESIS.validator_set())


# holds LC-11
def test_conflict_of_several_views_accuses_nobody() -> None:
    twin = replace(HEADER, tx_root=bytes(32))
    later = CertifiedHeader(twin, replace(certify(twin), view=1))
    assert fault_proofs(Conflict(certified(HEADER), later, ())) == ()
    assert fault_proofs(Conflict(certified(HEADER), certified(replace(HEADER, height=43)), ())) == ()
    assert fault_proofs(Conflict(certified(HEADER), certified(HEADER), ())) == ()


# holds LC-5
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", "receipt"),
        ("version", 2),
        ("first", {}),
        ("second", {"header": HEADER.encode(), "certificate": {}}),
        ("epochs", [1]),
        ("more", 1),
    ],
)
def test_conflict_of_another_shape_is_refused(field: str, value: cbor.Value) -> None:
    conflict = Conflict(certified(HEADER), certified(replace(HEADER, tx_root=bytes(32))), ())
    with pytest.raises(FormatError):
        decode_conflict(cbor.encode({**cbor.decode_map(conflict.encode()), field: value}))


# holds LC-6
@pytest.mark.parametrize(
    "conflict",
    [
        Conflict(certified(HEADER), certified(HEADER), ()),
        Conflict(certified(HEADER), certified(replace(HEADER, height=44)), ()),
        Conflict(certified(HEADER), CertifiedHeader(replace(HEADER, tx_root=bytes(32)), certify(HEADER)), ()),
        Conflict(certified(HEADER), certified(replace(LATER, height=42)), ()),
    ],
    ids=["the same twice", "no contradiction", "not certified", "an epoch missing"],
)
def test_conflict_that_is_none_is_refused(conflict: Conflict) -> None:
    with pytest.raises(CertificateError):
        verify_conflict(conflict, GENESIS)


# holds LC-5
def test_conflict_with_any_one_byte_changed_proves_nothing_else() -> None:
    conflict = Conflict(certified(HEADER), certified(replace(HEADER, tx_root=bytes(32))), ())
    raw = conflict.encode()
    for at in range(0, len(raw), 11):
        with pytest.raises(WireError):
            verify_conflict(decode_conflict(raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]), GENESIS)


# holds LC-7
def test_header_is_fresh_up_to_the_bound() -> None:
    state = knowing()
    seen_ms = TIME_MS + 700
    assert [age_ms(state, seen_ms + late) for late in (-5, 0, 90)] == [0, 0, 90]
    assert is_fresh(state, seen_ms + 30_000, 30_000)
    assert not is_fresh(state, seen_ms + 30_001, 30_000)
    assert age_ms(begin(GENESIS), seen_ms) is None
    assert not is_fresh(begin(GENESIS), 0, 30_000)


# holds LC-8
def test_trust_expires_a_period_after_the_newest_header_or_the_anchor() -> None:
    seen_ms = TIME_MS + 700
    assert not is_trust_expired(knowing(), seen_ms + 1000, 0, 1000)
    assert is_trust_expired(knowing(), seen_ms + 1001, 0, 1000)
    assert not is_trust_expired(knowing(), seen_ms + 1001, seen_ms + 1, 1000)
    assert is_trust_expired(begin(GENESIS), 1001, 0, 1000)


# holds HP-2 LC-2
def test_old_block_is_believed_by_a_history_proof() -> None:
    state = accept_history(begin(GENESIS), inclusion(5, 18))
    assert state.newest == certified(HEADERS[17])
    with pytest.raises(ProofError):
        accept_history(begin(GENESIS), replace(inclusion(5, 18), header=HEADERS[5]))
