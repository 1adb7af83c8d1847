"""Where a file differs from what a release package or folder expects: pure, and by name as far as it is understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from agent.model import DeviceFile
from rules.difference import difference_of, difference_text, differing_chunks
from rules.items.compare import ItemChange, compare, item_name, item_sentence
from rules.items.model import CONTENT_BYTES_MAX, ItemList, ItemsError
from rules.items.table import read_items_as
from rules.package import Package
from wire.difference import CHUNKS, ITEMS, NUMBERS_MAX, Difference
from wire.evidence import METHODS_READING
from wire.release import FIRMWARE
from wire.types import CHUNK_BYTES, Digest

SENTENCES_MAX: Final = 64
"""Items that are shown with their values, one a line."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The reference value of one artefact, and what it stands for."""

    kind: str
    release: str
    """Name of the release."""
    size: int
    """Bytes."""
    sha256: Digest
    chunks: tuple[Digest, ...] | None
    """Leaf digests, None where they are not known."""
    items: ItemList | None
    """None where the reference value is not understood as a list."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """How one file compares with what is expected."""

    kind: str
    release: str
    is_same: bool
    difference: Difference | None
    """What evidence may say of it; None where the file is the same, or nothing can be named."""
    changes: tuple[ItemChange, ...]
    """The items that differ, with their values."""
    size: int
    """Bytes of the longer of the two files."""
    note: str
    """Why no items are named, where some might have been; else empty."""


def expected_of(package: Package) -> dict[str, Expected]:
    """Return by artefact kind what a package expects."""
    return {
        reference.kind: Expected(
            reference.kind,
            package.release.release,
            reference.size,
            reference.sha256,
            part.chunks,
            part.items,
        )
        for reference, part in package.artefacts()
    }


def diagnose(file: DeviceFile, expected: Expected) -> Diagnosis:
    """Compare what was read with what is expected, item by item if both are understood, else chunk by chunk.

    Args:
        file: As the driver gave it, with its content and leaf digests.
        expected: Of the same kind.
    """
    size = max(file.digest.size, expected.size)
    plain = Diagnosis(file.kind, expected.release, file.digest.sha256 == expected.sha256, None, (), size, "")
    if plain.is_same:
        return plain
    if file.method not in METHODS_READING or file.errors:
        return replace(plain, note=f"{file.method}{', '.join(('', *file.errors))}: nothing more can be said")
    try:
        changes = _changes(file, expected)
    except ItemsError as error:
        numbers = _chunk_numbers(file, expected)
        difference = None if numbers is None else difference_of(expected.sha256, CHUNKS, numbers)
        return replace(plain, difference=difference, note="" if file.kind == FIRMWARE else str(error))
    difference = difference_of(expected.sha256, ITEMS, [change.number for change in changes])
    return replace(plain, difference=difference, changes=changes)


def _changes(file: DeviceFile, expected: Expected) -> tuple[ItemChange, ...]:
    if expected.items is None:
        raise ItemsError("the reference value is not understood as a list of items")
    if file.content is None:
        raise ItemsError(f"files of more than {CONTENT_BYTES_MAX} bytes are not looked into")
    try:
        return compare(expected.items, read_items_as(expected.items.format, file.content))
    except ItemsError as error:
        raise ItemsError(f"it cannot be read as {expected.items.format}: {error}") from error


def _chunk_numbers(file: DeviceFile, expected: Expected) -> tuple[int, ...] | None:
    """Return the chunks that differ, or None where one side's are not known."""
    is_known = len(file.digest.leaves) == (file.digest.size + CHUNK_BYTES - 1) // CHUNK_BYTES
    if expected.chunks is None or not is_known:
        return None
    return differing_chunks(expected.chunks, file.digest.leaves)


def where(diagnosis: Diagnosis) -> str:
    """Return where a file differs, without what it holds: for the log and the status."""
    difference, changes = diagnosis.difference, diagnosis.changes
    link = "from"
    if difference is None:
        text = "differs"
    elif changes:
        names = ", ".join(item_name(diagnosis.kind, change) for change in changes[:NUMBERS_MAX])
        more = f" and {len(changes) - NUMBERS_MAX} more" if len(changes) > NUMBERS_MAX else ""
        text = f"{names}{more} {'differs' if len(changes) == 1 else 'differ'}"
    else:
        text = difference_text(diagnosis.kind, difference, diagnosis.size)
        link = "than in" if difference.unit == ITEMS else link
    note = f" ({diagnosis.note})" if diagnosis.note else ""
    return f"{diagnosis.kind}: {text} {link} release {diagnosis.release}{note}"


def sentences(diagnosis: Diagnosis) -> list[str]:
    """Return how a file compares, with the values of the items: for whoever stands before the device."""
    if diagnosis.is_same:
        return [f"as in release {diagnosis.release}"]
    if not diagnosis.changes:
        return [where(diagnosis)]
    shown = [item_sentence(diagnosis.kind, change) for change in diagnosis.changes[:SENTENCES_MAX]]
    more = len(diagnosis.changes) - SENTENCES_MAX
    count = len(diagnosis.changes)
    heading = f"differs from release {diagnosis.release} in {count} item{'' if count == 1 else 's'}"
    return [heading, *shown, *([f"and {more} more; --json shows all"] if more > 0 else [])]


def to_value(diagnosis: Diagnosis) -> dict[str, object]:
    """Return a diagnosis as JSON-able values, with the values of the items."""
    difference = diagnosis.difference
    return {
        "release": diagnosis.release,
        "same": diagnosis.is_same,
        "difference": None
        if difference is None
        else {"unit": difference.unit, "count": difference.count, "numbers": list(difference.numbers)},
        "items": [_change_value(change) for change in diagnosis.changes],
        "note": diagnosis.note,
        "said": sentences(diagnosis),
    }


def _change_value(change: ItemChange) -> dict[str, object]:
    cells: list[Mapping[str, object]] = [
        {"column": cell.column, "expected": cell.expected, "read": cell.read, "same_number": cell.is_same_number}
        for cell in change.cells
    ]
    return {
        "number": change.number,
        "label": change.label,
        "expected": change.is_expected,
        "read": change.is_read,
        "cells": cells,
    }
