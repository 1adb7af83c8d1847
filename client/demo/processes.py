"""Programs as processes: start, wait until healthy, stop, kill, start again, and leave nothing behind.

Every program runs in a session of its own, so that Ctrl-C reaches this process alone, which then stops the others in
order. Where util-linux's setpriv is there, they also end when this process is killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

from kit.exitcodes import GridwitnessError, StorageError, TryAgainError

HEALTHY_WITHIN_S: Final = 60.0
STOPPED_WITHIN_S: Final = 10.0
POLL_S: Final = 0.05
LOG_LINES_SHOWN: Final = 15
_LOG_TAIL_BYTES: Final = 16_384
_MOSQUITTO_PLACES: Final = "/usr/sbin:/usr/local/sbin:/sbin"


class ProgramFailedError(GridwitnessError):
    """A program that should run does not; the message holds the end of its log."""


def wait_until(condition: Callable[[], bool], *, within_s: float, what: str, poll_s: float = POLL_S) -> None:
    """Poll until the condition holds.

    Args:
        condition: Called at once and then every ``poll_s`` seconds.
        within_s: Deadline in seconds.
        what: Completes "waited N s for ...".
        poll_s: Pause between two calls, seconds.

    Raises:
        TryAgainError: It did not hold in time.
    """
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() >= deadline_s:
            raise TryAgainError(f"waited {within_s:g} s in vain for {what}")
        time.sleep(poll_s)


def find_program(name: str) -> str:
    """Find one of our programs beside the interpreter, or the broker on this machine.

    Raises:
        StorageError: It is not installed.
    """
    beside = Path(sys.executable).with_name(name)
    if beside.is_file():
        return str(beside)
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), _MOSQUITTO_PLACES))
    found = shutil.which(name, path=path)
    if found is None:
        hint = "sudo apt-get install mosquitto" if name == "mosquitto" else "make setup"
        raise StorageError(f"the program {name} is not installed; run: {hint}")
    return found


def run_once(name: str, *arguments: str | Path, within_s: float = HEALTHY_WITHIN_S) -> str:
    """Run a program to its end and return what it wrote to stdout.

    Raises:
        ProgramFailedError: It ended with another code than 0, or not in time.
    """
    command = [find_program(name), *(str(argument) for argument in arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=within_s)
    except subprocess.TimeoutExpired as error:
        raise ProgramFailedError(f"{' '.join(command)} did not end within {within_s:g} s") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise ProgramFailedError(f"{' '.join(command)} ended with {done.returncode}: {said}")
    return done.stdout


@dataclass(slots=True)
class Program:
    """One program of the demo, whether it runs or not."""

    name: str
    """Unique in the demo; names its log file."""
    command: Sequence[str]
    log: Path
    is_healthy: Callable[[], bool]
    """Asked while the process runs; never raises."""
    environ: Mapping[str, str] = field(default_factory=dict)
    starts: int = 0
    """How often it was started."""
    _process: subprocess.Popen[bytes] | None = None
    _log_start: int = 0

    @property
    def pid(self) -> int:
        """Process id.

        Raises:
            ProgramFailedError: It does not run.
        """
        if self._process is None or not self.is_running():
            raise ProgramFailedError(f"{self.name} does not run")
        return self._process.pid

    def is_running(self) -> bool:
        """Say whether the process lives."""
        if self._process is None or self._process.returncode is not None:
            return False
        # WNOWAIT leaves the ended process in the table, so that nobody else gets its id while its children live
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is None

    def start(self) -> None:
        """Start the process and return at once.

        Raises:
            ProgramFailedError: It runs already.
        """
        if self.is_running():
            raise ProgramFailedError(f"{self.name} runs already")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                [*_die_with_parent(), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environ},
                start_new_session=True,
            )
        self.starts += 1

    def wait_healthy(self, within_s: float = HEALTHY_WITHIN_S) -> None:
        """Wait until the program answers.

        Raises:
            ProgramFailedError: It ended, or does not answer in time.
        """
        deadline_s = time.monotonic() + within_s
        while not self.is_healthy():
            self.check()
            if time.monotonic() >= deadline_s:
                raise ProgramFailedError(f"{self.name} is not healthy after {within_s:g} s; {self._log_tail()}")
            time.sleep(POLL_S)

    def check(self) -> None:
        """Make sure that the process lives.

        Raises:
            ProgramFailedError: It does not.
        """
        if not self.is_running():
            raise ProgramFailedError(f"{self.name} ended with code {self._clear()}; {self._log_tail()}")

    def ask_to_end(self) -> None:
        """Send SIGTERM to the program, if it runs."""
        if self._process is not None and self.is_running():
            self._process.send_signal(signal.SIGTERM)

    def wait_ended(self, within_s: float) -> int | None:
        """Wait for the end and return the exit code, None if it still runs then."""
        deadline_s = time.monotonic() + within_s
        while self.is_running():
            if time.monotonic() >= deadline_s:
                return None
            time.sleep(POLL_S)
        return self._clear()

    def stop(self, within_s: float = STOPPED_WITHIN_S) -> int | None:
        """Ask the program to end, kill it if it does not, and return its exit code."""
        self.ask_to_end()
        code = self.wait_ended(within_s)
        return self._clear() if code is None else code

    def kill(self) -> None:
        """Kill the program and its children as a power cut would."""
        self._clear()

    def _clear(self) -> int | None:
        """Kill what is left of the program and its children; return its exit code."""
        if self._process is None:
            return None
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait(STOPPED_WITHIN_S)

    def restart(self, within_s: float = HEALTHY_WITHIN_S) -> None:
        """Stop the program, start it again and wait until it is healthy."""
        self.stop()
        self.start()
        self.wait_healthy(within_s)

    def _log_tail(self) -> str:
        if not self.log.exists():
            return f"its log {self.log} is empty"
        with self.log.open("rb") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(self._log_start, end - _LOG_TAIL_BYTES))
            lines = stream.read(_LOG_TAIL_BYTES).decode(errors="replace").splitlines()
        return "\n  ".join((f"the end of {self.log}:", *lines[-LOG_LINES_SHOWN:]))


class Processes:
    """All programs of one demo; leaving the ``with`` block stops them, the last started first."""

    def __init__(self) -> None:
        self._programs: list[Program] = []

    def __enter__(self) -> Self:
        """Begin with no program."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop whatever runs."""
        self.stop_all()

    def add(self, program: Program) -> Program:
        """Take a program into care and start it."""
        self._programs.append(program)
        program.start()
        return program

    def check(self) -> None:
        """Make sure that all programs live.

        Raises:
            ProgramFailedError: One does not.
        """
        for program in self._programs:
            program.check()

    def stop_all(self) -> None:
        """Stop everything: ask all, last started first, then kill what is left."""
        for program in reversed(self._programs):
            program.ask_to_end()
        deadline_s = time.monotonic() + STOPPED_WITHIN_S
        for program in reversed(self._programs):
            program.wait_ended(max(0.0, deadline_s - time.monotonic()))
            program.kill()


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that whatever it started is stopped.

    Must be entered in the main thread.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    kept = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _die_with_parent() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "KILL", "--"]
