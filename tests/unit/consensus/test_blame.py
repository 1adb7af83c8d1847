"""Whose results of a block differ, and which transaction is blamed for it."""

from __future__ import annotations

import pytest

from master.consensus.blame import LIST_INTERVAL_MS, Blame, Findings
from master.consensus.fault_messages import RESULT_BYTES, Divergence
from tests.simulation.toy import EPOCH
from tests.unit.consensus.bench import Bench, name
from wire.block import Block
from wire.types import sha256

BLOCK = Bench().block(b"first", b"second", b"third")
DIGEST = BLOCK.header.digest()
GOOD = tuple(sha256(raw) for raw in BLOCK.transactions)
BAD = (GOOD[0], sha256(b"otherwise"), GOOD[2])


def results(leaves: tuple[bytes, ...], *, is_list: bool = True, block: bytes = DIGEST) -> Divergence:
    listed = tuple(leaf[:RESULT_BYTES] for leaf in leaves) if is_list else ()
    return Divergence(1, block, sha256(b"".join(leaves)), listed)


class Node:
    """One of four, f = 1, with or without results of its own."""

    def __init__(self, leaves: tuple[bytes, ...] | None = GOOD, member: int = 0) -> None:
        self.leaves = leaves
        self.sets = {EPOCH: Bench().keys.validators}
        self.blame = Blame(name(member), self.sets.get, self.lookup)

    def lookup(self, digest: bytes) -> tuple[Block, tuple[bytes, ...]] | None:
        return (BLOCK, self.leaves) if self.leaves is not None and digest == DIGEST else None

    def hear(self, index: int, message: Divergence, height: int = 1, now_ms: int = 0) -> Findings:
        return self.blame.heard(name(index), message, height, now_ms)


# holds FP-15
def test_blame_node_that_diverges_says_so_without_its_results() -> None:
    assert Node(BAD).blame.diverged(DIGEST, 0) == Findings((results(BAD, is_list=False),))
    assert Node(None).blame.diverged(DIGEST, 0) == Findings()


# holds FP-15
def test_blame_results_go_out_once_when_somebody_has_others() -> None:
    node = Node()
    assert node.hear(1, results(GOOD, is_list=False)) == Findings()
    assert node.hear(2, results(BAD, is_list=False)) == Findings((results(GOOD),))
    assert node.hear(3, results(BAD, is_list=False)) == Findings()


# holds FP-15
def test_blame_results_go_out_again_only_after_a_while() -> None:
    node = Node()
    node.hear(2, results(BAD, is_list=False))
    other = Bench().block(b"another")
    node.lookup = lambda _: (other, (GOOD[0],))  # type: ignore[method-assign,assignment]
    node.blame._lookup = node.lookup
    message = results(BAD, is_list=False, block=other.header.digest())
    assert node.hear(2, message, now_ms=LIST_INTERVAL_MS - 1) == Findings()
    assert len(node.hear(3, message, now_ms=LIST_INTERVAL_MS).messages) == 1


# holds FP-15
def test_blame_report_that_comes_before_the_own_execution_is_answered_after_it() -> None:
    node = Node(None)
    assert node.hear(2, results(BAD, is_list=False)) == Findings()
    node.leaves = GOOD
    assert node.blame.executed(DIGEST, 0).messages == (results(GOOD),)
    assert node.blame.executed(sha256(b"else"), 0) == Findings()


# holds FP-16
def test_blame_falls_on_what_f_plus_one_see_so_and_f_plus_one_otherwise() -> None:
    node = Node()
    assert node.hear(1, results(GOOD)).blamed == ()
    assert node.hear(2, results(BAD)).blamed == ()
    found = node.hear(3, results(BAD))
    assert found.blamed == (sha256(b"second"),)
    (report,) = found.reports
    assert report.startswith(f"transaction {sha256(b'second').hex()} comes out differently: ")
    assert "node-0, node-1 against node-2, node-3" in report
    assert node.blame.executed(DIGEST, 0).blamed == (), "once"


# holds FP-16
def test_blame_counts_the_validators_of_the_blocks_epoch_alone() -> None:
    node = Node()
    node.sets[EPOCH] = Bench(size=3).keys.validators
    assert node.hear(2, results(BAD)).blamed == (sha256(b"second"),)
    node = Node()
    node.hear(1, results(GOOD))
    node.hear(3, results(BAD))
    assert node.hear(8, results(BAD)).blamed == ()


# holds FP-16
def test_blame_falls_on_nothing_for_f_liars_or_a_false_root_of_the_leader() -> None:
    node = Node()
    for index in (1, 2):
        assert node.hear(index, results(GOOD)).blamed == ()
    assert node.hear(3, results(BAD)).blamed == ()
    diverged = Node(BAD, 1)
    assert diverged.blame.diverged(DIGEST, 0).blamed == ()
    for index in (2, 3):
        assert diverged.hear(index, results(BAD)) == Findings(), "all honest nodes see the same"


# holds FP-16
def test_blame_takes_one_list_of_a_member_and_no_shorter_list_counts_for_more() -> None:
    node = Node()
    node.hear(2, results(BAD, is_list=False))
    node.hear(2, results(BAD))
    node.hear(2, results(GOOD))
    node.hear(1, results(GOOD))
    assert node.hear(3, results(BAD[:1])).blamed == ()
    assert node.blame._cases[DIGEST].heard[name(2)] == results(BAD)


# holds FP-16
@pytest.mark.parametrize("height", [0, 2])
def test_blame_reports_of_other_heights_are_dropped_and_a_member_speaks_of_one_block(height: int) -> None:
    node = Node()
    assert node.hear(2, results(BAD, is_list=False), height) == Findings()
    assert node.blame._cases == {}
    node.hear(1, results(BAD))
    for number in range(9):
        node.hear(2, results(BAD, block=sha256(bytes((number,)))))
    assert list(node.blame._cases) == [DIGEST, sha256(b"\x08")]
    node.hear(2, results(BAD))
    assert set(node.blame._cases[DIGEST].heard) == {name(1), name(2)}
