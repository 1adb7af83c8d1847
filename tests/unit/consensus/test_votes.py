from __future__ import annotations

from dataclasses import replace

import pytest

from master.consensus.votes import ViewChangeBook, VoteBook, highest_prepared, votes_of
from tests.simulation.toy import CHAIN, EPOCH
from tests.unit.consensus.bench import Peers
from wire.certificate import Step, verify_certificate

PEERS = Peers()
ONE, TWO = PEERS.block(b"one"), PEERS.block(b"two")


def book_of(*entries: tuple[int, Step, int]) -> VoteBook:
    book = VoteBook(EPOCH, 1)
    for index, step, view in entries:
        assert book.add(PEERS.vote(index, step, ONE, view))
    return book


# holds CM-3
def test_vote_book_a_newer_view_replaces_and_an_older_or_equal_one_does_not() -> None:
    book = book_of((0, Step.PREPARE, 3))
    for view in (2, 3):
        assert not book.add(PEERS.vote(0, Step.PREPARE, TWO, view))
    assert book.add(PEERS.vote(0, Step.PREPARE, ONE, 4))
    assert book.add(PEERS.vote(0, Step.COMMIT, ONE, 0))
    assert book.voters == 1


@pytest.mark.parametrize(("height", "epoch"), [(2, EPOCH), (1, EPOCH + 1)])
def test_vote_book_refuses_another_epoch_or_height(height: int, epoch: int) -> None:
    assert not VoteBook(EPOCH, 1).add(replace(PEERS.vote(0, Step.PREPARE, ONE), height=height, epoch=epoch))


# holds CM-6
def test_vote_book_makes_a_certificate_of_a_quorum_in_one_view() -> None:
    book = book_of((0, Step.COMMIT, 1), (1, Step.COMMIT, 1), (2, Step.COMMIT, 0))
    assert book.committed(3) is None, "one of them is of another view"
    book.add(PEERS.vote(2, Step.COMMIT, TWO, 1))
    assert book.committed(3) is None, "one of them is for another block"
    book.add(PEERS.vote(3, Step.COMMIT, ONE, 1))
    certificate = book.committed(3)
    assert certificate is not None
    assert certificate.signers == ("node-0", "node-1", "node-3")
    verify_certificate(certificate, CHAIN, PEERS.keys.validators, PEERS.keys.verify)
    assert votes_of(certificate)[0] == PEERS.vote(0, Step.COMMIT, ONE, 1)


# holds CM-6
def test_vote_book_prepared_is_of_the_asked_view_alone() -> None:
    book = book_of(*((index, Step.PREPARE, 2) for index in range(3)))
    found = book.prepared(2, 3)
    assert found is not None
    assert found.digest == ONE.header.digest()
    assert book.prepared(1, 3) is None
    assert book.prepared(2, 4) is None
    assert book.committed(3) is None


# holds CM-3
def test_view_change_book_keeps_the_newest_of_each() -> None:
    book = ViewChangeBook(EPOCH, 1)
    assert book.add(PEERS.change(2, 3))
    assert not book.add(PEERS.change(2, 3))
    assert not book.add(PEERS.change(2, 2))
    assert book.add(PEERS.change(2, 4))
    assert book.add(PEERS.change(0, 7))
    assert [entry.view for entry in book.all()] == [7, 4]
    assert [entry.member for entry in book.exactly(4)] == ["node-2"]


@pytest.mark.parametrize(("height", "epoch"), [(2, EPOCH), (1, EPOCH + 1)])
def test_view_change_book_refuses_another_epoch_or_height(height: int, epoch: int) -> None:
    assert not ViewChangeBook(EPOCH, 1).add(PEERS.change(0, 1, height=height, epoch=epoch))


def test_view_change_book_counts_later_views_too() -> None:
    book = ViewChangeBook(EPOCH, 1)
    for index, view in enumerate((1, 2, 5, 2**62)):
        book.add(PEERS.change(index, view))
    assert [book.count_from(view) for view in (1, 2, 3, 6)] == [4, 3, 2, 1]
    assert [book.nth_highest_view(place) for place in (1, 2, 4, 5)] == [2**62, 5, 1, 0]


def test_highest_prepared_is_of_the_highest_view_whoever_shows_it() -> None:
    low, high = PEERS.certificate(Step.PREPARE, ONE), PEERS.certificate(Step.PREPARE, TWO, view=2)
    changes = (PEERS.change(0, 3, high), PEERS.change(1, 3, low), PEERS.change(2, 3))
    assert highest_prepared(changes) == high
    assert highest_prepared(changes[1:]) == low
    assert highest_prepared(changes[2:]) is None
