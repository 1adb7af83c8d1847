"""Contract consistency: how severe an alarm is, and floods of alarms."""

from __future__ import annotations

import pytest

from master.contracts.parameters import check_parameters
from tests.unit.contracts.operators import Watch
from tests.unit.contracts.reports import artefact, entry, evidence, item, make_effective, release, send
from tests.unit.contracts.test_alarms import BAD, WORSE
from wire.cbor import Value
from wire.errors import FormatError
from wire.genesis import Device

# severity


# holds AL-9
def test_severity_is_decided_anew_with_every_change_and_by_the_consortium() -> None:
    watch = Watch({"alarm_severities": ["mismatch low"]})
    settings = item(settings=b"evil")
    watch.read(settings)
    assert watch.alarm()["severity"] == "low"
    watch.read(WORSE)
    assert watch.alarm()["severity"] == "medium"
    plain = Watch()
    by_word = artefact("settings", b"evil", method="relayed-file")
    rest = [one for one in item().artefacts if one.kind != "settings"]
    plain.read(item(artefacts=[by_word, *rest]))
    assert plain.alarm()["severity"] == "medium"


@pytest.mark.parametrize(
    "value",
    ["mismatch low", ["mismatch"], ["mismatch worst"], ["b low", "a low"], ["a low", "a high"], [1], ["a low"] * 33],
)
def test_severities_of_another_form_are_refused(value: Value) -> None:
    with pytest.raises(FormatError, match="alarm_severities"):
        check_parameters({"alarm_severities": value})


# floods


def _devices(count: int) -> tuple[Device, ...]:
    return tuple(Device(f"dev-{number:02}", "gw-1", "maker-a", "SC-2", "") for number in range(count))


# holds AL-10
def test_alarms_of_one_cause_and_area_within_minutes_are_one_group_that_is_told_once() -> None:
    watch = Watch({"alarm_flood_alarms": 3}, _devices(5))
    told = [watch.read(BAD, f"dev-{number:02}") for number in range(5)]
    alarms = [watch.alarm(f"dev-{number:02}") for number in range(5)]
    assert {alarm["group"] for alarm in alarms} == {alarms[0]["alarm_id"]}
    assert len({alarm["alarm_id"] for alarm in alarms}) == 5
    floods = [flood for done in told for flood in done.events("alarm_flood")]
    assert floods == [
        {
            "group": alarms[0]["alarm_id"],
            "first_ms": alarms[0]["raised_ms"],
            "alarms": 3,
            "cause": "mismatch",
        }
    ]
    assert told[2].events("alarm_flood") == floods


# holds AL-10
def test_group_ends_by_block_time_and_other_causes_have_their_own() -> None:
    watch = Watch({"alarm_flood_ms": 2000}, _devices(4))
    for number in range(4):
        watch.read(BAD, f"dev-{number:02}")
    groups = [watch.alarm(f"dev-{number:02}")["group"] for number in range(4)]
    assert groups[0] == groups[1] == groups[2] != groups[3]
    watch.read(item(artefacts=[]), "dev-00")
    assert watch.alarm("dev-00", "missing")["group"] == watch.alarm("dev-00", "missing")["alarm_id"]


# holds AL-10
def test_one_release_that_is_wrong_gives_one_flood_in_one_transaction() -> None:
    watch = Watch(devices=_devices(12))
    entries = [entry(f"dev-{number:02}", item()) for number in range(12)]
    send(watch.world, evidence(*entries, pair=(1, 99)))
    done = make_effective(watch.world, release("r-2", firmware=b"never seen"))
    assert len(done.events("alarm_raised")) == 12
    assert [flood["alarms"] for flood in done.events("alarm_flood")] == [10]


def test_alarm_that_comes_and_goes_counts_once_in_its_group() -> None:
    watch = Watch({"alarm_flood_alarms": 2})
    for content in (BAD, item(), BAD, item(), BAD):
        assert not watch.read(content).events("alarm_flood")
    assert watch.alarm()["count"] == 3
