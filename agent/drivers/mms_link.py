"""The child process of one IEC 61850 device: started, asked, watched, ended.

Whatever becomes of the child, the agent goes on: no answer within its time, an answer out of order or an early end
count as a device that cannot be reached, and the next read starts another child (docs/spec/mms.md, MM-5 and MM-6).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import IO, Final

from agent.drivers import mms_pipe
from agent.drivers.link import LinkCounters
from agent.drivers.mms_pipe import ANSWER_BYTES_MAX, HEAD, START, Answer, Request
from kit.logs import get_logger
from wire.cbor import Value
from wire.errors import WireError

PROGRAM: Final = "agent.drivers.mms_child"
EXTRA: Final = "iec61850"
LIBRARY: Final = "pyiec61850"
START_MS: Final = 20_000
"""Longest time until a child is ready; on a small gateway an interpreter takes seconds to start."""
GRACE_MS: Final = 1500
"""How much longer than the device's own time an answer may take before the child counts as hung."""
SLOWEST_BYTES_PER_S: Final = 1024
"""A file that comes more slowly than this is given up."""
RESERVE_BYTES: Final = 4 * 1024 * 1024
"""Room in the temporary folder that must be left beside a file."""
NO_ROOM: Final = "no-room"
_END_S: Final = 5
_ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8"}
"""Nothing of the agent's own environment, which may hold secrets."""

_log = get_logger("agent.mms")


@dataclass(slots=True)
class MmsCounters(LinkCounters):
    """With what only a child process has."""

    children: int = 0
    """Child processes started."""


