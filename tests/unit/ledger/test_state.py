from __future__ import annotations

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
