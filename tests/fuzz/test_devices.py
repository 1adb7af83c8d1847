"""Lying devices under the fuzzing engine, guided by coverage, and proof that the engine sees what it has to see."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.devices import DEVICES, lies_of
from tests.fuzz.engine import Coverage, FindingError, campaign, judge
from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import Target

INPUTS = 400
"""Of one protocol in the short form, the same on every machine; `make fuzz MINUTES=n ONLY=device` is the long one."""
SECONDS = 120.0
"""For a machine that is forty times as slow as it should be."""


@pytest.mark.parametrize("target", DEVICES, ids=[target.name for target in DEVICES])
def test_lying_device_never_brings_a_driver_down(target: Target) -> None:
    figures = campaign(target, 0, SECONDS, INPUTS)
    assert figures.inputs == INPUTS
    assert figures.refusals > 5
    assert figures.lines > 100


def test_script_is_read_from_any_bytes() -> None:
    kinds = ("honest", "late")
    assert lies_of(b"", kinds) == []
    assert lies_of(b"\x01", kinds) == [("late", 0, b"")]
    assert lies_of(b"\x03\x07\x02ab\xff\x01", kinds) == [("late", 7, b"ab"), ("honest", 1, b"")]
    assert len(lies_of(bytes(10_000), kinds)) == 80


def test_campaign_over_a_device_finds_a_planted_defect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("agent.drivers.modbus_link.Link._header_problem", lambda *_: None)
    with pytest.raises(FindingError, match="modbusdevice"):
        campaign(DEVICES[0], 0, SECONDS)


def deep(raw: bytes) -> int:
    """Fail only behind four checks that all say the same."""
    for at, wanted in enumerate(b"\x11\x22\x33"):
        if raw[at : at + 1] != bytes((wanted,)):
            raise ValueError("no")
    return 1 // (raw[3:4] != b"\x44")


def test_coverage_keeps_inputs_that_reach_new_lines() -> None:
    target = Target("deep", deep, refusals=(ValueError,), seeds=(b"aaaa",), covers=(Path(__file__).name,))
    coverage = Coverage(target.covers)
    sizes = []
    for raw in (b"aaaa", b"bbbb", b"\x11bbb", b"\x11\x22\x33b"):
        with coverage.watching():
            judge(target, raw)
        sizes.append(coverage.lines)
    assert sizes[0] == sizes[1] <= sizes[2] < sizes[3]
    mutator = Mutator(Random(0))
    assert mutator.mutate([b"aaaa"]) is not None
