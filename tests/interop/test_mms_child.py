"""The child process that holds the library: what it may do, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.drivers import mms_pipe
from agent.drivers.mms_link import NO_ROOM, ChildError, MmsCounters, start_child
from agent.drivers.mms_pipe import Answer
from tests.interop.ied import HOST, ServedIed
from tests.interop.mms_reads import MIB, read

# --- the child itself ---------------------------------------------------------------------------------------------

PROBE = """
import os, socket, sys
from agent.drivers import confine
file, port = int(sys.argv[1]), int(sys.argv[2])
confine.limit(file_bytes=1000, memory_bytes=1 << 30)
locked = confine.lock_out(file, port)
found = []
for what in (
    lambda: open("/etc/hostname"),
    lambda: os.listdir("/"),
    lambda: socket.create_connection(("127.0.0.1", port + 1 if port < 65535 else port - 1)),
    lambda: socket.create_server(("127.0.0.1", 0)),
    lambda: os.kill(os.getppid(), 0),
    lambda: os.fork() or os._exit(0),
):
    try:
        what()
    except PermissionError:
        found.append("refused")
    except OSError as error:
        found.append(type(error).__name__)
    else:
        found.append("done")
with open(f"/proc/self/fd/{file}", "wb", buffering=0) as again:
    try:
        found.append(str(again.write(bytes(5000))))
        again.write(b"x")
    except OSError as error:
        found.append(os.strerror(error.errno))
print(locked, *found, sep=",")
"""


# holds MM-1
def test_child_can_open_no_file_and_no_other_port(tmp_path: Path) -> None:
    with (tmp_path / "taken").open("w+b") as file, socket.create_server((HOST, 0)) as open_port:
        command = [sys.executable, "-c", PROBE, str(file.fileno()), str(open_port.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, check=True, pass_fds=[file.fileno()])
    locked, *found = done.stdout.strip().split(",")
    if locked == "True":  # by the kernel's version
        assert found[:2] == ["refused", "refused"]
        assert found[2] in {"refused", "ConnectionRefusedError"}
        assert found[4] in {"refused", "done"}
    assert found[6:] == ["1000", "File too large"]


# holds MM-1
def test_running_child_is_confined_to_the_port_of_its_device(ied: ServedIed) -> None:
    landlock = ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1)

    async def elsewhere(started_for: int) -> str:
        child = await start_child(started_for, MmsCounters())
        try:
            assert child.is_confined == (landlock >= 1)
            assert "NoNewPrivs:\t1" in _status(child.pid)
            with contextlib.suppress(ChildError):
                await child.ask("connect", 9000, host=HOST, port=ied.port, timeout_ms=1000)
                return "reached"
            return "refused"
        finally:
            await child.end()

    other = ied.port + 1 if ied.port < 65_535 else ied.port - 1
    assert asyncio.run(elsewhere(ied.port)) == "reached"
    assert asyncio.run(elsewhere(other)) == ("refused" if landlock >= 4 else "reached")


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text(encoding="ascii")


# holds MM-1
def test_child_writes_no_file_above_its_cap(ied: ServedIed) -> None:
    """The device declares little and sends more than the cap."""
    with (ied.folder / "firmware.bin").open("wb") as file:
        file.truncate(64 * MIB + 1)

    async def fetched() -> ChildError:
        child = await start_child(ied.port, MmsCounters())
        try:
            await child.ask("connect", 5000, host=HOST, port=ied.port, timeout_ms=3000)
            with pytest.raises(ChildError) as caught:
                await child.ask("fetch", 5000, size=64 * MIB, path="/firmware.bin")
            return caught.value
        finally:
            await child.end()

    error = asyncio.run(fetched())
    assert error.fault == "limit"
    assert "of more than 67108864 bytes" in error.detail


# holds MM-10
def test_child_without_room_refuses_a_file(ied: ServedIed) -> None:
    async def asked() -> None:
        child = await start_child(ied.port, MmsCounters())
        try:
            child.check_room(1)
            with pytest.raises(ChildError, match=r"the gateway's temporary folder has [0-9]+ bytes left") as caught:
                child.check_room(2**62)
            assert caught.value.fault == NO_ROOM
        finally:
            await child.end()

    asyncio.run(asked())


# holds MM-1
def test_child_ends_with_the_agent(ied: ServedIed) -> None:
    program = (
        "import asyncio, os, sys\nfrom agent.drivers.mms_link import MmsCounters, start_child\n"
        "async def main():\n    child = await start_child(int(sys.argv[1]), MmsCounters())\n"
        "    print(child.pid, flush=True)\n    os.kill(child.pid, 19)\n"  # a child that hangs ends all the same
        "    os.kill(os.getpid(), 9)\nasyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(ied.port)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    stat = Path(f"/proc/{done.stdout.strip()}/stat")
    deadline = time.monotonic() + 60
    while stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] not in "ZX":
        assert time.monotonic() < deadline, "the child outlives the agent"
        time.sleep(0.02)


# holds MM-2
@pytest.mark.parametrize(
    ("program", "fault"),
    [
        ("pass", "child-start"),
        ("import sys; sys.stdout.buffer.write(b'\\xff' * 8)", "child-odd"),
        ("import sys; sys.stdout.buffer.write(b'\\0\\0\\0\\1\\xff')", "child-odd"),
    ],
)
def test_child_that_answers_oddly_is_ended(program: str, fault: str) -> None:
    async def odd() -> ChildError:
        with pytest.raises(ChildError) as caught:
            await start_child(1, MmsCounters(), ("-c", program))
        return caught.value

    assert asyncio.run(odd()).fault == fault


# holds MM-2
def test_child_that_answers_another_request_is_ended() -> None:
    """As a child would whose last answer came too late."""
    frames = [mms_pipe.pack_answer(Answer(number, None, "", True)).hex() for number in (mms_pipe.START, 7)]  # noqa: FBT003
    hello = f"sys.stdout.buffer.write(bytes.fromhex('{''.join(frames)}')); sys.stdout.flush()"
    program = f"import sys, time; {hello}; time.sleep(60)"

    async def mixed() -> tuple[ChildError, bool]:
        child = await start_child(1, MmsCounters(), ("-c", program))
        with pytest.raises(ChildError) as caught:
            await child.ask("domains", 5000)
        return caught.value, child.is_alive

    error, is_alive = asyncio.run(mixed())
    assert (error.fault, error.detail) == ("child-odd", "answers request 7 where 1 was asked")
    assert not is_alive


def test_agent_does_not_load_the_library(ied: ServedIed) -> None:
    read(ied.port)
    assert not [name for name in sys.modules if name.startswith("pyiec61850")]
