"""How commands show what they found, on top of kit.terminal: JSON as it came, text in words."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from client.node import Item, Listing
from kit.terminal import Column, Terminal, print_json

DIGEST_SHOWN: Final = 12
"""Hex digits of a digest that a table shows."""
_MS_PER_S: Final = 1000

ItemT = TypeVar("ItemT", bound=Mapping[str, Any])


def show_items(
    terminal: Terminal,
    headings: Sequence[str],
    found: Sequence[ItemT],
    cells: Callable[[ItemT], Sequence[object]],
    *,
    empty: str,
) -> None:
    """Print a list: ``{"items": [...]}`` with all that the node said, or a table.

    Args:
        terminal: Where to.
        headings: Of the table.
        found: The items.
        cells: One item's cells, as many as there are headings.
        empty: What a person reads when there are none.
    """
    if terminal.as_json:
        print_json({"items": list(found)})
    elif found:
        show_rows(terminal, headings, [cells(item) for item in found])
    else:
        terminal.say(empty)


def show_listing(
    terminal: Terminal,
    headings: Sequence[str],
    found: Listing,
    cells: Callable[[Item], Sequence[object]],
    *,
    empty: str,
) -> None:
    """Print a list of a node as ``show_items`` does, and on stderr that its ledger stands still, if it does.

    JSON holds ``head_age_ms`` and ``ledger_stale`` beside the items.
    """
    if terminal.as_json:
        print_json({"items": found.items, "head_age_ms": found.head_age_ms, "ledger_stale": found.ledger_stale})
        return
    show_items(terminal, headings, found.items, cells, empty=empty)
    if (warning := found.warning()) is not None:
        sys.stdout.flush()
        sys.stderr.write(f"{warning}\n")


def show_rows(terminal: Terminal, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table for people."""
    columns = [Column(heading, heading) for heading in headings]
    terminal.table("", columns, [dict(zip(headings, row, strict=True)) for row in rows])


def lines_of(pairs: Mapping[str, object]) -> list[str]:
    """Write names and values, one pair a line, the values below one another."""
    width = max(map(len, pairs), default=0)
    return [f"{name.ljust(width)}  {'-' if value is None else value}" for name, value in pairs.items()]


def short(digest: object) -> str:
    """Give the first digits of a digest."""
    return "-" if not digest else str(digest)[:DIGEST_SHOWN]


def when(time_ms: object) -> str:
    """Write milliseconds since 1970 as UTC date and time."""
    if not isinstance(time_ms, int):
        return "-"
    moment = dt.datetime.fromtimestamp(time_ms / _MS_PER_S, tz=dt.UTC)
    return moment.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00") + "Z"


def duration(time_ms: object) -> str:
    """Write a time span in the largest unit that leaves two digits before the point."""
    if not isinstance(time_ms, int):
        return "-"
    for unit, unit_ms in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if time_ms >= 2 * unit_ms:
            return f"{time_ms / unit_ms:.1f} {unit}"
    return f"{time_ms / _MS_PER_S:.1f} s"
