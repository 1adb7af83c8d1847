from __future__ import annotations

import random

from master.ledger.state import Overlay, Write
from tests.unit.ledger.worlds import MemoryState


def below() -> MemoryState:
    return MemoryState(
        [Write("ns", key, key.upper()) for key in (b"a", b"b1", b"b2", b"c")] + [Write("n", b"sb3", b"x")]
    )


def test_overlay_reads_through_and_covers_what_it_changed() -> None:
    overlay = Overlay(below())
    assert overlay.get("ns", b"a") == b"A"
    overlay.put("ns", b"a", b"new")
    overlay.delete("ns", b"c")
    assert overlay.get("ns", b"a") == b"new"
    assert overlay.get("ns", b"c") is None
    assert overlay.get("ns", b"none") is None


def test_overlay_scan_merges_changes_in_order() -> None:
    overlay = Overlay(below())
    overlay.put("ns", b"b0", b"0")
    overlay.put("ns", b"b2", b"2")
    overlay.delete("ns", b"b1")
    overlay.put("ns", b"b3", b"3")
    overlay.put("other", b"b4", b"4")
    overlay.delete("ns", b"b9")
    assert list(overlay.scan("ns", b"b")) == [(b"b0", b"0"), (b"b2", b"2"), (b"b3", b"3")]
    assert [key for key, _ in overlay.scan("ns", b"")] == [b"a", b"b0", b"b2", b"b3", b"c"]


def test_overlay_on_an_overlay_scans_both() -> None:
    lower = Overlay(below())
    lower.put("ns", b"b5", b"5")
    upper = Overlay(lower)
    upper.delete("ns", b"b5")
    upper.put("ns", b"b6", b"6")
    assert [key for key, _ in upper.scan("ns", b"b")] == [b"b1", b"b2", b"b6"]
    assert [key for key, _ in lower.scan("ns", b"b")] == [b"b1", b"b2", b"b5"]


def test_overlay_absorb_takes_over_the_upper_changes() -> None:
    lower = Overlay(below())
    upper = Overlay(lower)
    upper.put("ns", b"z", b"1")
    upper.delete("ns", b"a")
    assert lower.get("ns", b"z") is None
    lower.absorb(upper)
    assert lower.writes() == (Write("ns", b"a", None), Write("ns", b"z", b"1"))


def test_overlay_writes_are_sorted_and_leave_out_what_stayed_the_same() -> None:
    overlay = Overlay(below())
    overlay.put("ns", b"z", b"1")
    overlay.put("ns", b"a", b"A")
    overlay.delete("ns", b"never")
    overlay.put("a", b"z", b"1")
    overlay.put("ns", b"b1", b"2")
    assert overlay.writes() == (Write("a", b"z", b"1"), Write("ns", b"b1", b"2"), Write("ns", b"z", b"1"))


def test_overlay_that_was_scanned_finds_what_is_written_and_absorbed_later() -> None:
    lower = Overlay(below())
    lower.put("ns", b"b0", b"0")
    assert [key for key, _ in lower.scan("ns", b"b")] == [b"b0", b"b1", b"b2"]
    lower.put("ns", b"b3", b"3")
    lower.put("other", b"b9", b"9")
    lower.delete("ns", b"b1")
    upper = Overlay(lower)
    upper.put("ns", b"b4", b"4")
    upper.put("ns", b"b3", b"new")
    upper.put("third", b"b5", b"5")
    lower.absorb(upper)
    assert list(lower.scan("ns", b"b")) == [(b"b0", b"0"), (b"b2", b"B2"), (b"b3", b"new"), (b"b4", b"4")]
    assert [key for key, _ in lower.scan("third", b"")] == [b"b5"]


def test_overlays_say_what_one_map_would_say() -> None:
    chance = random.Random(1)
    memory = below()
    block, model = Overlay(memory), dict(memory.scan("ns", b""))
    for _ in range(300):
        call, wanted = Overlay(block), dict(model)
        for _ in range(chance.randrange(4)):
            key = b"%c%d" % (chance.choice(b"abc"), chance.randrange(6))
            if chance.random() < 0.3:
                call.delete("ns", key)
                wanted.pop(key, None)
            else:
                wanted[key] = b"%d" % chance.randrange(9)
                call.put("ns", key, wanted[key])
        prefix = chance.choice((b"", b"a", b"b", b"b1", b"z"))
        assert list(call.scan("ns", prefix)) == sorted(pair for pair in wanted.items() if pair[0].startswith(prefix))
        if chance.random() < 0.7:
            block.absorb(call)
            model = wanted
    assert all(block.get("ns", key) == value for key, value in model.items())
