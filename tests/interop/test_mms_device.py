"""The agent's IEC 61850 driver and its child process against libiec61850's server, over sockets."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from agent.drivers.errors import DeviceProtocolError, DeviceUnreachableError
from agent.drivers.mms_link import MmsCounters
from agent.model import Reading
from rules.fingerprint import fingerprint
from tests.interop.ied import HOST, READING, ServedIed, Tap, attributes, line_to, served
from tests.interop.mms_reads import MIB, _runs, child_of, digests, driver_of, profile, read
from tests.unit.agent.iedbench import scl

# --- what is read -------------------------------------------------------------------------------------------------


# holds MM-8
def test_real_setting_group_has_the_expected_text(ied: ServedIed) -> None:
    found = read(ied.port)
    values = {name: value for name, constraint, _, value in attributes() if constraint == "SG"}
    rows = [("LLN0.SGCB.NumOfSG", "2", "integer"), ("LLN0.SGCB.ActSG", "1", "integer")]
    rows.append(("LLN0.NamPlt.configRev", "17", "text"))
    rows += [(name, f"{value:g}", "float32" if "Mag" in name else "integer") for name, value in sorted(values.items())]
    text = "number,name,value,type\n" + "".join(
        f"{number},LD0/{name},{value},{kind}\n" for number, (name, value, kind) in enumerate(rows, start=1)
    )
    assert found.files[1].digest == fingerprint(text.encode())
    assert found.files[1].version == "5"
    assert (found.identity.vendor, found.identity.serial, found.identity.model) == ("Sample Vendor", "SN-1", "RP-1")
    assert (found.identity.product, found.identity.revision) == ("line protection", "5.1")


def test_changed_setting_group_and_revision_are_seen(ied: ServedIed) -> None:
    async def both() -> list[Reading]:
        async with driver_of(ied.port) as driver:
            found = [await driver.read()]
            ied.change(attributes=[["GAPC1.Set003.setMag.f", "SG", "float", 48.5]])
            found.append(await driver.read())
            ied.change(active=2, attributes=[["LLN0.NamPlt.paramRev", "ST", "integer", 6]])
            found.append(await driver.read())
            return found

    before, changed, switched = asyncio.run(both())
    assert len({digests(each)["settings"] for each in (before, changed, switched)}) == 3
    assert [each.files[1].version for each in (before, changed, switched)] == ["5", "5", "6"]
    assert [each.revision for each in (before, changed, switched)] == [5, 5, 6]
    assert digests(before)["firmware"] == digests(switched)["firmware"]


# holds MM-10
@pytest.mark.parametrize("size", [0, 1, 65_536, MIB])
def test_files_of_every_size_arrive_byte_for_byte(ied: ServedIed, size: int) -> None:
    content = hashlib.shake_256(b"image").digest(size)
    ied.write("firmware.bin", content)
    firmware = read(ied.port).files[0]
    assert (firmware.size, firmware.errors, firmware.method) == (size, (), "full-file")
    assert firmware.digest == fingerprint(content)


def test_changed_byte_in_a_file_is_another_digest(ied: ServedIed) -> None:
    before = digests(read(ied.port))
    ied.write("firmware.bin", b"firmware" * 39_999 + b"firmwarE")
    after = digests(read(ied.port))
    assert before["firmware"] != after["firmware"]
    assert before["strategy"] == after["strategy"]


def test_file_that_is_gone_is_not_listed(ied: ServedIed) -> None:
    (ied.folder / "strategy.csv").unlink()
    assert [part.kind for part in read(ied.port).listed] == ["firmware", "settings"]


# holds MM-7
def test_real_device_without_an_attribute_is_refused(tmp_path: Path) -> None:
    fewer = [each for each in attributes() if each[0] != "LPHD1.PhyNam.serNum"]
    with (
        served(tmp_path, attributes=fewer) as ied,
        pytest.raises(DeviceProtocolError, match=r"^device dev-a: .*LPHD1\$DC\$PhyNam\$serNum") as caught,
    ):
        read(ied.port)
    assert caught.value.reason == "missing"


# holds MM-9
def test_real_scl_file_of_the_device_is_compared(ied: ServedIed) -> None:
    ied.write("device.cid", scl())
    assert read(ied.port, profile(scl="/device.cid")).identity.serial == "SN-1"
    ied.write("device.cid", scl(revision="18"))
    with pytest.raises(DeviceProtocolError, match=r"has configRev '17', but its SCL file /device\.cid"):
        read(ied.port, profile(scl="/device.cid"))
    ied.write("device.cid", b"<!DOCTYPE SCL><SCL/>")
    with pytest.raises(DeviceProtocolError, match="a document type"):
        read(ied.port, profile(scl="/device.cid"))


# --- what is sent -------------------------------------------------------------------------------------------------


# holds MM-4
def test_tap_sees_reading_services_alone(ied: ServedIed) -> None:
    ied.write("device.cid", scl())

    async def tapped() -> list[str]:
        async with (
            line_to(ied.port) as line,
            driver_of(line.port, kept=profile(scl="/device.cid")) as driver,
        ):
            await driver.read()
            return list(line.services)

    assert set(asyncio.run(tapped())) == set(READING.values())


# holds MM-4
def test_tap_finds_a_write(ied: ServedIed) -> None:
    """The tap would see it: a client that does write shows in it."""
    program = (
        "import sys\nfrom pyiec61850.mms import MMSClient\nclient = MMSClient()\n"
        "client.connect('127.0.0.1', int(sys.argv[1]))\n"
        "try:\n    client.write_value('BAY1LD0/GAPC1.Set003.setMag.f', 1.0, 'SG')\nexcept Exception:\n    pass\n"
    )

    async def tapped() -> list[str]:
        async with line_to(ied.port) as line:
            for _ in range(10):  # the library loses one association in some hundred at once
                process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(line.port))
                await process.wait()
                if line.services:
                    break
            return list(line.services)

    assert "service-5" in asyncio.run(tapped())


def test_tap_reads_on_over_pieces_of_any_size() -> None:
    request = bytes.fromhex("a00e020101a109a003800109a1028000")
    values = b"\x61" + bytes((len(request) + 7,)) + b"\x30" + bytes((len(request) + 5,)) + b"\x02\x01\x03\xa0"
    session = b"\x01\x00\x01\x00" + values + bytes((len(request),)) + request
    packet = b"\x03\x00" + (len(session) + 7).to_bytes(2, "big") + b"\x02\xf0\x80" + session
    tap = Tap()
    assert [name for byte in packet * 2 for name in tap.take(bytes((byte,)))] == ["getNameList"] * 2


# --- what fails ---------------------------------------------------------------------------------------------------


# holds MM-6
def test_child_that_is_killed_in_mid_read_is_an_unreachable_device(ied: ServedIed) -> None:
    ied.write("firmware.bin", bytes(4 * MIB))

    async def killed() -> tuple[DeviceUnreachableError, Reading, MmsCounters]:
        async with line_to(ied.port, pass_bytes=2 * MIB) as line, driver_of(line.port) as driver:
            reading = asyncio.create_task(driver.read())
            await line.reached.wait()
            pid = child_of(driver).pid
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(DeviceUnreachableError) as caught:
                await reading
            line.pass_bytes = None
            assert not _runs(pid)
            return caught.value, await driver.read(), driver.counters

    error, found, counters = asyncio.run(killed())
    assert error.reason == "child-crash"
    assert str(error) == "device dev-a: the child process that reads it ended at 'fetch' with -9"
    assert len(found.files) == 3
    assert counters.children == 2


# holds MM-5 MM-6
def test_child_that_hangs_is_ended(ied: ServedIed) -> None:
    async def stopped() -> tuple[DeviceUnreachableError, float, Reading]:
        async with driver_of(ied.port, timeout_ms=200, retries=5) as driver:
            await driver.read()
            patient = driver._device
            driver._device = dataclasses.replace(patient, retries=0)
            pid = child_of(driver).pid
            os.kill(pid, signal.SIGSTOP)
            began = time.monotonic()
            with pytest.raises(DeviceUnreachableError) as caught:
                await driver.read()
            took_s = time.monotonic() - began
            assert not _runs(pid)
            driver._device = patient
            return caught.value, took_s, await driver.read()

    error, took_s, found = asyncio.run(stopped())
    assert error.reason == "child-hang"
    assert took_s < 30
    assert len(found.files) == 3


# holds MM-5
def test_device_that_freezes_in_mid_transfer_is_unreachable(ied: ServedIed) -> None:
    ied.write("firmware.bin", bytes(MIB))

    async def frozen() -> DeviceUnreachableError:
        async with line_to(ied.port, pass_bytes=MIB // 2) as line, driver_of(line.port, timeout_ms=300) as driver:
            with pytest.raises(DeviceUnreachableError) as caught:
                await driver.read()
            assert line.reached.is_set()
            return caught.value

    assert asyncio.run(frozen()).reason == "lost"


def test_device_that_closes_in_mid_transfer_is_read_over_a_new_association(ied: ServedIed) -> None:
    content = bytes(range(256)) * 4096
    ied.write("firmware.bin", content)

    async def cut() -> tuple[Reading, MmsCounters]:
        async with (
            line_to(ied.port, pass_bytes=MIB // 2, closes=True) as line,
            driver_of(line.port, retries=1) as driver,
        ):
            reading = asyncio.create_task(driver.read())
            await line.reached.wait()
            line.pass_bytes = None
            return await reading, driver.counters

    found, counters = asyncio.run(cut())
    assert found.files[0].digest == fingerprint(content)
    assert counters.connections == 2


# holds MM-5
def test_slow_file_is_waited_for_while_it_grows(ied: ServedIed) -> None:
    async def slow() -> tuple[Reading, float]:
        began = time.monotonic()
        async with (
            line_to(ied.port, pause_s=0.05, piece_bytes=8192) as line,
            driver_of(line.port, timeout_ms=1500) as driver,
        ):
            return await driver.read(frozenset({"firmware"})), time.monotonic() - began

    found, took_s = asyncio.run(slow())
    assert found.files[0].digest == fingerprint(b"firmware" * 40_000)
    assert took_s > 320_000 / 8192 * 0.05


def test_device_that_answers_no_byte_is_unreachable_within_its_time() -> None:
    async def silent() -> tuple[DeviceUnreachableError, float]:
        with socket.create_server((HOST, 0)) as mute:
            began = time.monotonic()
            async with driver_of(mute.getsockname()[1], timeout_ms=300) as driver:
                with pytest.raises(DeviceUnreachableError) as caught:
                    await driver.read()
            return caught.value, time.monotonic() - began

    error, took_s = asyncio.run(silent())
    assert error.reason == "unreachable"
    assert took_s < 20


@pytest.mark.parametrize("junk", [b"\0", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x03\x00\xff\xff" + bytes(70_000)])
def test_device_that_speaks_something_else_is_refused(junk: bytes) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(junk)
        writer.close()

    async def foreign() -> DeviceUnreachableError:
        server = await asyncio.start_server(answer, HOST, 0)
        try:
            async with driver_of(server.sockets[0].getsockname()[1], timeout_ms=300) as driver:
                with pytest.raises(DeviceUnreachableError, match=r"^device dev-a: ") as caught:
                    await driver.read()
            return caught.value
        finally:
            server.close()

    assert asyncio.run(foreign()).status == "unreachable"


def test_read_that_is_cancelled_leaves_no_child_with_an_answer_on_its_way(ied: ServedIed) -> None:
    async def cancelled() -> Reading:
        async with line_to(ied.port, pass_bytes=100_000) as line, driver_of(line.port) as driver:
            reading = asyncio.create_task(driver.read())
            await line.reached.wait()
            pid = child_of(driver).pid
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            assert not _runs(pid)
            line.pass_bytes = None
            return await driver.read()

    assert len(asyncio.run(cancelled()).files) == 3
