from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from master.consensus.backfill import Backfill, BackfillEffect, Due, Fill, check_archive
from master.consensus.events import Now, Report, Send
from master.consensus.snapshot_messages import Archive, GetArchive
from tests.unit.wire.samples import CHAIN, GENESIS, HEADER, OUTCOMES, VALIDATORS, certify
from wire.certificate import Step, ValidatorSet
from wire.errors import CertificateError, ProofError
from wire.merkle import EMPTY_HEAD
from wire.snapshot import OldBlock

RAW = tuple(outcome.encode() for outcome in OUTCOMES)
EMPTY = replace(HEADER, height=41, tx_count=0, outcome_root=EMPTY_HEAD)
LOWER = OldBlock(EMPTY, certify(EMPTY), ())
TOP = replace(HEADER, parent=EMPTY.digest())
UPPER = OldBlock(TOP, certify(TOP), RAW)
DUE = Due(42, TOP.digest())
BOTH = Archive((UPPER, LOWER))
MEMBERS = ("a", "b", "c")


class Bench:
    """A back-fill with its clock; time passes by hand."""

    def __init__(self, due: Due | None = DUE) -> None:
        self.backfill = Backfill(1_000, 50, due)
        self.now = Now(0, 100_000)
        self.hear()

    def pass_ms(self, duration_ms: int) -> None:
        self.now = replace(self.now, monotonic_ms=self.now.monotonic_ms + duration_ms)

    def hear(self) -> None:
        for member in MEMBERS:
            self.backfill.heard(member, self.now)

    def tick(self) -> list[BackfillEffect]:
        return self.backfill.tick(self.now)

    def ask(self) -> tuple[str, GetArchive]:
        """Return whom it asks for what."""
        (effect,) = self.tick()
        assert isinstance(effect, Send)
        assert isinstance(effect.message, GetArchive)
        return effect.member, effect.message


def known_sets(epoch: int) -> ValidatorSet | None:
    return VALIDATORS if epoch == 0 else None


def check(due: Due, archive: Archive, bytes_max: int = 1 << 20) -> tuple[list[OldBlock], Due]:
    blocks, following = check_archive(due, archive, CHAIN, known_sets, bytes_max)
    return list(blocks), following


# ---- whom and when


# holds SN-9
def test_backfill_asks_one_after_the_other_and_not_too_fast() -> None:
    bench = Bench()
    asked = []
    for _ in range(4):
        member, request = bench.ask()
        assert request == GetArchive(42, 0)
        assert bench.tick() == []
        asked.append(member)
        assert bench.backfill.arrived(member, BOTH, bench.now) == [Fill(member, DUE, BOTH)]
        assert bench.backfill.arrived(member, BOTH, bench.now) == []
        assert bench.tick() == []
        bench.backfill.filled(member, DUE, bench.now)
        assert bench.tick() == []
        bench.pass_ms(49)
        assert bench.tick() == []
        bench.pass_ms(1)
    assert set(asked) == set(MEMBERS)


# holds SN-9
def test_backfill_of_a_complete_past_asks_nobody() -> None:
    bench = Bench(None)
    assert bench.tick() == []
    bench = Bench()
    member, _ = bench.ask()
    bench.backfill.arrived(member, BOTH, bench.now)
    bench.backfill.filled(member, None, bench.now)
    bench.pass_ms(1_000)
    assert bench.tick() == []
    assert bench.backfill.arrived(member, BOTH, bench.now) == []


# holds SN-9
def test_backfill_answer_that_nobody_asked_for_is_dropped() -> None:
    bench = Bench()
    member, _ = bench.ask()
    other = next(name for name in MEMBERS if name != member)
    assert bench.backfill.arrived(other, BOTH, bench.now) == []


# holds SN-9
@pytest.mark.parametrize("case", ["lacks", "late", "lies"])
def test_backfill_who_lacks_lies_or_does_not_answer_waits_for_the_others(case: str) -> None:
    bench = Bench()
    first, _ = bench.ask()
    if case == "lacks":
        assert bench.backfill.arrived(first, Archive(()), bench.now) == []
    elif case == "late":
        bench.pass_ms(9_999)
        bench.hear()
        assert bench.tick() == []
        bench.pass_ms(1)
    else:
        bench.backfill.arrived(first, BOTH, bench.now)
        assert bench.backfill.rejected(first, "why", bench.now) == [Report("archive-rejected", f"{first}: why")]
    seen = set()
    for _ in range(4):
        member, _ = bench.ask()
        seen.add(member)
        bench.backfill.arrived(member, BOTH, bench.now)
        bench.backfill.filled(member, DUE, bench.now)
        bench.pass_ms(50)
    assert seen == {*MEMBERS} - {first}


