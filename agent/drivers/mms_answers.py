"""Checks what the IEC 61850 child process answers, field by field: a value of another form is no value.

Every function raises `FormatError` with what stands where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.drivers.mms_settings import Setting, setting
from agent.drivers.scl import SclIed
from agent.drivers.text import device_text
from wire.cbor import Value
from wire.errors import FormatError
from wire.types import shown

_PATH_BYTES_MAX: Final = 255
_GROUPS_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class File:
    """One file as the device lists it."""

    name: str
    """Path to ask for it with."""
    size: int
    """Bytes that the device declares."""


@dataclass(frozen=True, slots=True)
class Block:
    """A setting group control block."""

    groups: int
    """Number of groups, 1..255."""
    active: int
    """The active one, 1..groups."""
    changed_ms: int | None
    """When it became active, None where the device does not say."""


def as_names(value: Value) -> list[str]:
    """Return a list of names."""
    names = _sequence(value, "names")
    for name in names:
        if not isinstance(name, str):
            raise FormatError(f"names: {shown(name)} is no text")
    return [str(name) for name in names]


def as_text(value: Value) -> str:
    """Return one value of the device as text: a text itself, or a whole number."""
    match value:
        case ["text", bytes(raw)]:
            return device_text(raw)
        case ["integer", int(number)] if not isinstance(number, bool):
            return str(number)
        case _:
            raise FormatError(f"value: a text or a whole number is due, found {shown(value)}")


def as_leaves(value: Value, node: str) -> list[Setting]:
    """Return every value below a logical node.

    Args:
        value: Path, type and value of each.
        node: Stands before each path, as ``LD0/PTUF1``.
    """
    found = []
    for entry in _sequence(value, node):
        match entry:
            case [str(path), kind, leaf]:
                found.append(setting(f"{node}.{path}", kind, leaf))
            case _:
                raise FormatError(f"{node}: {shown(entry)} is no path, type and value")
    return found


def as_block(value: Value) -> Block:
    """Return a setting group control block.

    Source: IEC 61850-7-2, 16.2; the time of activation is optional.
    """
    parts = {}
    for entry in _sequence(value, "SGCB"):
        match entry:
            case [str(path), str(kind), leaf]:
                parts[path] = (kind, leaf)
            case _:
                raise FormatError(f"SGCB: {shown(entry)} is no path, type and value")
    groups = _number(parts, "NumOfSG", _GROUPS_MAX)
    active = _number(parts, "ActSG", groups)
    kind, changed_ms = parts.get("LActTm", ("", None))
    return Block(groups, active, changed_ms if kind == "time" and isinstance(changed_ms, int) else None)


def as_files(value: Value) -> list[File]:
    """Return the files of a folder; one whose name is no readable text cannot be asked for, and is left out."""
    found = []
    for entry in _sequence(value, "files"):
        match entry:
            case [bytes(name), int(size), int()] if size >= 0:
                if len(name) <= _PATH_BYTES_MAX and name.isascii() and name.decode().isprintable():
                    found.append(File(name.decode(), size))
            case _:
                raise FormatError(f"files: {shown(entry)} is no name, size and time")
    return found


def as_ieds(value: Value) -> tuple[SclIed, ...]:
    """Return what an SCL file says of its IEDs."""
    found = []
    for entry in _sequence(value, "scl"):
        match entry:
            case [str(name), str(version), [*pairs]]:
                found.append(SclIed(name, version, tuple(_revision(pair) for pair in pairs)))
            case _:
                raise FormatError(f"scl: {shown(entry)} is no IED")
    return tuple(found)


def _revision(value: Value) -> tuple[str, str]:
    match value:
        case [str(instance), str(revision)]:
            return instance, revision
        case _:
            raise FormatError(f"scl: {shown(value)} is no revision")


def _number(parts: dict[str, tuple[str, Value]], name: str, high: int) -> int:
    kind, number = parts.get(name, ("", None))
    if kind != "integer" or not isinstance(number, int) or not 1 <= number <= high:
        raise FormatError(f"SGCB.{name}: a whole number 1..{high} is due, found {shown(number)}")
    return number


def _sequence(value: Value, what: str) -> list[Value]:
    if not isinstance(value, list):
        raise FormatError(f"{what}: an array is due, found {shown(value)}")
    return value
