"""Reads a lying device, and judges what came of it: the same rules for every protocol.

What must hold, whatever the device does: the read ends, within the waits that its requests may take; it ends with a
`Reading` or with a `DeviceError` that names the device and says what was wrong in one sentence; nothing is taken from a
connection after it was given up.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Final, NamedTuple

from agent.drivers.errors import DeviceError
from agent.drivers.table import DRIVERS, load_profiles
from agent.model import DeviceConfig, Reading
from tests.fuzz.virtual import Listener, Tape, VirtualLoop, run
from wire.cbor import check_text
from wire.evidence import ERROR_CODES, KINDS, METHODS

PROFILES: Final = load_profiles()
DEVICE: Final = "ied-7"
TIMEOUT_MS: Final = 100
RETRIES: Final = 2
PAUSE_MS_MAX: Final = 5_200
"""Longest that a driver waits of its own accord: the last repeat to a busy device, and the pause before a retry."""
SENTENCE_MAX: Final = 400


class Outcome(NamedTuple):
    """What came of one read."""

    reading: Reading | None
    error: DeviceError | None
    tape: Tape
    took_ms: int


class BrokenRuleError(AssertionError):
    """A driver did what no device may make it do."""


_PORTS: Final = itertools.cycle(range(1, 65_536))


def config(protocol: str, profile: str, retries: int = RETRIES) -> DeviceConfig:
    """Describe the lying device; each has a port of its own, since a driver may remember when it left an address."""
    return DeviceConfig(
        id=DEVICE,
        protocol=protocol,
        profile=profile,
        host="127.0.0.1",
        port=next(_PORTS),
        timeout_ms=TIMEOUT_MS,
        retries=retries,
    )


def read(protocol: str, profile: str, listener: Listener, retries: int = RETRIES) -> Outcome:
    """Read a device once; what a driver raises besides a `DeviceError` goes through.

    Raises:
        HangError: The read can never end.
        BrokenRuleError: See the module.
    """

    async def work(loop: VirtualLoop) -> Outcome:
        driver = DRIVERS[protocol].open(config(protocol, profile, retries), PROFILES[profile], loop)
        begin_ms = loop.now_ms()
        reading, failure = None, None
        try:
            reading = await driver.read()
        except DeviceError as error:
            failure = error
        end_ms = loop.now_ms()
        await driver.close()
        return Outcome(reading, failure, loop.tape, end_ms - begin_ms)

    outcome = run(listener, work)
    _check_time(outcome)
    if outcome.error is not None:
        check_error(outcome.error)
    if outcome.reading is not None:
        check_reading(outcome.reading)
    return outcome


def _check_time(outcome: Outcome) -> None:
    """No wait is longer than the timeout, and none comes without a request or a connection."""
    tape = outcome.tape
    waits = len(tape.writes) + RETRIES + 1
    if outcome.took_ms > waits * (TIMEOUT_MS + PAUSE_MS_MAX):
        raise BrokenRuleError(f"the read took {outcome.took_ms} ms with {waits} waits of {TIMEOUT_MS} ms")


def check_error(error: DeviceError, device: str = DEVICE) -> None:
    """Refuse an error that does not name the device and say in one sentence what was wrong.

    Raises:
        BrokenRuleError: With that.
    """
    sentence = str(error)
    if error.device != device or not sentence.startswith(f"device {device}: "):
        raise BrokenRuleError(f"the error does not name the device: {sentence}")
    if not error.detail or not error.reason or len(sentence) > SENTENCE_MAX or not sentence.isprintable():
        raise BrokenRuleError(f"the error does not say in a sentence what was wrong: {sentence!r:.500}")


def check_reading(reading: Reading, device: str = DEVICE) -> None:
    """Refuse a reading that evidence cannot hold, whatever the device says of itself.

    Raises:
        BrokenRuleError: With what does not fit.
        CborError: It holds a text that evidence cannot.
    """
    if reading.device != device or reading.read_to_ms < reading.read_from_ms:
        raise BrokenRuleError("the reading is of another device, or of no time")
    texts = [getattr(reading.identity, name) for name in ("vendor", "product", "revision", "serial", "model")]
    for part in reading.files:
        if part.kind not in KINDS or part.method not in METHODS or not set(part.errors) <= set(ERROR_CODES):
            raise BrokenRuleError(f"a file that no evidence can hold: {part}")
        texts += [part.name, part.version]
    for text in texts:
        check_text(text)


def short(reasons: Iterable[DeviceError | None]) -> set[str]:
    """Give the reasons of errors."""
    return {error.reason for error in reasons if error is not None}
