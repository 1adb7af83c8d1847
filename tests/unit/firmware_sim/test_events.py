from __future__ import annotations

from pathlib import Path

import pytest

from firmware_sim.api import build_app
from firmware_sim.errors import UnknownDeviceError
from firmware_sim.events import EventTable, Timeline
from firmware_sim.fleet import Fleet
from firmware_sim.scenario import load_scenario
from kit.clock import FakeClock
from kit.config import ConfigProblemsError
from tests.unit.firmware_sim.bench import SCENARIO, write_bench
from tests.unit.firmware_sim.test_api import call

EVENTS = """
[[event]]
at_s = 2
devices = ["dev-a"]
action = "change-setting"
number = 17
value = "48.50"

[[event]]
at_s = 0.5
every_s = 1
times = 3
devices = ["dev-?"]
action = "fault"
fault = "busy"
functions = [20]

[[event]]
at_s = 4
devices = ["nobody*"]
action = "restore"

[[event]]
at_s = 5
action = "melt"
"""


def build(tmp_path: Path, events: str) -> tuple[Fleet, FakeClock]:
    path = write_bench(tmp_path)
    path.write_text(SCENARIO + events)
    clock = FakeClock()
    return Fleet(load_scenario(path), base=path.parent, clock_ms=clock.now_ms, monotonic_ms=clock.monotonic_ms), clock


def test_events_happen_when_they_are_due_and_not_before(tmp_path: Path) -> None:
    fleet, clock = build(tmp_path, EVENTS)
    assert fleet.run_due() == 500
    assert fleet.device("dev-a").fault is None
    clock.advance(500)
    assert fleet.run_due() == 1_000
    fault = fleet.device("dev-b").fault
    assert fault is not None
    assert (fault.kind, fault.functions) == ("busy", frozenset({20}))
    assert fleet.describe("dev-a")["state"] == "original"
    clock.advance(1_500)
    assert fleet.run_due() == 500
    assert fleet.describe("dev-a")["state"] == "tampered"
    assert fleet.describe("dev-b")["state"] == "original"


def test_events_that_are_refused_are_noted_and_the_others_go_on(tmp_path: Path) -> None:
    fleet, clock = build(tmp_path, EVENTS)
    clock.advance(10_000)
    assert fleet.run_due() is None
    done = [(item.done, item.refused) for item in fleet.timeline.planned]
    assert done == [(1, 0), (3, 0), (1, 1), (1, 1)]
    assert fleet.timeline.planned[2].last_error == "no device is called nobody*"
    assert fleet.timeline.planned[3].last_error.startswith("unknown action")
    assert fleet.describe("dev-a")["state"] == "tampered"


def test_timeline_is_shown_on_the_control_port(tmp_path: Path) -> None:
    fleet, clock = build(tmp_path, EVENTS)
    clock.advance(700)
    fleet.run_due()
    status, _, shown = call(fleet, "GET", "/timeline")
    assert (status, shown["elapsed_ms"], shown["next_ms"]) == (200, 700, 1_500)
    busy = shown["items"][1]
    assert (busy["action"], busy["functions"], busy["done"], busy["times"]) == ("fault", [20], 1, 3)
    assert build_app(fleet) is not None


def test_event_without_devices_means_all_and_keeps_their_order() -> None:
    table = EventTable(at_s=0, action="restore")
    assert table.names(["b", "a"]) == ["b", "a"]
    assert table.body() == {"action": "restore"}


def test_event_for_nobody_is_refused() -> None:
    with pytest.raises(UnknownDeviceError, match=r"no device is called x\*, y"):
        EventTable(at_s=0, action="restore", devices=("x*", "y")).names(["a"])


def test_event_takes_every_member_of_an_action(tmp_path: Path) -> None:
    text = '[[event]]\nat_s = 0\ndevices = ["dev-a"]\naction = "swap"\nwith = "dev-b"\n'
    fleet, _ = build(tmp_path, text)
    assert fleet.run_due() is None
    assert fleet.describe("dev-b")["state"] == "tampered"


def test_timeline_repeats_without_end_and_without_drift() -> None:
    timeline = Timeline([EventTable(at_s=1, every_s=10, action="restart")])
    for turn in range(50):
        at_ms = 1_000 + 10_000 * turn
        assert timeline.take(at_ms - 1) is None
        found = timeline.take(at_ms + 3)
        assert found is not None
        assert found.done == turn + 1
    assert timeline.next_ms == 501_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('at_s = 1\nevery_s = 0\naction = "restart"', "every_s is not above 0"),
        ('at_s = 1\ntimes = 3\naction = "restart"', "times needs every_s"),
        ('at_s = -1\naction = "restart"', "at_s: expected a number 0..31622400"),
        ("at_s = 1", "key 'action' is missing"),
        ('at_s = 1\naction = "restart"\ndown_s = 3', "unknown key 'down_s'"),
    ],
)
def test_event_without_meaning_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = write_bench(tmp_path)
    path.write_text(f"{SCENARIO}[[event]]\n{text}\n")
    with pytest.raises(ConfigProblemsError, match=reason):
        load_scenario(path)