def test_backfill_asks_nobody_who_is_gone() -> None:
    bench = Bench()
    bench.pass_ms(3_001)
    assert bench.tick() == []


# holds SN-9
def test_backfill_rest_of_many_outcomes_is_asked_of_the_same_and_begun_anew_with_another() -> None:
    bench = Bench()
    member, _ = bench.ask()
    some = replace(DUE, outcomes=RAW[:3])
    bench.backfill.arrived(member, Archive((replace(UPPER, outcomes=RAW[:3]),)), bench.now)
    bench.backfill.filled(member, some, bench.now)
    bench.pass_ms(50)
    assert bench.ask() == (member, GetArchive(42, 3))
    bench.pass_ms(10_000)
    bench.hear()
    other, request = bench.ask()
    assert other != member
    assert request == GetArchive(42, 0)
    assert bench.backfill.due == DUE


# ---- proof of an answer


# holds SN-9
def test_archive_blocks_that_hang_together_are_proven() -> None:
    assert check(DUE, BOTH) == ([UPPER, LOWER], Due(40, EMPTY.parent))
    assert check(DUE, Archive((UPPER,))) == ([UPPER], Due(41, EMPTY.digest()))


# holds SN-9
def test_archive_outcomes_may_come_in_several_answers() -> None:
    blocks, due = check(DUE, Archive((replace(UPPER, outcomes=RAW[:2]),)))
    assert (blocks, due) == ([], replace(DUE, outcomes=RAW[:2]))
    assert check(due, Archive((replace(UPPER, outcomes=RAW[2:]), LOWER))) == ([UPPER, LOWER], Due(40, EMPTY.parent))
    with pytest.raises(ProofError, match="more than 100 bytes of outcomes"):
        check(DUE, Archive((replace(UPPER, outcomes=RAW[:2]),)), 100)


def _swap_certificate(block: OldBlock) -> OldBlock:
    return replace(block, certificate=certify(EMPTY))


LIES: dict[str, tuple[Callable[[OldBlock], OldBlock], type[Exception], str]] = {
    "another block": (lambda block: replace(block, header=replace(TOP, proposer="x")), ProofError, "not the one"),
    "another height": (lambda block: replace(block, header=replace(TOP, height=43)), ProofError, "not the one"),
    "outcome changed": (lambda block: replace(block, outcomes=(b"x", *RAW[1:])), ProofError, "outcome_root"),
    "outcome added": (lambda block: replace(block, outcomes=(*RAW, b"x")), ProofError, "outcome_root"),
    "no outcomes": (lambda block: replace(block, outcomes=()), ProofError, "outcome_root"),
    "fault proof added": (lambda block: replace(block, fault_proofs=(b"x",)), ProofError, "fault_proof_root"),
    "certificate of another": (_swap_certificate, ProofError, "not a commit"),
    "certificate of another step": (
        lambda block: replace(block, certificate=certify(TOP, step=Step.PREPARE)),
        ProofError,
        "not a commit",
    ),
    "too few signatures": (
        lambda block: replace(block, certificate=certify(TOP, ("dispatch",))),
        CertificateError,
        "certificate",
    ),
}


# holds SN-9
@pytest.mark.parametrize("lie", LIES)
def test_archive_that_lies_is_refused(lie: str) -> None:
    change, error, reason = LIES[lie]
    with pytest.raises(error, match=reason):
        check(DUE, Archive((change(UPPER),)))


# holds SN-9
def test_archive_outcomes_left_out_before_the_last_block_are_refused() -> None:
    with pytest.raises(ProofError, match="outcome_root"):
        check(DUE, Archive((replace(UPPER, outcomes=RAW[:2]), LOWER)))


# holds SN-9
def test_archive_of_an_epoch_that_is_not_known_is_refused() -> None:
    later = replace(TOP, epoch=1)
    with pytest.raises(ProofError, match="not a commit"):
        check(Due(42, later.digest()), Archive((OldBlock(later, certify(later), RAW),)))


def test_samples_are_of_one_genesis() -> None:
    assert GENESIS.validator_set() == VALIDATORS
