from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from agent.attest import DeviceState, Signer, build_evidence
from agent.io.outbox import TX_KEPT_MAX, Outbox, OutboxFullError
from kit.exitcodes import StorageError
from tests.unit.agent.bench import EVIDENCE_CLOCK, KID, NOW_MS, state
from tests.unit.wire.samples import GENESIS, key_of
from wire.evidence import Evidence, SeenBlock, decode_evidence
from wire.tx import open_tx

VALID_MS = 600_000
BLOCK = SeenBlock(9, bytes(32))
MIB = 1024 * 1024
SIGN = Signer("gw-1", GENESIS.chain(), key_of("gw-1")).transaction


def build(*states: DeviceState) -> Callable[[int, int], Sequence[Evidence]]:
    return lambda boot, seq: build_evidence("gw-1", (boot, seq), EVIDENCE_CLOCK, BLOCK, states, devices_max=1)


def opened(path: Path, *, bytes_max: int = MIB) -> Outbox:
    return Outbox(path, SIGN, bytes_max=bytes_max, valid_ms=VALID_MS)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = opened(tmp_path / "outbox.sqlite")
    box.begin_boot(NOW_MS, KID)
    yield box
    box.close()


def add(outbox: Outbox, *states: DeviceState, droppable: bool = False, now_ms: int = NOW_MS) -> int:
    return outbox.add(build(*states), states, now_ms, droppable=droppable).stored


