"""Why there is no block: what the height waits for, and whose word is missing."""

from __future__ import annotations

from master.consensus.events import Report
from master.consensus.progress import Progress
from tests.unit.consensus.bench import Bench, name, of
from wire.certificate import Step


def now(bench: Bench) -> Progress:
    return bench.replica.progress


# holds EL-8
def test_progress_with_nothing_to_decide_waits_for_nothing() -> None:
    progress = now(Bench())
    assert (progress.awaits, progress.missing, progress.proposal) == ("nothing", (), None)
    assert progress.text() == "waits for nothing"


# holds EL-8
def test_progress_with_pending_transactions_waits_for_the_leader() -> None:
    bench = Bench()
    bench.tick(pending=True)
    assert now(bench).text() == "waits for proposal; nothing of node-0"


# holds EL-8
def test_progress_names_whose_votes_are_missing_step_by_step() -> None:
    bench = Bench()
    block = bench.block(b"tx")
    bench.hear(bench.propose(0, block))
    assert now(bench).text() == "waits for prepare; nothing of node-0, node-1, node-2, node-3"
    assert now(bench).proposal == block.header.digest()
    assert now(bench).transactions == 1
    bench.executed(block)
    bench.hear(bench.vote(0, Step.PREPARE, block))
    assert now(bench).text() == "waits for prepare; nothing of node-2, node-3"
    bench.hear(bench.vote(2, Step.PREPARE, block))
    assert now(bench).text() == "waits for commit; nothing of node-0, node-2, node-3"
    assert now(bench).prepared_by == (name(0), name(1), name(2))
    assert now(bench).committed_by == (name(1),)


# holds EL-8
def test_progress_of_a_new_view_waits_for_view_changes_then_for_its_leader() -> None:
    bench = Bench(me=3)
    bench.tick(pending=True)
    bench.tick(1_500, pending=True)
    assert now(bench).text() == "waits for view-change; nothing of node-0, node-1, node-2"
    bench.hear(bench.change(0, 1))
    bench.hear(bench.change(2, 2))
    assert now(bench).text() == "waits for proposal; nothing of node-1"
    assert now(bench).changed_by == (name(0), name(2), name(3))


# holds EL-8
def test_progress_with_votes_but_no_proposal_waits_for_votes() -> None:
    bench = Bench()
    block = bench.block(b"tx")
    for index in (0, 2, 3):
        bench.hear(bench.vote(index, Step.PREPARE, block))
    progress = now(bench)
    assert (progress.awaits, progress.proposal, progress.transactions) == ("commit", None, 0)


def test_progress_text_with_nobody_missing_says_so() -> None:
    progress = Progress(1, 0, name(0), None, 0, (), (), (), "commit", ())
    assert progress.text() == "waits for commit; nothing of nobody"


# holds EL-8
def test_view_that_is_left_says_why_and_what_it_waited_for() -> None:
    bench = Bench(me=3)
    bench.tick(pending=True)
    (report,) = of(bench.tick(1_500, pending=True), Report)
    assert report.detail == "height 1 to view 1: no block in time; it waits for proposal; nothing of node-0"
    assert report.cause == "timeout"
    (report,) = of(Bench().go_to(2), Report)
    assert (report.cause, report.code) == ("followed", "view-change")
    bench = Bench()
    bench.waiting_ms = bench.settings.complain_ms
    (report,) = of(bench.tick(bench.settings.complain_ms, pending=True), Report)
    assert report.cause == "complaint"
    bench = Bench()
    wrong = bench.propose(0, bench.block(b"tx", proposer=2))
    assert [report.cause for report in of(bench.hear(wrong), Report)] == ["", "invalid-proposal"]
