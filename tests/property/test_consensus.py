from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.consensus.message_codec import decode_message, encode_message
from master.consensus.messages import ViewChange
from master.consensus.records import Accepted, Signed, decode_record, encode_record
from master.consensus.votes import ViewChangeBook, VoteBook
from tests.simulation.toy import EPOCH
from tests.unit.consensus.bench import Bench, Peers, name
from wire.certificate import Step, faults, quorum
from wire.errors import WireError

pytestmark = pytest.mark.property

PEERS = Peers(7)
BLOCKS = tuple(PEERS.block(b"%d" % number) for number in range(3))
MEMBERS = st.integers(0, 6)
VIEWS = st.integers(1, 6)


@given(st.integers(1, 40))
def test_quorums_any_two_share_an_honest_validator_and_the_honest_make_one(size: int) -> None:
    assert 2 * quorum(size) - size > faults(size)
    assert quorum(size) <= size - faults(size)
    assert 2 * (quorum(size) - 1) - size <= faults(size), "one less would not do"


@given(st.lists(st.tuples(MEMBERS, VIEWS), max_size=40))
def test_view_change_book_counts_as_plain_arithmetic_does(entries: list[tuple[int, int]]) -> None:
    book = ViewChangeBook(EPOCH, 1)
    newest: dict[int, int] = {}
    for index, view in entries:
        assert book.add(PEERS.change(index, view)) == (view > newest.get(index, 0))
        newest[index] = max(view, newest.get(index, 0))
    views = sorted(newest.values(), reverse=True)
    for view in range(8):
        assert book.count_from(view) == sum(entry >= view for entry in views)
        assert len(book.exactly(view)) == views.count(view)
    for place in range(1, 9):
        assert book.nth_highest_view(place) == (views[place - 1] if place <= len(views) else 0)


@given(st.lists(st.tuples(MEMBERS, st.integers(0, 3), st.integers(0, 2)), max_size=40), st.integers(1, 7))
def test_vote_book_certificate_needs_that_many_of_one_view_and_block(
    entries: list[tuple[int, int, int]], needed: int
) -> None:
    book = VoteBook(EPOCH, 1)
    newest: dict[int, tuple[int, int]] = {}
    for index, view, number in entries:
        book.add(PEERS.vote(index, Step.COMMIT, BLOCKS[number], view))
        if view > newest.get(index, (-1, 0))[0]:
            newest[index] = (view, number)
    counts = [list(newest.values()).count(entry) for entry in newest.values()]
    certificate = book.committed(needed)
    assert (certificate is not None) == (max(counts, default=0) >= needed)
    if certificate is not None:
        agreeing = {
            name(index)
            for index, (view, number) in newest.items()
            if (view, BLOCKS[number].header.digest()) == (certificate.view, certificate.digest)
        }
        assert set(certificate.signers) == agreeing


@given(st.lists(st.tuples(st.sampled_from((0, 2, 3)), VIEWS), max_size=12))
def test_replica_one_liar_moves_no_view_and_views_only_grow(entries: list[tuple[int, int]]) -> None:
    bench = Bench(1)
    seen = [0]
    honest: dict[int, int] = {}
    for index, view in entries:
        bench.hear(bench.change(index, 2**40 + view if index == 3 else view))
        honest[index] = max(view, honest.get(index, 0))
        seen.append(bench.replica.view)
    assert seen == sorted(seen)
    assert seen[-1] <= max((view for index, view in honest.items() if index != 3), default=0)


@given(st.lists(st.tuples(st.sampled_from((0, 2, 3)), VIEWS, st.integers(0, 2)), max_size=20), st.integers(0, 20))
def test_replica_reborn_at_any_point_signs_nothing_else(entries: list[tuple[int, int, int]], crash_at: int) -> None:
    """Whatever happens before and after a restart, no step of a view is ever signed twice."""
    bench = Bench(1)
    signed: dict[tuple[str, int], bytes] = {}

    def note() -> None:
        for record in bench.log:
            if isinstance(record, Signed):
                message = record.message
                digest = message.digest if isinstance(message.digest, bytes) else message.digest()
                step = "view change" if isinstance(message, ViewChange) else message.step.name
                assert signed.setdefault((step, message.view), digest) == digest
            elif isinstance(record, Accepted) and record.propose.member == name(1):
                digest = record.propose.block.header.digest()
                assert signed.setdefault(("Propose", record.propose.view), digest) == digest

    bench.hear(bench.propose(0, BLOCK))
    for place, (index, view, number) in enumerate(entries):
        bench.hear(bench.vote(index, Step.PREPARE, BLOCK, number))
        bench.hear(bench.change(index, view))
        bench.executed(BLOCK)
        note()
        if place == crash_at:
            bench.reboot()
            bench.hear(bench.propose(0, Peers().block(b"another")))
    note()


BLOCK = Peers().block(b"one")


@given(st.binary(max_size=80), st.integers(0, 2), st.integers(0, 2000))
def test_message_damaged_is_refused_with_an_error_of_ours_or_canonical(junk: bytes, kind: int, place: int) -> None:
    whole = (
        encode_message(PEERS.propose(0, BLOCKS[0])),
        encode_message(PEERS.change(2, 1, PEERS.certificate(Step.PREPARE, BLOCKS[0], signers=(0, 1, 2, 3, 4)))),
        encode_message(PEERS.vote(1, Step.PREPARE, BLOCKS[0])),
    )[kind]
    damaged = damage(whole, junk, place)
    try:
        message = decode_message(damaged)
    except WireError:
        return
    assert encode_message(message) == damaged


@given(st.binary(max_size=80), st.integers(0, 2000))
def test_record_damaged_is_refused_with_an_error_of_ours_or_canonical(junk: bytes, place: int) -> None:
    damaged = damage(encode_record(Signed(PEERS.vote(1, Step.PREPARE, BLOCKS[0]))), junk, place)
    try:
        record = decode_record(damaged)
    except WireError:
        return
    assert encode_record(record) == damaged


def damage(whole: bytes, junk: bytes, place: int) -> bytes:
    place %= len(whole)
    return whole[:place] + junk + whole[place + len(junk) :]
