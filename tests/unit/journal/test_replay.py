"""A log that was changed, cut or taken by other code does not replay; the first step that differs is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from master.consensus.events import Applied, Built, Executed, Now, Received, Tick
from master.consensus.messages import Status
from master.consensus.state import Settings
from master.journal.graph import JournalError
from master.journal.records import Note, SegmentEncoder
from master.journal.replay import DifferenceError, Replayer
from master.journal.timeline import Line, Timeline
from tests.simulation.taped import Log, TapedReplica
from tests.simulation.toy import CHAIN, EPOCH, GENESIS
from tests.unit.consensus.bench import FRESH, NONCE, START_MS, Peers, name
from wire import cbor
from wire.certificate import Step


class Tale(Peers):
    """A height as member 1 of four lives it, on tape."""

    def __init__(self, checkpoint_every: int = 0) -> None:
        super().__init__()
        self.log = Log(checkpoint_every)
        self.now_ms = START_MS
        settings = Settings(name(1), CHAIN, EPOCH, self.keys.validators, heartbeat_ms=1_000_000, timeout_ms=1_000)
        facts = {"guard": FRESH, "nonce": NONCE}
        self.replica = TapedReplica(self.log, settings, GENESIS, self.keys.signer(name(1)), self.now, **facts)
        self.replica.restore((), self.now)
        self.now_ms += 1_000  # nobody tells what the key has signed

    @property
    def now(self) -> Now:
        return Now(GENESIS.time_ms + self.now_ms, self.now_ms)

    def say(self, index: int, message: Any) -> None:  # noqa: ANN401 any message
        self.replica.step(Received(name(index), message), self.now)

    def tell(self) -> None:
        """Let a view pass without a block, then decide one."""
        first = self.block(b"tx", time_ms=self.now_ms)
        self.replica.step(Tick(pending=True), self.now)
        self.say(0, self.propose(0, first))
        self.replica.step(Executed(first.header.digest(), accepted=True), self.now)
        self.now_ms += 1_500
        self.replica.step(Tick(pending=True), self.now)
        for index in (0, 2):
            self.say(index, self.change(index, 1))
        block = self.block(b"tx", proposer=1, time_ms=self.now_ms)
        self.replica.step(Built(1, 1, block), self.now)
        for index in (0, 2, 3):
            self.say(index, self.vote(index, Step.PREPARE, block, view=1))
        for index in (0, 2, 3):
            self.say(index, self.vote(index, Step.COMMIT, block, view=1))
        head = self.ledger.apply(block, self.certificate(Step.COMMIT, block, view=1))
        self.replica.step(Applied(head), self.now)


def told(checkpoint_every: int = 0) -> Log:
    tale = Tale(checkpoint_every)
    tale.tell()
    return tale.log


def changed(log: Log, index: int, change: Callable[[list[Any]], object]) -> Log:
    """Change one record of the first segment."""
    value = cbor.decode(log.segments[0][index])
    assert isinstance(value, list)
    change(value)
    log.segments[0][index] = cbor.encode(value)
    return log


# holds EL-5
def test_replay_of_an_untouched_log_comes_out_the_same() -> None:
    log = told()
    replayer = log.replayed()
    assert replayer.steps == len(log.segments[0]) - 1 > 10


# holds EL-3
def test_replay_meets_every_checkpoint_and_starts_from_each() -> None:
    log = told(checkpoint_every=3)
    assert log.replayed().states == len(log.segments) - 1 > 3
    for first in range(len(log.segments)):
        assert log.replayed(first).steps == sum(len(segment) - 1 for segment in log.segments[first:])


# holds EL-4 EL-5
@pytest.mark.parametrize(
    ("index", "change", "reason"),
    [
        (
            2,
            lambda value: value.__setitem__(6, b""),
            r"step 2 \(Tick\): other effects than recorded; here: .*Broadcast",
        ),
        (2, lambda value: value.__setitem__(3, value[3] + 1), "step 2"),
        (2, lambda value: value.__setitem__(8, "KeyError: 1"), "step 2 .*ended with None, recorded is KeyError: 1"),
        (4, lambda value: value.__setitem__(7, []), r"step 4 \(Executed\): the vote key signs more than it did"),
        (3, lambda value: value.__setitem__(7, [bytes(64)]), r"step 3 \(Propose from node-0\).*signs less than it did"),
        (4, lambda value: value.__setitem__(7, [bytes(64)]), "step 4 .*other effects"),
    ],
)
def test_replay_of_a_changed_log_names_the_first_step_that_differs(
    index: int, change: Callable[[list[Any]], object], reason: str
) -> None:
    with pytest.raises(DifferenceError, match=reason):
        changed(told(), index, change).replayed()


# holds EL-5
def test_replay_by_other_code_names_the_first_step_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    log = told()
    monkeypatch.setattr("master.consensus.views.Views.is_heartbeat_due", lambda *_: True)
    with pytest.raises(DifferenceError, match=r"\(Applied\): other effects"):
        log.replayed()


def test_replay_of_a_changed_checkpoint_is_refused() -> None:
    log = told(checkpoint_every=3)
    other = told(checkpoint_every=3)
    value: Any = cbor.decode(other.segments[1][0])
    place = next(place for place, row in enumerate(value[5]) if row[0] == 0 or (row[0] == 2 and len(row) > 2))
    value[5][place] = value[5][place][:1]
    log.segments[1][0] = cbor.encode(value)
    with pytest.raises(DifferenceError, match="checkpoint at step 3"):
        log.replayed()


# holds EL-6
def test_replay_of_a_step_that_ended_in_an_exception_ends_in_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise AssertionError("this must never happen")

    tale = Tale()
    monkeypatch.setattr("master.consensus.sync.Sync.heard_head", broken)
    with pytest.raises(AssertionError):
        tale.say(0, Status(1, 0, "new"))
    assert tale.log.replayed().steps == 2
    monkeypatch.undo()
    with pytest.raises(DifferenceError, match="ended with None, recorded is AssertionError: this must never happen"):
        tale.log.replayed()


# holds EL-4
@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"\xff", "no canonical CBOR"),
        (cbor.encode([2, 1]), "has a form"),
        (cbor.encode([0, 2, "later", [], []]), "has a form"),
        (cbor.encode([0, 1, "x", [], [[0]]]), "holds a list where a dict is due"),
        (cbor.encode([0, 1, "x", [], [[2, "nonsense", 1]]]), "do not fit this version"),
        (cbor.encode([1, 1, "x", 1, [], [[2]]]), "holds a dict where a Replica is due"),
        (cbor.encode([3, 1, "text"]), "neither a start nor a checkpoint"),
        (cbor.encode([2, 1, 1, 1, [], [[0]], b"", [], None]), "does not follow"),
    ],
)
def test_replay_of_a_record_that_no_recorder_wrote_is_refused(record: bytes, reason: str) -> None:
    replayer = Replayer()
    replayer.open_segment()
    with pytest.raises(JournalError, match=reason):
        replayer.take(record)


def test_replay_without_a_segment_is_refused() -> None:
    with pytest.raises(JournalError, match="no segment"):
        Replayer().take(b"")


def test_replay_of_a_log_with_a_hole_is_refused() -> None:
    log = told()
    steps = len(log.segments[0]) - 1
    del log.segments[0][-2]
    with pytest.raises(JournalError, match=f"step {steps} does not follow step {steps - 2}"):
        log.replayed()


def lines_of(log: Log) -> list[Line]:
    replayer, timeline = Replayer(), Timeline()
    lines = []
    for segment in log.segments:
        replayer.open_segment()
        for raw in segment:
            lines += timeline.lines(replayer.take(raw))
    return lines


# holds EL-5 EL-8
def test_timeline_tells_who_was_missing_and_why_the_view_was_left() -> None:
    tale = Tale()
    tale.tell()
    encoder = SegmentEncoder(tale.replica._tape.sign)
    tale.log.segments[0].append(encoder.note(Note(5, "somebody looked \u00e9")))
    told_lines = lines_of(tale.log)
    texts = [line.text for line in told_lines]
    assert texts[0].startswith("start of version simulated: head 0, guard at height 0")
    assert any(text.startswith("proposal of node-0") for text in texts)
    assert any("view-change: height 1 to view 1: no block in time" in text for text in texts)
    assert any("waits for prepare; nothing of node-0, node-2, node-3" in text for text in texts)
    assert any("says VIEW-CHANGE to view 1" in text for text in texts)
    assert any(text.startswith("VIEW-CHANGE seen of node-0, node-1, node-2") for text in texts)
    assert any(text.startswith("proposes ") for text in texts)
    assert any(text.startswith("says PREPARE") for text in texts)
    assert any("is final in view 1: COMMIT of node-0, node-1, node-2" in text for text in texts)
    assert "height 1 is stored" in texts
    assert texts[-1] == "somebody looked \\xe9"
    assert [line.step for line in told_lines] == sorted(line.step for line in told_lines)


def test_timeline_goes_on_from_a_checkpoint() -> None:
    log = told(checkpoint_every=4)
    del log.segments[:1]
    assert lines_of(log)[0].text == "the log goes on from here, version simulated: head 0"
