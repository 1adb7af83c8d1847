"""The command `gridwitness-node replay`: runs a node's event log again and tells what happened."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from kit.exitcodes import DataError, ExitCode, StorageError
from kit.terminal import Terminal
from master.io.ring import Segment, segments_of
from master.journal.graph import JournalError
from master.journal.replay import DifferenceError, Replayer
from master.journal.timeline import Line, Timeline

LINES_MAX: Final = 10_000
_LAST_LINES: Final = 40


def replay(
    path: Annotated[Path, typer.Argument(help="Folder of the log (data_dir/events, an incident), or one segment.")],
    height: Annotated[int | None, typer.Option("--height", min=1, help="Tell everything of one height.")] = None,
    until: Annotated[int | None, typer.Option("--until", min=1, help="Stop before this height is left.")] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Tell every line, not what is out of the ordinary.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> int:
    """Run a node's event log again through the real consensus core, also while the node runs, and tell what happened.

    Every step must have the same effects as it had there, bit for bit. No key is needed.

    Exit code 0: all came out the same; 65: a step came out otherwise, or the log is damaged.

    Example: gridwitness-node replay /var/lib/gridwitness/node/events --height 1234
    """
    terminal = Terminal(as_json=as_json)
    segments = segments_of(path)
    if not segments:
        raise DataError(f"{path} holds no segment of an event log")
    run = _Run(height, until, everything=everything)
    with terminal.progress("replaying", len(segments)) as progress:
        for segment in segments:
            run.take(segment)
            progress(1)
            if run.is_over:
                break
    terminal.show(run.value(), run.text)
    return ExitCode.OK if run.problem is None else ExitCode.DATA


class _Run:
    """One replay and what is told of it."""

    def __init__(self, height: int | None, until: int | None, *, everything: bool) -> None:
        self._height, self._until, self._everything = height, until, everything
        self._replayer, self._timeline = Replayer(), Timeline()
        self._segments = 0
        self._torn_bytes = 0
        self._heights: range | None = None
        self._state = ""
        self._told: deque[Line] = deque(maxlen=LINES_MAX)
        self._last: deque[Line] = deque(maxlen=_LAST_LINES)
        self.problem: str | None = None
        self.is_over = False

    def take(self, path: Path) -> None:
        """Replay one segment, as far as it goes."""
        segment = Segment(path)
        self._replayer.open_segment()
        try:
            for raw in segment.records():
                moment = self._replayer.take(raw)
                height = moment.replica.head.height + 1
                if self._until is not None and height > self._until:
                    self.is_over = True
                    return
                self._heights = range(self._heights.start if self._heights else height, height + 1)
                for line in self._timeline.lines(moment):
                    self._tell(line)
                self._state = moment.replica.progress.text()
        except (DifferenceError, JournalError) as error:
            self.problem, self.is_over = f"{path.name}: {error}", True
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error
        self._segments += 1
        self._torn_bytes = segment.torn_bytes

    def _tell(self, line: Line) -> None:
        self._last.append(line)
        is_asked = self._everything or line.is_notable if self._height is None else line.height == self._height
        if is_asked:
            self._told.append(line)

    def value(self) -> dict[str, object]:
        """Return what programs are told."""
        return {
            "same": self.problem is None,
            "problem": self.problem,
            "segments": self._segments,
            "steps": self._replayer.steps,
            "checkpoints": self._replayer.states,
            "torn_bytes": self._torn_bytes,
            "first_height": self._heights.start if self._heights else None,
            "last_height": self._heights.stop - 1 if self._heights else None,
            "state": self._state,
            "timeline": [_value(line) for line in self._told],
            "last": [_value(line) for line in self._last],
        }

    def text(self) -> list[str]:
        """Return what people are told."""
        shown = list(self._told)
        lines = [_line(line) for line in shown]
        if self._height is None:
            rest = [line for line in self._last if line not in shown]
            lines += ["the last of it:", *map(_line, rest)] if rest else []
        lines.append(f"at its end: {self._state}" if self._state else "nothing in it could be read")
        if self._torn_bytes:
            lines.append(f"the newest segment ends with {self._torn_bytes} bytes that were not written whole")
        if self.problem is not None:
            return [*lines, f"stopped: {self.problem}"]
        checked = f"{self._replayer.steps} steps came out the same, {self._replayer.states} checkpoints were met"
        return [*lines, checked]


def _value(line: Line) -> dict[str, object]:
    return {**asdict(line), "time": _time(line.wall_ms)}


def _line(line: Line) -> str:
    return f"{_time(line.wall_ms)} step {line.step} height {line.height} view {line.view}: {line.text}"


def _time(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds") if wall_ms else "-"
