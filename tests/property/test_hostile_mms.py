"""IEC 61850 devices that lie: whatever comes through the child's pipe is a reading of the device or a typed error."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given, settings

from agent.drivers import mms
from agent.model import DeviceFile, Reading
from rules.fingerprint import fingerprint
from tests.fuzz.hostile import RETRIES, Outcome, read
from tests.fuzz.lies import Lie
from tests.fuzz.lying_mms import FAULTS, LIES, LINK_LIES, LyingMms
from tests.fuzz.virtual import Refused
from tests.property.scripts import lies
from tests.unit.agent.iedbench import FakeIed

pytestmark = pytest.mark.property

HONEST = FakeIed()
CONTENTS = {"firmware": HONEST.files["/firmware.bin"], "strategy": HONEST.files["/strategy.csv"]}
CALLS = 20
"""Of one honest read, and some more."""


def outcome_of(script: list[Lie], retries: int = RETRIES) -> Outcome:
    with mock.patch.object(mms, "start_child", LyingMms(script).start):
        return read("mms", "relay-61850", lambda: Refused(is_silent=False), retries)


SETTINGS = next(part for part in outcome_of([]).reading.files if part.kind == "settings")  # type: ignore[union-attr]


def assert_is_the_device(reading: Reading) -> None:
    """The reading says what an honest device would have said, or says that it is not whole."""
    assert (reading.identity.vendor, reading.identity.serial) == ("Sample Vendor", "SN-1")
    assert [part.kind for part in reading.listed] == ["firmware", "settings", "strategy"]
    assert reading.revision == HONEST.param_rev[0]
    for part in reading.files:
        if part.kind == "settings":
            assert (part.digest, part.errors) == (SETTINGS.digest, ())
        elif not part.errors:
            assert part.digest == fingerprint(CONTENTS[part.kind])
        else:
            assert part.digest == fingerprint(CONTENTS[part.kind][: part.digest.size])
            assert part.digest.size < len(CONTENTS[part.kind])


# holds MM-3 MM-6
@settings(max_examples=150, deadline=None)
@given(lies(sorted(LINK_LIES), 30))
def test_reading_of_an_ied_under_failures_is_of_the_device_or_an_error(script: list[Lie]) -> None:
    outcome = outcome_of(script)
    assert (outcome.reading is None) != (outcome.error is None)
    if outcome.reading is not None:
        assert_is_the_device(outcome.reading)


# holds MM-3
@settings(max_examples=200, deadline=None)
@given(lies(sorted(LIES), 40))
def test_ied_that_lies_about_everything_gives_a_reading_or_an_error(script: list[Lie]) -> None:
    outcome = outcome_of(script)
    assert (outcome.reading is None) != (outcome.error is None)


@pytest.mark.parametrize("fault", range(len(FAULTS)))
@pytest.mark.parametrize("at", range(0, CALLS, 3))
def test_failure_at_any_place_of_a_read_is_followed_by_a_whole_one_or_a_typed_error(at: int, fault: int) -> None:
    outcome = outcome_of([Lie("honest")] * at + [Lie("fault", fault)])
    assert outcome.error is None
    assert outcome.reading is not None
    assert_is_the_device(outcome.reading)
    assert all(not part.errors for part in outcome.reading.files)
    outcome = outcome_of([Lie("honest")] * at + [Lie("fault", fault)] * 500)
    assert outcome.error is not None
    assert outcome.error.reason == FAULTS[fault]


def test_driver_that_took_what_is_short_for_whole_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The properties have teeth: with this defect planted, a part of a file is taken for the file, and they say so."""
    script = [Lie("short", 1)] * 40
    reading = outcome_of(script).reading
    assert reading is not None
    assert_is_the_device(reading)

    def unmarked(**fields: object) -> DeviceFile:
        return DeviceFile(**{**fields, "errors": ()})  # type: ignore[arg-type]

    monkeypatch.setattr("agent.drivers.mms.DeviceFile", unmarked)
    reading = outcome_of(script).reading
    assert reading is not None
    with pytest.raises(AssertionError):
        assert_is_the_device(reading)