def test_report_is_numbered_signed_and_pending(outbox: Outbox) -> None:
    assert add(outbox, state("sps-1"), state("sps-2")) == 2
    first, second = outbox.pending(10)
    signed = open_tx(first.raw)
    assert signed.id == first.tx
    assert (signed.tx.seq, second.seq) == (first.seq, first.seq + 1)
    assert first.valid_until_ms == NOW_MS + VALID_MS
    evidence = [decode_evidence(open_tx(entry.raw).tx.args["evidence"]) for entry in (first, second)]  # type: ignore[arg-type]
    assert [(part.boot, part.seq) for part in evidence] == [(NOW_MS // 1000 + 1, 1), (NOW_MS // 1000 + 1, 2)]


def test_journal_is_write_ahead_and_every_commit_is_synchronous(outbox: Outbox) -> None:
    assert outbox._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert outbox._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_counters_go_on_after_a_restart_and_boot_counts(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    box = opened(path)
    first_boot = box.begin_boot(NOW_MS, KID)
    add(box, state())
    seq = box.pending(1)[0].seq
    box.close()
    box = opened(path)
    assert box.begin_boot(NOW_MS - 10_000_000, KID) == first_boot + 1
    add(box, state())
    old, new = box.pending(10)
    box.close()
    assert (old.seq, new.seq) == (seq, seq + 1)
    assert decode_evidence(open_tx(new.raw).tx.args["evidence"]).seq == 1  # type: ignore[arg-type]


def test_new_database_begins_above_what_an_old_one_can_have_used(tmp_path: Path) -> None:
    old, new = opened(tmp_path / "old"), opened(tmp_path / "new")
    old_boot, new_boot = old.begin_boot(NOW_MS, KID), new.begin_boot(NOW_MS + 60_000, KID)
    for box in (old, new):
        add(box, state())
    assert new_boot > old_boot
    assert new.pending(1)[0].seq > old.pending(1)[0].seq
    old.close()
    new.close()


def test_report_that_cannot_be_built_uses_no_number(outbox: Outbox) -> None:
    def fails(boot: int, seq: int) -> Sequence[Evidence]:
        raise RuntimeError("defect")

    with pytest.raises(RuntimeError):
        outbox.add(fails, [], NOW_MS, droppable=False)
    add(outbox, state())
    assert decode_evidence(open_tx(outbox.pending(1)[0].raw).tx.args["evidence"]).seq == 1  # type: ignore[arg-type]


def test_settled_evidence_is_forgotten_with_all_its_transactions(outbox: Outbox) -> None:
    add(outbox, state())
    entry = outbox.pending(1)[0]
    again = outbox.rewrap(entry.evidence, NOW_MS)
    assert again is not None
    outbox.settle(entry.evidence, SeenBlock(12, b"\x01" * 32), [state(has_receipt=True)])
    assert outbox.pending(10) == []
    assert outbox.find(entry.tx) is None
    assert outbox.find(again.tx) is None
    assert outbox.block() == SeenBlock(12, b"\x01" * 32)
    assert outbox.states()["sps-1"].has_receipt


def test_older_block_does_not_replace_a_newer_one(outbox: Outbox) -> None:
    outbox.settle(0, SeenBlock(12, b"\x01" * 32), [])
    outbox.settle(0, SeenBlock(11, b"\x02" * 32), [])
    assert outbox.block() == SeenBlock(12, b"\x01" * 32)


def test_block_is_unknown_before_the_first_receipt(outbox: Outbox) -> None:
    assert outbox.block() is None


def test_receipt_for_an_item_that_has_changed_since_is_not_kept(outbox: Outbox) -> None:
    add(outbox, state(content=b"newer"))
    outbox.settle(0, BLOCK, [state(content=b"older", has_receipt=True)])
    assert not outbox.states()["sps-1"].has_receipt


def test_states_survive_a_restart_as_they_were_reported(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    box = opened(path)
    box.begin_boot(NOW_MS, KID)
    states = (state("sps-1"), state("sps-2", has_receipt=True), DeviceState("sps-3", "unreachable"))
    box.add(build(*states), states, NOW_MS, droppable=False)
    box.close()
    box = opened(path)
    assert box.states() == {"sps-1": states[0], "sps-2": states[1]}
    box.close()


def test_what_another_key_signed_is_told_apart_until_it_is_signed_anew(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    box = opened(path)
    box.begin_boot(NOW_MS, KID)
    assert add(box, state("sps-1"), state("sps-2")) == 2
    assert not any(box.has_other_key(entry) for entry in box.pending(10))
    box.close()
    box = opened(path)
    box.begin_boot(NOW_MS, KID)
    assert not any(box.has_other_key(entry) for entry in box.pending(10))
    box.close()
    for kid in (b"next key's id...", KID):  # and it holds the other way round, too
        box = opened(path)
        box.begin_boot(NOW_MS, kid)
        waiting = box.pending(10)
        assert [box.has_other_key(entry) for entry in waiting] == [True, True]
        again = [box.rewrap(entry.evidence, NOW_MS) for entry in waiting]
        assert [entry.seq for entry in box.pending(10)] == [waiting[-1].seq + 1, waiting[-1].seq + 2]
        assert box.pending(10) == again
        assert not any(box.has_other_key(entry) for entry in box.pending(10))
        box.close()


def test_rewrapped_evidence_keeps_its_bytes_under_a_new_number(outbox: Outbox) -> None:
    add(outbox, state())
    old = outbox.pending(1)[0]
    new = outbox.rewrap(old.evidence, NOW_MS + VALID_MS)
    assert new is not None
    assert new.seq == old.seq + 1
    assert new.valid_until_ms == NOW_MS + 2 * VALID_MS
    assert open_tx(new.raw).tx.args == open_tx(old.raw).tx.args
    assert outbox.pending(10) == [new]
    for tx in (old.tx, new.tx):
        found = outbox.find(tx)
        assert found is not None
        assert found.evidence == old.evidence


def test_only_the_newest_transactions_of_evidence_are_kept(outbox: Outbox) -> None:
    add(outbox, state())
    wrapped = [outbox.pending(1)[0].tx]
    for _ in range(TX_KEPT_MAX):
        new = outbox.rewrap(outbox.pending(1)[0].evidence, NOW_MS)
        assert new is not None
        wrapped.append(new.tx)
    assert [outbox.find(tx) is not None for tx in wrapped] == [False, *[True] * TX_KEPT_MAX]
    sizes = "SELECT sum(length(raw)) FROM evidence", "SELECT sum(length(raw)) FROM tx"
    assert outbox.depth().bytes == sum(outbox._db.execute(query).fetchone()[0] for query in sizes)


def test_rewrap_of_what_has_left_gives_nothing(outbox: Outbox) -> None:
    assert outbox.rewrap(77, NOW_MS) is None


def test_pending_gives_the_oldest_first_and_no_more_than_asked(outbox: Outbox) -> None:
    for number in range(3):
        add(outbox, state(), now_ms=NOW_MS + number)
    assert [entry.created_ms for entry in outbox.pending(2)] == [NOW_MS, NOW_MS + 1]
    depth = outbox.depth()
    assert (depth.items, depth.oldest_ms) == (3, NOW_MS)
    assert depth.bytes > 0


def fill(outbox: Outbox, *, droppable: bool) -> int:
    """Add reports until one is left out; return how many fitted."""
    count = 0
    while True:
        added = outbox.add(build(state()), [state()], NOW_MS, droppable=droppable)
        if added.left_out:
            return count
        count += 1


def test_full_outbox_leaves_out_unchanged_reports_and_gives_up_none_that_it_holds(tmp_path: Path) -> None:
    box = opened(tmp_path / "outbox.sqlite", bytes_max=20_000)
    box.begin_boot(NOW_MS, KID)
    add(box, state(), now_ms=NOW_MS - 2)
    add(box, state(), droppable=True, now_ms=NOW_MS - 1)
    fitted = fill(box, droppable=True)
    ages = [entry.created_ms for entry in box.pending(100)]
    assert ages == [NOW_MS - 2, NOW_MS - 1, *[NOW_MS] * fitted]
    assert box.depth().bytes <= 20_000
    box.close()


def test_outbox_full_of_unchanged_reports_still_takes_changes_up_to_its_margin(tmp_path: Path) -> None:
    box = opened(tmp_path / "outbox.sqlite", bytes_max=20_000)
    box.begin_boot(NOW_MS, KID)
    held = fill(box, droppable=True)
    with pytest.raises(OutboxFullError, match="bytes that have no receipt"):
        fill(box, droppable=False)
    before = box.depth()
    assert 20_000 < before.bytes <= 25_000
    assert before.items > held
    added = box.add(build(state()), [state()], NOW_MS, droppable=True)
    assert (added.stored, added.left_out) == (0, 1)
    assert box.depth() == before
    box.close()


def test_damaged_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match=r"is damaged .* move it"):
        opened(path)


def test_page_that_was_overwritten_is_noticed_when_the_file_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    box = opened(path)
    box.begin_boot(NOW_MS, KID)
    for _ in range(50):
        add(box, state())
    box.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 4] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(StorageError, match="is damaged"):
        opened(path)


def test_file_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    opened(path).close()
    other = sqlite3.connect(path)
    other.execute("UPDATE meta SET value = 2 WHERE name = 'format'")
    other.commit()
    other.close()
    with pytest.raises(StorageError, match="format 2"):
        opened(path)


def test_folder_that_is_missing_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="check the disk's space"):
        opened(tmp_path / "missing" / "outbox.sqlite")


def test_disk_that_is_full_is_a_storage_error_and_loses_nothing(outbox: Outbox) -> None:
    add(outbox, state())
    before = outbox.pending(10)
    pages = outbox._db.execute("PRAGMA page_count").fetchone()[0]
    outbox._db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageError, match="full"):
        fill(outbox, droppable=False)
    assert outbox.pending(1) == before
    outbox._db.execute("PRAGMA max_page_count=1000000")
    assert add(outbox, state()) == 1
    numbers = [entry.seq for entry in outbox.pending(1000)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


CHILD = """
import sys
from pathlib import Path
from tests.unit.agent.bench import KID, NOW_MS, state
from tests.unit.agent.test_outbox import add, opened
from wire.evidence import SeenBlock

box = opened(Path(sys.argv[1]))
boot = box.begin_boot(NOW_MS, KID)
print("boot", boot, flush=True)
while True:
    add(box, state("sps-1"), state("sps-2"))
    for entry in box.pending(2)[:2]:
        print("signed", entry.seq, entry.tx.hex(), entry.evidence, flush=True)
    first = box.pending(1)[0]
    again = box.rewrap(first.evidence, NOW_MS)
    print("signed", again.seq, again.tx.hex(), again.evidence, flush=True)
    box.settle(first.evidence, SeenBlock(again.seq, bytes(32)), [])
    print("settled", first.evidence, flush=True)
"""


def test_killed_process_loses_no_report_and_uses_no_number_twice(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    signed: dict[int, str] = {}
    boots, stored, settled = [], set(), set()
    runs = (1, 7, 30)
    for lines_before_kill in runs:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True, env=environment, cwd=root
        )
        assert child.stdout is not None
        lines = [child.stdout.readline().split() for _ in range(lines_before_kill)]
        child.send_signal(signal.SIGKILL)
        lines += [line.split() for line in child.stdout.read().split("\n")[:-1]]
        child.wait()
        child.stdout.close()
        for word, *rest in lines:
            if word == "boot":
                boots.append(int(rest[0]))
            elif word == "settled":
                settled.add(int(rest[0]))
            else:
                assert signed.setdefault(int(rest[0]), rest[1]) == rest[1]  # one number, one transaction
                stored.add(int(rest[2]))
    assert boots == sorted(set(boots))
    box = opened(path)
    waiting = box.pending(10_000)
    rows = box._db.execute("SELECT evidence.id, count(tx.seq) FROM evidence LEFT JOIN tx ON tx.evidence = evidence.id")
    assert all(count >= 1 for _, count in rows)
    assert settled.isdisjoint({entry.evidence for entry in waiting})
    # the kill may have come between a receipt and the line that says so, once in each run
    assert len(stored - settled - {entry.evidence for entry in waiting}) <= len(runs)
    pairs = [decode_evidence(open_tx(entry.raw).tx.args["evidence"]) for entry in waiting]  # type: ignore[arg-type]
    assert len({(part.boot, part.seq) for part in pairs}) == len(pairs)
    counter = box._counter("tx_seq", 0)
    assert counter >= max(signed)
    box.close()


def test_state_kept_for_a_device_is_replaced_by_the_next_report(outbox: Outbox) -> None:
    add(outbox, state(content=b"one", has_receipt=True))
    newer = replace(state(content=b"two"), read_from_ms=NOW_MS + 5, read_to_ms=NOW_MS + 6)
    add(outbox, newer)
    assert outbox.states() == {"sps-1": newer}
