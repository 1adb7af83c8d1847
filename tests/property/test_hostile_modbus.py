"""Modbus devices that lie: nothing late or mixed becomes a fingerprint, and no lie brings the driver down."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings

from agent.model import Reading
from firmware_sim.contents import artefact
from rules.fingerprint import fingerprint
from tests.fuzz.hostile import RETRIES, Outcome, read
from tests.fuzz.lies import Lie
from tests.fuzz.lying_modbus import LATE_MS, LIES, LINK_LIES, LyingModbus
from tests.fuzz.virtual import Refused
from tests.property.scripts import greetings, lies
from tests.unit.firmware_sim.bench import device

pytestmark = pytest.mark.property

CONTENTS = {
    "firmware": hashlib.shake_128(b"firmware").digest(20_300),
    "strategy": hashlib.shake_128(b"strategy").digest(701),
}
HONEST = device(artefact("firmware", "1.0.0", CONTENTS["firmware"]), artefact("strategy", "7", CONTENTS["strategy"]))


def outcome_of(script: list[Lie], greeted: list[bytes | Refused], retries: int = RETRIES) -> Outcome:
    return read("modbus", "stability-control-modbus", LyingModbus(HONEST, script, greeted), retries)


def assert_is_the_device(reading: Reading) -> None:
    """The reading says what an honest device would have said, or says that it is not whole."""
    assert reading.identity.vendor == HONEST.identity.vendor
    assert reading.identity.serial == HONEST.identity.serial
    assert [(part.kind, part.size) for part in reading.listed] == [
        (kind, len(content)) for kind, content in CONTENTS.items()
    ]
    for part in reading.files:
        content = CONTENTS[part.kind]
        if not part.errors:
            assert part.digest == fingerprint(content)
        else:
            assert part.digest == fingerprint(content[: part.digest.size])
            assert part.digest.size < len(content)


# holds PF-7
@settings(max_examples=150, deadline=None)
@given(lies(sorted(LINK_LIES), 30), greetings)
def test_reading_under_lies_of_the_link_is_of_the_device_or_an_error(
    script: list[Lie], greeted: list[bytes | Refused]
) -> None:
    outcome = outcome_of(script, greeted)
    assert (outcome.reading is None) != (outcome.error is None)
    if outcome.reading is not None:
        assert_is_the_device(outcome.reading)


@settings(max_examples=150, deadline=None)
@given(lies(sorted(LIES), 30), greetings)
def test_device_that_lies_about_everything_gives_a_reading_or_an_error(
    script: list[Lie], greeted: list[bytes | Refused]
) -> None:
    outcome = outcome_of(script, greeted)
    assert (outcome.reading is None) != (outcome.error is None)


@pytest.mark.parametrize("at", [1, 2, 3, 20, 60])
@pytest.mark.parametrize("kind", ["late", "twice", "twice-in-one", "stale", "stale-alone"])
def test_late_or_mixed_answer_is_never_content(kind: str, at: int) -> None:
    """At every place of a read, in a device that answers well otherwise, the read starts anew and is whole."""
    outcome = outcome_of([Lie("honest")] * at + [Lie(kind)], [])
    assert outcome.error is None
    assert outcome.reading is not None
    assert_is_the_device(outcome.reading)
    assert all(not part.errors for part in outcome.reading.files)
    connections = len(outcome.tape.sent)
    assert connections == 2, "the connection that mixed something up is given up"
    if kind == "late":
        assert outcome.took_ms < LATE_MS + 2_000


def test_honest_device_is_read_whole_over_one_connection() -> None:
    outcome = outcome_of([], [])
    assert outcome.reading is not None
    assert_is_the_device(outcome.reading)
    assert len(outcome.tape.sent) == 1


@pytest.mark.parametrize("kind", sorted(set(LINK_LIES) - {"honest", "slow", "split"}))
def test_lie_that_never_ends_is_an_error_that_says_what_it_is(kind: str) -> None:
    outcome = outcome_of([Lie(kind, 3, b"\x00\x01")] * 2_000, [])
    assert outcome.reading is None
    assert outcome.error is not None
    assert outcome.error.reason != "defect"


def test_driver_that_did_not_look_at_headers_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The properties have teeth: with this defect planted, a late answer becomes content, and they say so."""
    monkeypatch.setattr("agent.drivers.modbus_link.Link._header_problem", lambda *_: None)
    outcome = outcome_of([Lie("honest")] * 20 + [Lie("stale-alone")], [])
    assert outcome.reading is not None
    with pytest.raises(AssertionError):
        assert_is_the_device(outcome.reading)
