"""What a view is made of: tables with typed columns, declared once.

SQL tables, list routes and their documentation all follow from these declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from master.ledger.rows import EventRow
    from wire.genesis import Genesis

Json: TypeAlias = "int | str | bool | list[Json] | dict[str, Json] | None"
"""What a JSON column may hold: no floats, and bytes as lower-case hex."""
Schema: TypeAlias = Mapping[str, object]
"""A JSON Schema (2020-12)."""
Row: TypeAlias = dict[str, Json]
"""One row: every stored column of its table by name."""


class Kind(StrEnum):
    """Storage types of a column."""

    INTEGER = "integer"
    JSON = "json"
    TEXT = "text"


class Comparison(StrEnum):
    """How a condition compares a column with its value."""

    EQUAL = "="
    LESS = "<"
    AT_LEAST = ">="
    ONE_OF = "in"
    HOLDS = "holds"
    """One element of an array, as text, is the value; of columns with `each` alone."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that a row must meet; conditions are joined by "and"."""

    column: str
    comparison: Comparison
    value: int | str | tuple[str, ...]
    """A tuple for `Comparison.ONE_OF` alone."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The moment at which a row is read."""

    head_time_ms: int
    """Block time of the newest block, milliseconds since 1970 UTC."""
    stale_ms: int
    """Age in milliseconds past which a device counts as stale."""


@dataclass(frozen=True, slots=True)
class Column:
    """One value of a row."""

    name: str
    about: str
    """One sentence for the documentation."""
    kind: Kind = Kind.TEXT
    nullable: bool = False
    filtered: str | None = None
    """Name of the query parameter that asks for rows with one value of this column."""
    public: bool = True
    """False: stored for filters and order, never shown."""
    indexed: bool = False
    """True: rows are found by it quickly although no query parameter is it alone."""
    choices: tuple[str, ...] = ()
    """Closed set of values of a text column; empty when open."""
    content: Schema | None = None
    """Schema of a JSON column."""
    each: bool = False
    """Of a JSON column that holds an array of texts or integers which never changes: ``filtered`` asks for an
    element."""

    def schema(self) -> Schema:
        """Return the JSON Schema of the column."""
        base: dict[str, object] = {"description": self.about}
        if self.kind is Kind.JSON:
            base.update(self.content or {})
        else:
            base["type"] = "integer" if self.kind is Kind.INTEGER else "string"
            if self.choices:
                base["enum"] = list(self.choices)
        return nullable(base) if self.nullable else base


@dataclass(frozen=True, slots=True)
class Derived:
    """A value that depends on the moment of reading, computed instead of stored."""

    column: Column
    """Name, choices and documentation; text."""
    compute: Callable[[Row, Reading], str]
    conditions: Callable[[str, Reading], tuple[Condition, ...]]
    """Stored rows for which `compute` yields the given value, exactly."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A query parameter with a number that stands for no column of its own."""

    column: Column
    """Name and documentation; an integer, never stored nor shown."""
    conditions: Callable[[int], tuple[Condition, ...]]
    """Stored rows that it asks for."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one kind: a SQL table, a list route and an item route."""

    name: str
    """Name of the table, ``[a-z_]{1,32}``; that of the route has ``-`` for ``_``."""
    about: str
    columns: tuple[Column, ...]
    key: str
    """Text column that identifies a row."""
    order: tuple[str, ...]
    """Not nullable columns that never change and together are unique: the order of a list."""
    newest_first: bool = False
    """True: descending in every column of ``order``."""
    derived: tuple[Derived, ...] = ()
    asked: tuple[Asked, ...] = ()
    indices: tuple[tuple[str, ...], ...] = ()
    """Columns of further indices."""

    @property
    def path(self) -> str:
        """Path of the list's route."""
        return f"/v1/{self.name.replace('_', '-')}"

    def column(self, name: str) -> Column:
        """Return the stored column of that name.

        Raises:
            KeyError: There is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def filters(self) -> dict[str, Column]:
        """Return the column behind each query parameter, derived and asked ones included."""
        columns = (
            *self.columns,
            *(entry.column for entry in self.derived),
            *(entry.column for entry in self.asked),
        )
        return {column.filtered: column for column in columns if column.filtered is not None}

    def condition(self, parameter: str, value: str, reading: Reading) -> tuple[Condition, ...]:
        """Return what a row must meet when ``parameter`` asks for ``value``.

        Raises:
            KeyError: No such parameter.
        """
        column = self.filters()[parameter]
        for entry in self.derived:
            if entry.column == column:
                return entry.conditions(value, reading)
        for asked in self.asked:
            if asked.column == column:
                return asked.conditions(int(value))
        return (Condition(column.name, Comparison.HOLDS if column.each else Comparison.EQUAL, value),)

    def present(self, row: Row, reading: Reading) -> Row:
        """Return what a reader sees of ``row`` at the moment ``reading``."""
        shown: Row = {column.name: row[column.name] for column in self.columns if column.public}
        for entry in self.derived:
            shown[entry.column.name] = entry.compute(row, reading)
        return shown

    def item_schema(self) -> Schema:
        """Return the JSON Schema of `present`'s result."""
        columns = [column for column in self.columns if column.public]
        columns += [entry.column for entry in self.derived]
        return record({column.name: column.schema() for column in columns}, self.about)


@dataclass(frozen=True, slots=True)
class Put:
    """Row change: ``row`` stands in ``table`` from now on, in place of the one with its key."""

    table: str
    row: Row


class Rows(Protocol):
    """The rows as they stand before an event."""

    def row(self, table: str, key: str) -> Row | None:
        """Return a row, or None; the caller must not change it."""
        ...


Fold: TypeAlias = "Callable[[EventRow, Rows, Genesis], Iterable[Put]]"


@dataclass(frozen=True, slots=True)
class View:
    """What readers see of one contract."""

    contract: str
    tables: tuple[Table, ...]
    start: Callable[[Genesis], Iterable[Put]]
    """Rows that the genesis file alone yields."""
    folds: Mapping[str, Fold]
    """Event type -> row changes; other events of the contract show nothing."""


def nullable(schema: Schema) -> Schema:
    """Return ``schema`` widened by null."""
    kind = schema.get("type")
    if isinstance(kind, str) and "enum" not in schema:
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def record(properties: Mapping[str, Schema], about: str = "") -> Schema:
    """Return the schema of an object that has exactly ``properties``."""
    schema: dict[str, object] = {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"description": about, **schema} if about else schema


def sequence(items: Schema, about: str = "") -> Schema:
    """Return the schema of an array of ``items``."""
    schema: dict[str, object] = {"type": "array", "items": items}
    return {"description": about, **schema} if about else schema


def text(about: str = "", choices: Sequence[str] = ()) -> Schema:
    """Return the schema of a text, one of ``choices`` if there are any."""
    schema: dict[str, object] = {"type": "string"}
    if choices:
        schema["enum"] = list(choices)
    return {"description": about, **schema} if about else schema


def integer(about: str = "", low: int | None = None, high: int | None = None) -> Schema:
    """Return the schema of an integer of ``low..high``."""
    schema: dict[str, object] = {"type": "integer"}
    if low is not None:
        schema["minimum"] = low
    if high is not None:
        schema["maximum"] = high
    return {"description": about, **schema} if about else schema


def hexadecimal(about: str, octets: int | None = None) -> Schema:
    """Return the schema of bytes as lower-case hex, ``octets`` of them if given."""
    count = "*" if octets is None else f"{{{octets}}}"
    return {"description": about, "type": "string", "pattern": f"^([0-9a-f]{{2}}){count}$"}
