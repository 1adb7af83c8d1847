"""What people see: tables and progress on a terminal, plain text in a pipe, JSON when asked.

Results go to stdout, progress to stderr, so that a pipe gets results alone.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.progress import TimeElapsedColumn as ElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PROGRESS_AFTER_S: Final = 2.0
_UNBOUNDED: Final = 10_000
_INDENT: Final = "  "

STYLES: Final = {
    "match": "green",
    "effective": "green",
    "pending": "cyan",
    "returned": "cyan",
    "unknown_reference": "yellow",
    "unreachable": "yellow",
    "stale": "yellow",
    "never_read": "yellow",
    "superseded": "yellow",
    "approved": "cyan",
    "revoked": "bold red",
    "failed": "bold red",
    "alarm": "bold red",
    "raised": "bold red",
    "mismatch": "bold red",
    "misfilled": "bold red",
    "incomplete": "bold red",
    "missing": "bold red",
    "identity_changed": "bold red",
}
"""Colour of a cell that is one of our state words; the word itself always stands there too."""


def to_json(value: object) -> str:
    """Return one line of JSON; bytes become lower-case hex.

    Raises:
        TypeError: A value that has no JSON form.
    """
    return json.dumps(value, ensure_ascii=False, default=_json_form)


def print_json(value: object, stream: TextIO | None = None) -> None:
    """Print one JSON document on a line of its own; ``stream`` is stdout unless told."""
    target = sys.stdout if stream is None else stream
    target.write(to_json(value) + "\n")
    target.flush()


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the key of the row's value, the heading, and whether it holds numbers."""

    key: str
    heading: str
    numeric: bool = False


class Terminal:
    """The two consoles of a command, and the choice between text and JSON.

    Args:
        as_json: ``--json`` was given: ``show`` and ``table`` print JSON, ``say`` and progress nothing.
        stdout: For tests.
        stderr: For tests.
    """

    def __init__(self, *, as_json: bool = False, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self.as_json = as_json
        self._stdout = sys.stdout if stdout is None else stdout
        self._stderr = sys.stderr if stderr is None else stderr
        self.console = Console(file=self._stdout, highlight=False, soft_wrap=True)
        self.error_console = Console(file=self._stderr, highlight=False, soft_wrap=True)

    def say(self, text: str, style: str = "") -> None:
        """Print one sentence for a person; silent with ``--json``."""
        if not self.as_json:
            self.console.print(_printable(text), style=style or None, markup=False)

    def show(self, value: Mapping[str, Any], lines: Callable[[], Sequence[str]]) -> None:
        """Print one result: its JSON, or the lines that say it to a person."""
        if self.as_json:
            print_json(value, self._stdout)
            return
        for line in lines():
            self.say(line)

    def table(self, title: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
        """Print rows: JSON ``{"items": rows}``, a table at a terminal, tab-separated in a pipe.

        A terminal that is too narrow for the table gets a few lines for each row, so that no word is cut.
        """
        if self.as_json:
            print_json({"items": list(rows)}, self._stdout)
        elif self.console.is_terminal:
            table, width = _rich_table(title, columns, rows), self.console.width
            if self.console.measure(table, options=self.console.options.update(max_width=_UNBOUNDED)).maximum <= width:
                self.console.print(table)
            else:
                for line in _records(title, columns, rows, width):
                    self.console.print(line)
        else:
            self._stdout.write("\t".join(column.heading for column in columns) + "\n")
            for row in rows:
                cells = (_cell(row.get(column.key)) for column in columns)
                self._stdout.write("\t".join(cells) + "\n")
            self._stdout.flush()

    @contextlib.contextmanager
    def progress(
        self, text: str, total: int | None = None, *, after_s: float = PROGRESS_AFTER_S
    ) -> Iterator[Callable[[int], None]]:
        """Show progress on stderr while the block runs, once it has run for ``after_s`` seconds.

        Args:
            text: What is being done.
            total: Steps in all; None shows a spinner without end.
            after_s: Quick work shows nothing.

        Yields:
            A function that takes the number of steps done since its last call.
        """
        if self.as_json:
            yield _ignore
            return
        if not self.error_console.is_terminal:
            line = threading.Timer(after_s, self._say_once, [text])
            with _running(line):
                yield _ignore
            return
        bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            *([] if total is None else [BarColumn(), MofNCompleteColumn()]),
            ElapsedColumn(),
            console=self.error_console,
            transient=True,
        )
        task = bar.add_task(escape(_printable(text)), total=total)
        try:
            with _running(threading.Timer(after_s, bar.start)):
                yield lambda steps: bar.advance(task, steps)
        finally:
            if bar.live.is_started:
                bar.stop()

    def _say_once(self, text: str) -> None:
        self._stderr.write(f"{_printable(text)} ...\n")
        self._stderr.flush()


@contextlib.contextmanager
def _running(timer: threading.Timer) -> Iterator[None]:
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _ignore(_steps: int) -> None:
    return


def _rich_table(title: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column.heading, justify="right" if column.numeric else "left")
    for row in rows:
        cells = [_cell(row.get(column.key)) for column in columns]
        table.add_row(*(_styled(cell) for cell in cells))
    return table


def _records(title: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], width: int) -> Iterator[Text]:
    """Yield lines of about ``width`` columns: each row's first cell, then its others with their headings."""
    if title:
        yield Text(title, style="italic")
    for row in rows:
        yield Text(_cell(row.get(columns[0].key)), style="bold")
        line = Text(_INDENT)
        for column in columns[1:]:
            cell = _cell(row.get(column.key))
            if cell in {"", "-"}:
                continue
            pair = Text.assemble((f"{column.heading} ", "dim"), (cell, STYLES.get(cell, "")))
            if line.cell_len > len(_INDENT) and line.cell_len + len(_INDENT) + pair.cell_len > width:
                yield line
                line = Text(_INDENT)
            if line.cell_len > len(_INDENT):
                line.append(_INDENT)
            line.append_text(pair)
        if line.cell_len > len(_INDENT):
            yield line


def _styled(cell: str) -> str:
    style = STYLES.get(cell)
    return escape(cell) if style is None else f"[{style}]{escape(cell)}[/]"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return _printable(value)
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value) or "-"
    return to_json(value).strip('"')


def _printable(text: str) -> str:
    """Show control characters as escapes, so that a device's text cannot drive the terminal."""
    return "".join(x if x.isprintable() else repr(x)[1:-1] for x in text)


def _json_form(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no JSON form")
