"""IEDs and children that fail, lie or are busy."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from agent.drivers.errors import DeviceBusyError, DeviceProtocolError, DeviceUnreachableError
from agent.drivers.mms import MmsDriver
from agent.drivers.mms_link import DEAD, NO_ROOM, ChildError
from kit.clock import FakeClock
from tests.unit.agent.bench import NOW_MS, device_config
from tests.unit.agent.iedbench import FakeIed
from tests.unit.agent.mms_reads import read, refusal, relay

# --- failures -----------------------------------------------------------------------------------------------------


def lost() -> ChildError:
    return ChildError("lost", "answers connection-lost")


# holds MM-6
@pytest.mark.parametrize("call", ["connect", "domains", "value", "files", "fetch", "tree", "items", "start"])
@pytest.mark.parametrize("fault", ["lost", "child-crash", "child-hang", "child-odd", "child-start"])
def test_failure_is_followed_by_a_new_child_and_association(ied: FakeIed, call: str, fault: str) -> None:
    ied.raises[call] = [ChildError(fault, "fails"), ChildError(fault, "fails")]
    assert len(read(retries=2).files) == 3
    assert len(ied.children) == (1 if call == "start" else 3)
    assert not any(child.is_alive for child in ied.children)


# holds MM-6
@pytest.mark.parametrize("fault", ["lost", "unreachable", *DEAD])
def test_device_that_ends_every_child_is_unreachable(ied: FakeIed, fault: str) -> None:
    ied.raises["fetch"] = [ChildError(fault, "fails") for _ in range(3)]
    error = refusal(DeviceUnreachableError, "fails", retries=2)
    assert (error.reason, error.status, error.exit_code) == (fault, "unreachable", 69)


@pytest.mark.parametrize("fault", ["limit", "missing", "odd", "refused", "scl"])
def test_device_that_answers_wrongly_is_a_protocol_error(ied: FakeIed, fault: str) -> None:
    ied.raises["fetch"] = [ChildError(fault, "is wrong")]
    error = refusal(DeviceProtocolError, "is wrong")
    assert (error.reason, error.status, error.exit_code) == (fault, "protocol-error", 65)


# holds MM-10
def test_gateway_without_room_for_a_file_makes_no_short_read_of_it(ied: FakeIed) -> None:
    ied.raises["room"] = [ChildError(NO_ROOM, "no room left")]
    assert refusal(DeviceUnreachableError, "no room left").reason == NO_ROOM
    assert all(call != "fetch" for call, _ in ied.asked)


def test_busy_device_is_asked_again_and_then_given_up(ied: FakeIed) -> None:
    busy = ChildError("busy", "answers file-busy")
    ied.raises["fetch"] = [busy, busy]
    assert len(read().files) == 3
    ied.raises["fetch"] = [busy, busy, busy]
    assert refusal(DeviceBusyError, "file-busy").exit_code == 75


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("domains", "BAY1LD0"),
        ("domains", [b"BAY1LD0"]),
        ("value", None),
        ("value", ["float", b"\0\0\0\0"]),
        ("value", ["integer", True]),
        ("files", [["firmware.bin", 5, 0]]),
        ("files", [[b"firmware.bin", -1, 0]]),
        ("files", {}),
        ("items", [7]),
        ("tree", [["NumOfSG", 2]]),
        ("tree", [["NumOfSG", "integer", True], ["ActSG", "integer", 1]]),
        ("tree", [["NumOfSG", "text", b"2"], ["ActSG", "integer", 1]]),
        ("fetch", b"5"),
    ],
)
# holds MM-3
def test_answer_of_another_form_is_refused(ied: FakeIed, call: str, answer: object) -> None:
    ied.answers[call] = answer  # type: ignore[assignment]
    error = refusal(DeviceProtocolError, "")
    assert error.reason in {"child-odd", "wrong-length"}


def test_cancelled_read_ends_its_child_when_the_driver_is_closed(ied: FakeIed) -> None:
    config = device_config(1, protocol="mms", profile="relay-61850")
    driver = MmsDriver(dataclasses.replace(config, host="127.0.0.1"), relay(), FakeClock(NOW_MS))
    asyncio.run(driver.read())
    assert ied.children[0].is_alive
    asyncio.run(driver.close())
    assert not ied.children[0].is_alive


def test_name_without_an_address_is_unreachable(ied: FakeIed) -> None:
    config = device_config(1, protocol="mms", profile="relay-61850", retries=0)
    driver = MmsDriver(dataclasses.replace(config, host="no-such-host.invalid"), relay(), FakeClock(NOW_MS))
    with pytest.raises(DeviceUnreachableError, match="no IPv4 address under the name"):
        asyncio.run(driver.read())
