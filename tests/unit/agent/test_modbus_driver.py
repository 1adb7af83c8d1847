"""The driver against the simulated device, which shares no code with it, and against its faults."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from dataclasses import replace

import pytest

from agent.drivers.errors import DeviceBusyError, DeviceError, DeviceProtocolError, DeviceUnreachableError
from agent.drivers.modbus import ModbusDriver
from agent.drivers.modbus_files import FILE_BYTES_MAX
from agent.model import Reading
from agent.profile import Pacing, Profile
from firmware_sim.contents import Artefact, Contents, artefact
from firmware_sim.device import Device
from firmware_sim.faults import Fault
from firmware_sim.modbus.unit import Unit
from kit.clock import FakeClock
from rules.fingerprint import fingerprint
from tests.unit.agent.bench import NOW_MS, PROFILE, device_config, served, with_driver
from tests.unit.firmware_sim.bench import IDENTITY, device

FIRMWARE = bytes(range(256)) * 170 + b"odd"


@pytest.fixture(autouse=True)
def _no_pause_before_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.drivers.modbus._RETRY_PAUSE_MS", 0)


def content_of(size: int) -> bytes:
    return hashlib.shake_128(size.to_bytes(8, "big")).digest(size)


def read_once(
    simulated: Unit | Device, kinds: frozenset[str] | None = None, *, profile: Profile = PROFILE, **changes: object
) -> Reading:
    async def work() -> Reading:
        async with served(simulated) as port:
            driver = ModbusDriver(device_config(port, **changes), profile, FakeClock(NOW_MS))
            try:
                return await driver.read(kinds)
            finally:
                await driver.close()

    return asyncio.run(work())


def test_read_gives_identity_and_every_byte_of_every_file() -> None:
    contents = {
        "firmware": FIRMWARE,
        "strategy": content_of(20_000),
        "settings": b"1,Frequency,50.00,Hz,49.00,51.00\n",
    }
    made = [artefact("firmware", "2.1.0", contents["firmware"]), artefact("strategy", "7", contents["strategy"])]
    found = read_once(device(*made))
    assert found.identity.vendor == IDENTITY.vendor
    assert found.identity.product == IDENTITY.product
    assert found.identity.model == IDENTITY.model
    assert found.identity.serial == IDENTITY.serial
    assert found.identity.revision == "2.1.0"
    assert [(part.kind, part.version) for part in found.files] == [("firmware", "2.1.0"), ("strategy", "7")]
    for part in found.files:
        assert part.digest == fingerprint(contents[part.kind])
        assert part.size == len(contents[part.kind])
        assert (part.method, part.errors) == ("full-file", ())


@pytest.mark.parametrize("size", [1, 2, 241, 242, 243, 19_999, 20_000, 20_001, 40_000, 65_536, 65_537])
def test_file_of_any_size_gives_the_fingerprint_of_its_bytes(size: int) -> None:
    found = read_once(device(artefact("firmware", "1", content_of(size))))
    assert found.files[0].digest == fingerprint(content_of(size))


def test_empty_file_gives_the_digest_of_nothing() -> None:
    empty = Artefact("strategy", "1", b"", 0)
    found = read_once(device(artefact("firmware", "1", b"x"), empty))
    assert {part.kind: part.digest for part in found.files}["strategy"] == fingerprint(b"")


@pytest.mark.parametrize("held", [0, 2, 240, 242, 244, 20_000, 20_002, 29_998])
def test_file_that_ends_early_is_read_to_its_last_register_and_marked(held: int) -> None:
    whole = content_of(30_000)
    cut = Artefact("firmware", "1", whole[:held], len(whole))
    part = read_once(device(cut)).files[0]
    assert part.errors == ("short-read",)
    assert part.size == len(whole)
    assert part.digest == fingerprint(whole[:held])


def test_flipped_byte_changes_the_fingerprint_though_directory_and_identity_stay() -> None:
    flipped = bytearray(FIRMWARE)
    flipped[31_337] ^= 1
    before = read_once(device(artefact("firmware", "1", FIRMWARE)))
    after = read_once(device(artefact("firmware", "1", bytes(flipped))))
    assert before.listed == after.listed
    assert before.identity == after.identity
    assert before.files[0].digest.sha256 != after.files[0].digest.sha256


def test_read_of_some_kinds_lists_all_files_and_reads_only_those() -> None:
    simulated = device(artefact("firmware", "1", FIRMWARE), artefact("strategy", "1", b"fault,action"))
    found = read_once(simulated, frozenset({"strategy"}))
    assert [part.kind for part in found.listed] == ["firmware", "strategy"]
    assert [part.kind for part in found.files] == ["strategy"]


def test_connection_is_kept_between_reads() -> None:
    simulated = device()

    async def work() -> int:
        async with served(simulated) as port:

            async def twice(driver: ModbusDriver) -> None:
                await driver.read()
                await driver.read()

            return (await with_driver(port, twice)).counters.connections

    assert asyncio.run(work()) == 1


def test_connection_that_was_lost_between_reads_is_made_again_without_a_retry() -> None:
    simulated = device()

    async def work() -> None:
        async with served(simulated) as port:

            async def around_a_fault(driver: ModbusDriver) -> None:
                await driver.read()
                assert driver._line.link is not None
                driver._line.link.abort()
                await driver.read()

            await with_driver(port, around_a_fault, retries=0)

    asyncio.run(work())
    assert simulated.counters.connections == 2


FAULTS = [
    ("garbage", DeviceProtocolError, "garbage"),
    ("too-long", DeviceProtocolError, "wrong-length"),
    ("too-short", DeviceProtocolError, "wrong-length"),
    ("cut-frame", DeviceProtocolError, "broken-off"),
    ("late", DeviceUnreachableError, "timeout"),
    ("never", DeviceUnreachableError, "timeout"),
    ("wrong-transaction", DeviceProtocolError, "wrong-transaction"),
    ("wrong-unit", DeviceProtocolError, "wrong-unit"),
    ("wrong-function", DeviceProtocolError, "wrong-function"),
    ("failure", DeviceProtocolError, "exception"),
    ("close", DeviceUnreachableError, "closed"),
    ("offline", DeviceUnreachableError, "closed"),
]


SILENT = ("cut-frame", "late", "never")
"""Faults that only a timeout tells of; all others are told at once, so that no wait is short."""


def wait_ms(kind: str) -> int:
    return 400 if kind in SILENT else 10_000


@pytest.mark.parametrize("function", [4, 20, 43])
@pytest.mark.parametrize(("kind", "error", "reason"), FAULTS)
def test_faulty_answer_is_a_typed_error_and_never_a_fingerprint(
    kind: str, error: type[DeviceError], reason: str, function: int
) -> None:
    simulated = device()
    simulated.set_fault(Fault(kind, delay_ms=1_000, functions=frozenset({function})))
    with pytest.raises(error, match="device dev-a: ") as caught:
        read_once(simulated, timeout_ms=wait_ms(kind))
    assert caught.value.device == "dev-a"
    # half of an identification or of registers is told by other words than half of a file's answer
    assert caught.value.reason == ("identity" if (kind, function) == ("too-short", 43) else reason)


@pytest.mark.parametrize("kind", [fault[0] for fault in FAULTS if fault[0] != "offline"])
def test_faulty_answer_once_is_survived_over_a_new_connection(kind: str) -> None:
    simulated = device(artefact("firmware", "1", FIRMWARE))
    simulated.set_fault(Fault(kind, delay_ms=1_000, functions=frozenset({20}), requests=1))
    found = read_once(simulated, timeout_ms=wait_ms(kind), retries=2)
    assert found.files[0].digest == fingerprint(FIRMWARE)
    assert simulated.counters.connections == 2


def test_retries_are_bounded() -> None:
    simulated = device()
    simulated.set_fault(Fault("close"))
    with pytest.raises(DeviceUnreachableError):
        read_once(simulated, retries=2)
    assert simulated.counters.connections == 3


def test_busy_device_is_asked_again_on_the_same_connection() -> None:
    simulated = device(artefact("firmware", "1", FIRMWARE))
    simulated.set_fault(Fault("busy", functions=frozenset({20}), requests=3))
    assert read_once(simulated).files[0].digest == fingerprint(FIRMWARE)
    assert simulated.counters.connections == 1


def test_device_that_stays_busy_is_an_error_of_its_own_after_the_repeats_of_its_profile() -> None:
    simulated = device()
    simulated.set_fault(Fault("busy"))
    profile = replace(PROFILE, pacing=Pacing(busy_repeats=3, busy_pause_ms=1))
    with pytest.raises(DeviceBusyError, match="is still busy after 3 repeats"):
        read_once(simulated, profile=profile)
    assert simulated.counters.requests == 4


def test_wrong_unit_id_is_unreachable_behind_a_gateway() -> None:
    with pytest.raises(DeviceUnreachableError, match="gateway target device failed"):
        read_once(device(unit_id=3), unit_id=4)


def test_nobody_listening_is_unreachable_and_names_the_address() -> None:
    with pytest.raises(DeviceUnreachableError, match=r"127\.0\.0\.1:1: ") as caught:
        asyncio.run(with_driver(1, _read))
    assert caught.value.reason == "refused"


async def _read(driver: ModbusDriver) -> None:
    await driver.read()


def test_pacing_puts_a_pause_before_every_request() -> None:
    simulated = device(artefact("firmware", "1", content_of(242 * 4)))

    async def work() -> float:
        async with served(simulated) as port:
            loop = asyncio.get_running_loop()
            begin_s = loop.time()
            await with_driver(port, _read, pacing_ms=10)
            return loop.time() - begin_s

    taken_s = asyncio.run(work())
    assert taken_s >= 0.010 * (simulated.counters.requests - 1)


def _directory(*entries: tuple[int, int, int], count: int | None = None) -> bytes:
    packed = b"".join(
        kind.to_bytes(2, "big") + first.to_bytes(2, "big") + size.to_bytes(4, "big") + b"1".ljust(24, b"\x00")
        for kind, first, size in entries
    )
    return (len(entries) if count is None else count).to_bytes(2, "big") + packed.ljust(256, b"\x00")


class Listing(Unit):
    """A device whose directory registers say what a test wants."""

    directory = b""

    def input_registers(self, address: int, count: int) -> bytes | None:
        part = self.directory[(address - 100) * 2 : (address - 100 + count) * 2]
        return part if len(part) == count * 2 else None


def listing(directory: bytes) -> Listing:
    simulated = Listing(Device("dev-a", IDENTITY, Contents.of([artefact("firmware", "1", b"x")]), lambda: NOW_MS))
    simulated.directory = directory
    return simulated


@pytest.mark.parametrize(
    ("directory", "message"),
    [
        (_directory(count=0), "announces 0 files"),
        (_directory(count=9), "announces 9 files"),
        (_directory((4, 1, 10)), "unknown kind 4"),
        (_directory((1, 1, 1), (1, 2, 1)), "two files of the kind firmware"),
    ],
)
def test_directory_that_makes_no_sense_is_a_protocol_error(directory: bytes, message: str) -> None:
    with pytest.raises(DeviceProtocolError, match=message):
        read_once(listing(directory))


@pytest.mark.parametrize("entry", [(1, 1, FILE_BYTES_MAX + 1), (1, 1, 2**32 - 1), (1, 65_535, 20_001)])
def test_declared_size_beyond_all_bounds_is_marked_and_not_read(entry: tuple[int, int, int]) -> None:
    simulated = listing(_directory(entry))
    part = read_once(simulated).files[0]
    assert part.errors == ("bad-size",)
    assert part.digest == fingerprint(b"")
    assert simulated.device.counters.requests < 10


def test_memory_does_not_grow_with_the_file() -> None:
    size = 4 * 1024 * 1024
    simulated = device(artefact("firmware", "1", content_of(size)))
    tracemalloc.start()
    try:
        part = read_once(simulated).files[0]
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert part.digest.size == size
    assert peak_bytes < 512 * 1024


async def _asked(simulated: Device) -> None:
    """Return once the device was asked something."""
    while not simulated.counters.requests:  # noqa: ASYNC110 - the device has no event
        await asyncio.sleep(0.001)


def test_cancelled_read_closes_the_connection() -> None:
    simulated = device()
    simulated.set_fault(Fault("never"))

    async def work() -> None:
        async with served(simulated) as port:
            driver = ModbusDriver(device_config(port, timeout_ms=60_000), PROFILE, FakeClock(NOW_MS))
            task = asyncio.create_task(driver.read())
            await _asked(simulated)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert driver._line.link is not None
            assert not driver._line.link.is_open

    asyncio.run(work())


def test_hung_device_does_not_delay_another_one() -> None:
    hung, well = device(), device(artefact("firmware", "1", FIRMWARE))
    hung.set_fault(Fault("never"))

    async def work() -> bool:
        async with served(hung) as hung_port, served(well) as port:
            waiting = asyncio.create_task(with_driver(hung_port, _read, timeout_ms=60_000))
            await _asked(hung)
            await with_driver(port, _read)
            was_waiting = not waiting.done()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            return was_waiting

    assert asyncio.run(work())
