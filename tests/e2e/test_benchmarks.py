"""The benchmarks of the ledger and of memory over time in their shortest forms."""

from __future__ import annotations

import pytest

from benchmarks import ledger, profiled, queries, recovery, soak, verdicts
from benchmarks.soak import Samples

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(("owner", "name"), [place for places in profiled.STEPS.values() for place in places])
def test_function_that_the_profile_wraps_is_there(owner: object, name: str) -> None:
    assert callable(getattr(owner, name))


def test_ledger_of_few_keys_is_measured() -> None:
    rows = {row.name: row.value for row in ledger.measure_store((500, 2_000), 3)}
    for updates, keys in (("500", "0.0005 M"), ("1,000", "0.002 M")):
        assert 0 < rows[f"{updates} updates, {keys} keys: p50"] <= rows[f"{updates} updates, {keys} keys: p95"]
        assert rows[f"state proof, {keys} keys, newest height"] > 1_000
    assert rows["state proof, 0.002 M keys, 13 blocks ago: made p50"] > 0


def test_lists_over_a_short_past_are_measured() -> None:
    rows = {row.name: row for row in queries.measure_past(devices=20, verdicts=1_000, rounds=2)}
    titles = ("alarms, newest 100", "past of one device, deep in it", "compliance, 100 devices")
    for title in (*titles, "models as of a time, half-way"):
        assert 0 < rows[f"{title}: p50"].value <= rows[f"{title}: p95"].value
    assert rows["database"].note == "20 devices, 1,000 verdicts, 20 alarms"


def test_report_of_60_artefacts_is_measured() -> None:
    rows = {row.name: row.value for row in verdicts.measure(rounds=2)}
    assert len(rows) == 8
    assert 0 < rows["rule: 60 artefacts appraised: p50"] < rows["report: 60 artefacts, nothing changed: p50"]


def test_node_with_a_filled_store_votes_again_after_a_kill() -> None:
    served, voted = recovery.measure_restart(keys=200, restarts=1)
    assert 0 < served.value <= voted.value


def test_node_that_has_nothing_catches_up() -> None:
    rate, total = recovery.measure_catch_up(blocks=150)
    assert rate.value > 1
    assert total.value > 0


def test_soak_of_seconds_reports_a_slope_for_each_node() -> None:
    rows = {row.name: row for row in soak.measure(minutes=0.1, rate=20)}
    assert rows["memory grows by, worst node"].unit == "KiB/min"
    assert rows["largest node"].value > 10
    assert rows["committed"].value == 100


def test_slope_is_that_of_the_line() -> None:
    assert Samples([0.0, 30.0, 60.0], [100.0, 110.0, 120.0]).slope() == pytest.approx(20)
    assert Samples([0.0, 30.0, 60.0], [100.0, 100.0, 100.0]).slope() == 0
    assert Samples([1.0], [5.0]).slope() == 0
    assert [Samples([], [1024.0, 2048.0] * 6).at_mark(mark) for mark in (1, 6)] == [2, 2]
    assert Samples([1.0], [1024.0]).at_mark(1) == 1
    assert Samples([float(at) for at in range(8)], [900.0] * 4 + [1.0] * 4).settled().slope() == 0
