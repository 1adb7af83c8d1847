"""TOML text as values that know their file and line.

tomllib decides what is valid TOML and what it means, but drops positions. A second pass over text
that is already known to be valid finds the line of every key, so it needs no error handling of its
own; a path that it did not find takes the line of its parent.
"""

from __future__ import annotations

import bisect
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from kit.exitcodes import StorageError
from kit.files import read_bounded

FILE_BYTES_MAX: Final = 1024 * 1024

Step: TypeAlias = str | int
Where: TypeAlias = tuple[Step, ...]

_AT_LINE = re.compile(r"^(?P<reason>.*) \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")
_BLANK = re.compile(r"(?:[ \t\n]+|#[^\n]*)*")
_SPACES = re.compile(r"[ \t]*")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_TEXT = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'  # one or two quotes may stand before the closing three
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE_VALUE = re.compile(r"[^,\]}\n#]+")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written: a file and its line, or (line 0) an environment variable.

    Relative paths in the value start from ``folder``.
    """

    name: str
    line: int
    folder: Path

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name


@dataclass(frozen=True, slots=True)
class Located:
    """A TOML value; tables and arrays hold Located values again."""

    value: object
    origin: Origin


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration, and where."""

    origin: Origin
    message: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.message}"


def read_toml(path: Path) -> Located | Problem:
    """Read one TOML file; a file that cannot be read or is no TOML gives a Problem instead."""
    folder = path.parent
    whole = Origin(name=str(path), line=1, folder=folder)
    try:
        text = read_bounded(path, bytes_max=FILE_BYTES_MAX).decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return Problem(Origin(str(path), line, folder), "is no UTF-8 text; save the file as UTF-8")
    except StorageError as error:
        return Problem(whole, str(error))
    except OSError as error:
        return Problem(Origin(str(path), 0, folder), f"cannot be read: {error.strerror}")
    try:
        tree = tomllib.loads(text)
        lines = find_lines(text)
    except tomllib.TOMLDecodeError as error:
        return _syntax_problem(error, text, whole)
    except RecursionError:
        return Problem(whole, "is nested too deeply to be a configuration")
    return _locate(tree, (), lines, whole)


def find_lines(text: str) -> dict[Where, int]:
    """Map every key path (arrays by zero-based index) of valid TOML to its line, from 1."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


def _syntax_problem(error: tomllib.TOMLDecodeError, text: str, whole: Origin) -> Problem:
    match = _AT_LINE.match(str(error))
    if match is None:
        return Problem(whole, f"is no TOML: {error}")
    last = text.rstrip("\n").count("\n") + 1
    line = int(match["line"]) if match["line"] else last
    return Problem(Origin(whole.name, line, whole.folder), f"is no TOML: {match['reason']}")


def _locate(value: object, where: Where, lines: dict[Where, int], parent: Origin) -> Located:
    line = lines.get(where, parent.line)
    origin = Origin(parent.name, line, parent.folder)
    if isinstance(value, dict):
        table = {key: _locate(item, (*where, key), lines, origin) for key, item in value.items()}
        return Located(table, origin)
    if isinstance(value, list):
        items = [_locate(item, (*where, i), lines, origin) for i, item in enumerate(value)]
        return Located(items, origin)
    return Located(value, origin)


class _Scanner:
    """One walk over valid TOML text; notes the line of every key path."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Where, int] = {}
        self._text = text
        self._at = 0
        self._line_ends = [match.start() for match in re.finditer("\n", text)]
        self._table_counts: dict[Where, int] = {}

    def document(self) -> None:
        where: Where = ()
        self._take(_BLANK)
        while self._at < len(self._text):
            if self._text.startswith("[[", self._at):
                where = self._array_header()
            elif self._text.startswith("[", self._at):
                where = self._table_header()
            else:
                self._pair(where)
            self._take(_BLANK)

    def _array_header(self) -> Where:
        line = self._line()
        self._at += 2
        keys = self._key()
        self._at += 2
        array = (*self._open(keys[:-1], (), line), keys[-1])
        self.lines.setdefault(array, line)
        self._table_counts[array] = self._table_counts.get(array, 0) + 1
        table = (*array, self._table_counts[array] - 1)
        self.lines[table] = line
        return table

    def _table_header(self) -> Where:
        line = self._line()
        self._at += 1
        keys = self._key()
        self._at += 1
        where = self._open(keys, (), line)
        self.lines[where] = line  # the header itself beats a sub-table that came earlier
        return where

    def _open(self, keys: list[str], where: Where, line: int) -> Where:
        """Walk down through tables, and through the last table of an array of tables."""
        for key in keys:
            where = (*where, key)
            self.lines.setdefault(where, line)
            if where in self._table_counts:
                where = (*where, self._table_counts[where] - 1)
        return where

    def _pair(self, table: Where) -> None:
        line = self._line()
        keys = self._key()
        self._at += 1  # the equals sign
        self._take(_SPACES)
        where = (*self._open(keys[:-1], table, line), keys[-1])
        self.lines[where] = line
        self._value(where)

    def _key(self) -> list[str]:
        """Read a dotted key and the blanks around it."""
        keys: list[str] = []
        while True:
            self._take(_SPACES)
            part = self._take(_KEY_PART)
            quoted = part.startswith(("'", '"'))
            keys.append(tomllib.loads(f"key = {part}")["key"] if quoted else part)
            self._take(_SPACES)
            if not self._text.startswith(".", self._at):
                return keys
            self._at += 1

    def _value(self, where: Where) -> None:
        first = self._text[self._at]
        if first in "\"'":
            self._take(_TEXT)
        elif first == "[":
            self._array(where)
        elif first == "{":
            self._inline_table(where)
        else:
            self._take(_BARE_VALUE)

    def _array(self, where: Where) -> None:
        self._open_bracket()
        index = 0
        while self._text[self._at] != "]":
            item = (*where, index)
            self.lines[item] = self._line()
            self._value(item)
            self._next_item()
            index += 1
        self._at += 1

    def _inline_table(self, where: Where) -> None:
        self._open_bracket()
        while self._text[self._at] != "}":
            self._pair(where)
            self._next_item()
        self._at += 1

    def _open_bracket(self) -> None:
        self._at += 1
        self._take(_BLANK)

    def _next_item(self) -> None:
        self._take(_BLANK)
        if self._text[self._at] == ",":
            self._at += 1
            self._take(_BLANK)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None, "the scanner only runs on text that tomllib accepted"
        self._at = match.end()
        return match.group()

    def _line(self) -> int:
        return bisect.bisect_left(self._line_ends, self._at) + 1