class ChildError(Exception):
    """There is no value.

    Args:
        fault: One of `agent.drivers.mms_pipe.FAULTS`, one of `DEAD`, or `NO_ROOM`.
        detail: What was wrong, for people, to stand behind the device's name.
    """

    def __init__(self, fault: str, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


DEAD: Final = ("child-crash", "child-hang", "child-odd", "child-start")
"""Faults after which the child is gone."""


def missing_extra() -> str:
    """Say in one sentence what to install, or nothing when it is there; the library is not loaded."""
    if find_spec(LIBRARY) is not None:
        return ""
    install = f"{sys.executable} -m pip install '.[agent,{EXTRA}]'"
    return f"IEC 61850 needs a library that is not installed; in the checkout of gridwitness run: {install}"


class Child:
    """One running child process.

    Args:
        process: Its end of the pipes.
        file: Takes what is fetched; it has no name, and ends with its last holder.
        counters: Counts for the driver.
    """

    def __init__(self, process: asyncio.subprocess.Process, file: IO[bytes], counters: MmsCounters) -> None:
        self._process = process
        self._file = file
        self._counters = counters
        self._number = START
        self.is_alive = True
        self.is_associated = False
        self.is_confined = False
        """Whether the kernel forbids it all other files and ports."""

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    async def ask(self, call: str, patience_ms: int, *, size: int | None = None, **arguments: Value) -> Value:
        """Ask the child for one thing.

        Args:
            call: Name of a method of `agent.drivers.mms_reads.Reads`.
            patience_ms: Longest wait; when a file is fetched, longest time without growth.
            size: Bytes that the device declares for the file that is fetched.
            arguments: Of the call.

        Raises:
            ChildError: The child says why it has no value, or is gone.
        """
        self._number += 1
        self._counters.requests += 1
        request = Request(self._number, call, arguments)
        answer = await self._answer(mms_pipe.pack_request(request), call, patience_ms, size)
        if answer.number != request.number:
            await self.end()
            raise ChildError("child-odd", f"answers request {answer.number} where {request.number} was asked")
        if answer.fault is not None:
            raise ChildError(answer.fault, answer.detail)
        return answer.value

    async def started(self) -> None:
        """Wait until the child is ready.

        Raises:
            ChildError: It is not.
        """
        answer = await self._answer(b"", "start", START_MS, None)
        if answer.number != START or answer.fault is not None:
            await self.end()
            raise ChildError("child-start", "the child process does not start properly")
        self.is_confined = answer.value is True
        if not self.is_confined:
            _log.info("child_not_confined", pid=self.pid, detail="the kernel has no Landlock")

    def check_room(self, size: int) -> None:
        """Refuse to fetch what the temporary folder has no room for: it would look like a file that ends early.

        Raises:
            ChildError: There are less than ``size`` bytes and some reserve.
        """
        folder = os.fstatvfs(self._file.fileno())
        free = folder.f_bavail * folder.f_frsize
        if free < size + RESERVE_BYTES:
            raise ChildError(
                NO_ROOM, f"cannot be read: the gateway's temporary folder has {free} bytes left for {size}"
            )

    def piece(self, at: int, count: int) -> bytes:
        """Return bytes of the file that was fetched last."""
        return os.pread(self._file.fileno(), count, at)

    async def end(self) -> None:
        """End the child, whatever it does."""
        if not self.is_alive:
            return
        self.is_alive = self.is_associated = False
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._file.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._exited()  # one that the kernel holds fast is left to it

    async def _exited(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _END_S)

    async def _answer(self, frame: bytes, call: str, patience_ms: int, size: int | None) -> Answer:
        """Send a frame and wait for the next answer; whatever else happens ends the child."""
        exchange = asyncio.ensure_future(self._exchange(frame))
        try:
            await self._watch(exchange, patience_ms, size)
            if exchange.done():
                return exchange.result()
        except BaseException as error:
            # Also when this read is cancelled: an answer that comes later must not be taken for the next one.
            exchange.cancel()
            await asyncio.gather(exchange, return_exceptions=True)
            is_gone = isinstance(error, (asyncio.IncompleteReadError, OSError))
            if is_gone:
                await self._exited()  # whom `kill` finds dead, it reaps, and asyncio no longer learns how it ended
            await self.end()
            if is_gone:
                fault = "child-start" if call == "start" else "child-crash"
                code = self._process.returncode
                raise ChildError(fault, f"the child process that reads it ended at '{call}' with {code}") from error
            if isinstance(error, WireError):
                raise ChildError("child-odd", f"the child process that reads it answers oddly: {error}") from error
            raise
        exchange.cancel()
        await asyncio.gather(exchange, return_exceptions=True)
        await self.end()
        raise ChildError("child-hang", f"gives no answer to '{call}' within {patience_ms} ms")

    async def _exchange(self, frame: bytes) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if frame:
            self._process.stdin.write(frame)
            await self._process.stdin.drain()
        head = await self._process.stdout.readexactly(HEAD.size)
        body = await self._process.stdout.readexactly(mms_pipe.body_bytes(head, ANSWER_BYTES_MAX))
        return mms_pipe.unpack_answer(body)

    async def _watch(self, exchange: asyncio.Future[Answer], patience_ms: int, size: int | None) -> None:
        """Wait for the exchange, longer while a file still grows and is not too slow."""
        slices = 1 if size is None else 2 + size // SLOWEST_BYTES_PER_S * 1000 // patience_ms
        seen = 0
        for _ in range(slices):
            await asyncio.wait([exchange], timeout=patience_ms / 1000)
            grown = os.fstat(self._file.fileno()).st_size
            if exchange.done() or grown == seen:
                return
            seen = grown


async def start_child(port: int, counters: MmsCounters, program: Sequence[str] = ("-m", PROGRAM)) -> Child:
    """Start a child process that may connect to ``port`` alone.

    Args:
        port: TCP port of the device.
        counters: Counts for the driver.
        program: What the interpreter runs.

    Raises:
        ChildError: It does not start.
    """
    lacking = missing_extra()
    if lacking:
        raise ChildError("child-start", lacking)
    file = tempfile.TemporaryFile(prefix="gridwitness-")  # noqa: SIM115 - the child's life is its life
    try:
        number = file.fileno()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            *program,
            str(number),
            str(port),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=(number,),
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        file.close()
        raise ChildError("child-start", f"no child process can be started to read it: {error.strerror}") from error
    counters.children += 1
    child = Child(process, file, counters)
    await child.started()
    return child
