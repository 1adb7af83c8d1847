from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from client.demo.pilot import plan_errors
from client.demo.story import Detection, Result
from client.demo.tampering import DEMO_TAMPERING, Expected, Tampering, differences
from client.demo.topology import DEMO, MEMBERS

DUE = Expected("a", "mismatch", ("firmware",))


def alarm(device: str = "a", cause: str = "mismatch", state: str = "raised", kind: str = "firmware") -> dict[str, Any]:
    return {"device": device, "cause": cause, "state": state, "artefacts": [{"kind": kind}]}


def test_demo_tampers_with_five_devices_of_nine() -> None:
    due = [expected for step in DEMO_TAMPERING for expected in step.expected]
    assert len(DEMO.devices) == 9
    assert len({expected.device for expected in due}) == len(due) == 5
    assert sorted(expected.cause for expected in due) == [
        "misfilled",
        "misfilled",
        "mismatch",
        "mismatch",
        "superseded",
    ]


def test_demo_swaps_devices_of_different_models() -> None:
    models = {device.id: device.model for device in DEMO.devices}
    swap = next(step for step in DEMO_TAMPERING if step.action["action"] == "swap")
    assert models[swap.device] != models[str(swap.action["with"])]


def test_pilot_makes_ten_errors_of_six_causes_and_leaves_one_device_of_nine_alone() -> None:
    errors = plan_errors(DEMO, Path)
    due = [expected for step in errors for expected in step.expected]
    assert len(errors) == 10
    assert {device.id for device in DEMO.devices} - {expected.device for expected in due} == {"linden-sc-2"}
    assert len({(expected.device, expected.cause) for expected in due}) == len(due) == 11
    causes = {"altered_between_polls", "identity_changed", "incomplete", "misfilled", "mismatch", "superseded"}
    assert {expected.cause for expected in due} == causes


@pytest.mark.parametrize(
    ("action", "change", "said"),
    [
        ({"fault": "wrong-identity"}, {}, "d gives another serial number"),
        ({"action": "truncate", "artefact": "strategy", "size": 9}, {}, "the strategy of d ends after 9 bytes"),
        (
            {"action": "change-back"},
            {"number": 3, "name": "Delay", "old_value": "2", "unit": "s"},
            "setting 3 (Delay) of d: another value, then 2 s again",
        ),
        (
            {"action": "upgrade"},
            {"artefact": "firmware", "old_version": "1", "new_version": "2"},
            "d takes other files: firmware 1 -> 2",
        ),
    ],
)
def test_disturbance_is_described_by_what_the_simulator_answers(
    action: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    assert Tampering("t", "d", action, (DUE,)).describe([change]) == said


def test_differences_of_the_right_alarms_are_none() -> None:
    assert differences([alarm()], [DUE]) == ([], 0)


@pytest.mark.parametrize(
    ("alarms", "unexpected", "said"),
    [
        ([], 0, "a has 0 alarms of mismatch, one is due"),
        ([alarm(), alarm()], 1, "a has 2 alarms of mismatch, one is due"),
        ([alarm(), alarm("b")], 1, "b has an alarm of mismatch that nothing explains"),
        ([alarm(), alarm(cause="incomplete", state="returned")], 1, "a has an alarm of incomplete"),
        ([alarm(state="returned")], 0, "the alarm of a is returned"),
        ([alarm(kind="settings")], 0, "the alarm of a lists settings; firmware are due"),
    ],
)
def test_differences_of_wrong_alarms_are_named(alarms: list[dict[str, Any]], unexpected: int, said: str) -> None:
    found, counted = differences(alarms, [DUE])
    assert counted == unexpected
    assert any(sentence.startswith(said) for sentence in found)


def test_summary_takes_the_last_node_of_each_alarm() -> None:
    times = [(100, 200, 300, 400), (150, 160, 170, 180), (900, 800, 700, 600)]
    detections = [Detection(DUE, dict(zip(MEMBERS, row, strict=True))) for row in times]
    result = Result(detections, alarms=3, false_alarms=0, nodes=4)
    assert result.summary() == {
        "alarms": 3,
        "false_alarms": 0,
        "nodes": 4,
        "detect_ms_p50": 400,
        "detect_ms_max": 900,
    }
