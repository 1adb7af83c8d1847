"""What people and scripts see: tables or JSON on stdout, progress on stderr."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

PROGRESS_AFTER_S: Final = 2.0
DIGEST_SHOWN: Final = 12
"""Hex digits of a digest that a table shows."""

_COLOURS: Final = {
    "match": "green",
    "effective": "green",
    "ok": "green",
    "committed": "green",
    "returned": "green",
    "alarm": "bold red",
    "raised": "bold red",
    "mismatch": "red",
    "misfilled": "red",
    "superseded": "yellow",
    "incomplete": "red",
    "missing": "red",
    "identity_changed": "red",
    "unreachable": "yellow",
    "stale": "yellow",
    "pending": "yellow",
    "unknown_reference": "yellow",
}


def show_json(value: object) -> None:
    """Write one JSON value, indented."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def show_json_line(value: object) -> None:
    """Write one JSON value as one line, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Write a table, or a sentence where there is nothing to show.

    Args:
        columns: Headings.
        rows: Cells; words such as a verdict get their colour.
        empty: The sentence.
    """
    console = Console()
    if not rows:
        console.print(escape(empty))
        return
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)


def show_pairs(pairs: Mapping[str, object]) -> None:
    """Write names and values, one pair a line."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in pairs.items():
        table.add_row(f"[bold]{escape(name)}[/bold]", _cell(value))
    Console().print(table)


def say(text: str) -> None:
    """Write one line for a person."""
    Console(highlight=False).print(escape(text))


def short(digest: object) -> str:
    """Give the first digits of a digest."""
    return "-" if not digest else str(digest)[:DIGEST_SHOWN]


def when(time_ms: object) -> str:
    """Write milliseconds since 1970 as UTC date and time."""
    if not isinstance(time_ms, int):
        return "-"
    moment = dt.datetime.fromtimestamp(time_ms / 1000, tz=dt.UTC)
    return moment.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00") + "Z"


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Say on stderr what is being waited for, once it takes more than two seconds.

    Args:
        text: Such as "waiting for the outcome".
    """
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(escape(text)):
            yield
        return
    timer = threading.Timer(PROGRESS_AFTER_S, lambda: sys.stderr.write(f"{text} ...\n"))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cell(value: object) -> str:
    text = escape("-" if value is None else str(value))
    colour = _COLOURS.get(text)
    return text if colour is None else f"[{colour}]{text}[/]"
