"""IEC 60870-5-104 stations that lie: nothing late or mixed becomes a fingerprint, and no lie brings the driver down."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings

from agent.model import Reading
from firmware_sim.contents import artefact
from firmware_sim.device import Device
from firmware_sim.files.setting_list import setting_list
from rules.fingerprint import fingerprint
from tests.fuzz.hostile import RETRIES, Outcome, read
from tests.fuzz.lies import Lie
from tests.fuzz.lying_iec104 import LIES, LINK_LIES, LyingStation
from tests.fuzz.virtual import Refused
from tests.property.scripts import greetings, lies
from tests.unit.firmware_sim.bench import device

pytestmark = pytest.mark.property

CONTENTS = {
    "firmware": hashlib.shake_128(b"firmware").digest(1_900),
    "settings": setting_list("x"),
    "strategy": hashlib.shake_128(b"strategy").digest(701),
}


def bay() -> Device:
    return device(*(artefact(kind, "1.0.0", content) for kind, content in CONTENTS.items()))


HONEST = bay()


def outcome_of(script: list[Lie], greeted: list[bytes | Refused], retries: int = RETRIES) -> Outcome:
    return read("iec104", "stability-control-104", LyingStation(bay(), script, greeted), retries)


def assert_is_the_device(reading: Reading) -> None:
    """The reading says what an honest device would have said, or says that it is not whole."""
    assert reading.identity.vendor == HONEST.identity.vendor
    assert reading.identity.serial == HONEST.identity.serial
    assert [(part.kind, part.size) for part in reading.listed] == [
        (kind, len(content)) for kind, content in sorted(CONTENTS.items())
    ]
    for part in reading.files:
        content = CONTENTS[part.kind]
        if not part.errors:
            assert part.digest == fingerprint(content)
        else:
            assert part.digest.size < len(content)


@settings(max_examples=120, deadline=None)
@given(lies(sorted(LINK_LIES), 60), greetings)
def test_reading_of_a_station_under_lies_of_the_link_is_of_the_device_or_an_error(
    script: list[Lie], greeted: list[bytes | Refused]
) -> None:
    outcome = outcome_of(script, greeted)
    assert (outcome.reading is None) != (outcome.error is None)
    if outcome.reading is not None:
        assert_is_the_device(outcome.reading)


@settings(max_examples=120, deadline=None)
@given(lies(sorted(LIES), 60), greetings)
def test_station_that_lies_about_everything_gives_a_reading_or_an_error(
    script: list[Lie], greeted: list[bytes | Refused]
) -> None:
    outcome = outcome_of(script, greeted)
    assert (outcome.reading is None) != (outcome.error is None)


@pytest.mark.parametrize("at", [0, 1, 3, 9, 15, 25, 40])
@pytest.mark.parametrize("kind", sorted(set(LINK_LIES) - {"honest", "slow", "split"}))
def test_station_that_lies_once_is_read_whole_or_not_at_all(kind: str, at: int) -> None:
    outcome = outcome_of([Lie("honest")] * at + [Lie(kind, 3)], [])
    if outcome.reading is not None:
        assert_is_the_device(outcome.reading)
        assert all(not part.errors for part in outcome.reading.files)


def test_honest_station_is_read_whole() -> None:
    outcome = outcome_of([], [])
    assert outcome.error is None
    assert outcome.reading is not None
    assert_is_the_device(outcome.reading)
    assert [part.method for part in outcome.reading.files] == ["full-file"] * 3


@pytest.mark.parametrize("kind", sorted(set(LINK_LIES) - {"honest", "slow", "split", "u-frame", "twice", "header"}))
def test_lie_of_a_station_that_never_ends_is_an_error_that_says_what_it_is(kind: str) -> None:
    outcome = outcome_of([Lie(kind, 3, b"\x00\x01")] * 5_000, [])
    assert outcome.reading is None
    assert outcome.error is not None
    assert outcome.error.reason != "defect"


class _Agreeable(int):
    """A sum that every checksum equals."""

    def __and__(self, _: object) -> _Agreeable:
        return self

    __add__ = __radd__ = __and__

    def __eq__(self, _: object) -> bool:
        return True

    def __ne__(self, _: object) -> bool:
        return False

    __hash__ = int.__hash__


def test_driver_that_did_not_look_at_checksums_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The properties have teeth: with this defect planted, damage becomes a fingerprint, and they say so."""
    monkeypatch.setattr("wire.iec104.fileread.sum", lambda _: _Agreeable(), raising=False)
    outcome = outcome_of([Lie("damaged", 3)] * 5_000, [])
    assert outcome.reading is not None
    with pytest.raises(AssertionError):
        assert_is_the_device(outcome.reading)
