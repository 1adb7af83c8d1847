"""A device that lies: the driver ends in time, with the true fingerprint or with an error that names it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.drivers.errors import DeviceError
from agent.drivers.modbus import ModbusDriver
from agent.model import Reading
from firmware_sim.contents import artefact
from firmware_sim.modbus.framing import encode_frame
from firmware_sim.modbus.pdu import answer as answer_of
from firmware_sim.modbus.unit import Unit
from rules.fingerprint import fingerprint
from tests.unit.agent.bench import PROFILE, lying, with_driver
from tests.unit.firmware_sim.bench import device

CONTENT = bytes(range(251)) * 6
HEADER_BYTES = 9
"""Transaction, protocol, length, unit, function, byte count: what tells whose answer a frame is, and how long."""
TIMEOUT_MS = 60
READ_S_MAX = 10.0

Action = Callable[[bytes, bytes], "list[bytes] | None"]
"""The right answer, and that to the request before -> pieces to send, None to close the connection."""


def right_one(right: bytes, before: bytes) -> list[bytes]:
    return [right]


def flip(place: int, bit: int) -> Action:
    def act(right: bytes, before: bytes) -> list[bytes]:
        changed = bytearray(right)
        changed[place] ^= 1 << bit
        return [bytes(changed)]

    return act


actions: st.SearchStrategy[Action] = st.one_of(
    st.just(right_one),
    st.builds(flip, st.integers(0, HEADER_BYTES - 1), st.integers(0, 7)),
    st.integers(0, 40).map(lambda size: lambda right, before: [right[:size]]),
    st.integers(1, 40).map(lambda size: lambda right, before: [right[:size], right[size:]]),
    st.binary(min_size=1, max_size=20).map(lambda extra: lambda right, before: [right + extra]),
    st.binary(min_size=1, max_size=300).map(lambda garbage: lambda right, before: [garbage]),
    st.just(lambda right, before: [before]),
    st.just(lambda right, before: [right, before]),
    st.just(lambda right, before: [right, right]),
    st.just(lambda right, before: []),
    st.just(lambda right, before: None),
)


class Liar:
    """Answers rightly but where the plan says otherwise."""

    def __init__(self, plan: Sequence[Action]) -> None:
        self._plan = list(plan)
        self._unit = Unit(device(artefact("firmware", "1", CONTENT)))
        self._before = b""

    def __call__(self, request: bytes) -> list[bytes] | None:
        right = encode_frame(int.from_bytes(request[:2], "big"), request[6], answer_of(self._unit, request[7:]))
        before, self._before = self._before, right
        action = self._plan.pop(0) if self._plan else right_one
        return action(right, before)


async def outcome(plan: Sequence[Action], retries: int) -> Reading | DeviceError:
    found: list[Reading | DeviceError] = []

    async def read(driver: ModbusDriver) -> None:
        try:
            found.append(await driver.read())
        except DeviceError as error:
            found.append(error)

    async with asyncio.timeout(READ_S_MAX), lying(Liar(plan)) as port:
        await with_driver(port, read, retries=retries, timeout_ms=TIMEOUT_MS)
    return found[0]


# holds PF-7
@settings(max_examples=60)
@given(
    st.integers(0, 8),
    st.lists(actions, min_size=1, max_size=6),
    st.integers(0, 2),
)
def test_read_of_a_lying_device_gives_the_true_fingerprint_or_an_error_that_names_it(
    honest: int, plan: list[Action], retries: int
) -> None:
    found = asyncio.run(outcome([right_one] * honest + plan, retries))
    if isinstance(found, DeviceError):
        assert found.device == "dev-a"
        assert str(found).startswith("device dev-a: ")
        assert found.reason
    else:
        assert [part.digest for part in found.files] == [fingerprint(CONTENT)]
        assert found.files[0].errors == ()
        assert found.identity.vendor == "Northgrid Controls"


def test_profile_of_the_property_reads_an_honest_device() -> None:
    assert isinstance(asyncio.run(outcome([], 0)), Reading)
    assert PROFILE.protocol == "modbus"
