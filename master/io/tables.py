"""Query tables: the rows of all views in SQLite, or in PostgreSQL when the URL says so.

They can be lost at any time: the ledger's events yield them again. Each change is one database
transaction that holds the rows and the position up to which events are in them.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from master.ledger.rows import EventRow
from master.views.fold import fold, start_rows
from master.views.ports import START, Page, Position, TablesError
from master.views.schema import Column, Comparison, Condition, Json, Kind, Row, Table
from master.views.table import TABLES, VERSION

if TYPE_CHECKING:
    from wire.genesis import Genesis

ROWS_PAGE_MAX: Final = 1000
CONNECTIONS_MAX: Final = 16
CACHE_ROWS: Final = 65_536
WAIT_MS: Final = 10_000
"""Longest wait for a connection or for a lock of the database."""

_PREFIX: Final = "view_"
_META: Final = "meta"
_COMPACT: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_TEXT: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TYPES: Final[Mapping[Kind, sa.types.TypeEngine[Any]]] = {
    Kind.INTEGER: sa.BigInteger(),
    Kind.JSON: sa.Text(),
    Kind.TEXT: _TEXT,
}
_MAKES: Final = ("postgresql", "sqlite")


class Tables:
    """Rows of all views; one writer at a time, readers in any thread.

    Implements `master.views.ports.ViewTables` and the TablesPort of the API.

    Args:
        url: SQLAlchemy URL, ``sqlite:///PATH`` or ``postgresql+DRIVER://...``; tables whose names
            start with ``view_`` are ours there.
        genesis: Genesis of the ledger. Tables of another ledger or of another version of the
            views are emptied and start anew.

    Raises:
        TablesError: The database cannot be opened, or it is of another make.
    """

    def __init__(self, url: str, genesis: Genesis) -> None:
        self._genesis = genesis
        self._writing = threading.Lock()
        self._cache: OrderedDict[tuple[str, str], Row] = OrderedDict()
        self._metadata, self._meta, self._tables, self._words = _declare()
        with _typed("open"):
            self._engine = _engine(url)
            statements = {_META: self._meta, **self._tables}
            make = self._engine.dialect.name
            self._upserts = {name: _upsert(table, make) for name, table in statements.items()}
            self._position = self._resume()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def position(self) -> Position:
        """Return the place up to which events are applied."""
        return self._position

    def apply(self, events: Sequence[EventRow], through: Position) -> None:
        """Apply events and move to ``through``, both or neither; see `ViewTables.apply`.

        Raises:
            TablesError: Nothing was changed.
            ViewError: An event's data is not what its contract promises; nothing was changed.
        """
        with self._writing:
            if through <= self._position:
                return
            at = self._position
            new = [event for event in events if Position(event.height, event.index) > at]
            assert all(Position(event.height, event.index) <= through for event in new)
            with _typed("write"), self._engine.begin() as connection:
                changed = fold(new, _Reader(self, connection), self._genesis)
                self._write(connection, changed, through)
            for key, row in changed.items():
                self._remember(key, row)
            self._position = through

    def rebuild(self) -> None:
        """Go back to the rows of the genesis file, so that all events are applied anew.

        Raises:
            TablesError: Nothing was changed.
        """
        with self._writing, _typed("rebuild"), self._engine.begin() as connection:
            for table in (*self._tables.values(), *self._words.values()):
                connection.execute(table.delete())
            self._write(connection, start_rows(self._genesis), START)
            self._cache.clear()
            self._position = START

    def page(
        self,
        table: Table,
        conditions: Sequence[Condition],
        after: tuple[Json, ...] | None,
        limit: int,
    ) -> Page:
        """Return at most ``limit`` rows, at most 1,000, in the table's order, behind ``after``.

        Raises:
            TablesError: The database cannot be read.
        """
        stored = self._tables[table.name]
        order = [stored.c[name] for name in table.order]
        query = sa.select(stored).limit(min(limit, ROWS_PAGE_MAX))
        rest = list(conditions)
        if rest and all(condition.comparison is Comparison.HOLDS for condition in rest):
            # the words stand in the order of the table: the first page of the rarest, who knows, is soon together
            first = max(rest, key=lambda condition: len(str(condition.value)))
            rest.remove(first)
            words = self._words[table.name, first.column]
            order = [words.c[name] for name in table.order]
            pairs = (stored.c[name] == words.c[name] for name in table.order)
            query = query.join_from(words, stored, sa.and_(*pairs)).where(words.c.word == first.value)
        query = query.order_by(*(part.desc() if table.newest_first else part for part in order))
        for condition in rest:
            query = query.where(self._clause(table, condition))
        if after is not None:
            at, last = sa.tuple_(*order), sa.tuple_(*(sa.literal(part) for part in after))
            query = query.where(at < last if table.newest_first else at > last)
        with _typed("read"), self._engine.connect() as connection:
            position = self._position
            found = connection.execute(query).mappings().all()
        return Page(tuple(_row(table, entry) for entry in found), position)

    def _clause(self, table: Table, condition: Condition) -> sa.ColumnElement[bool]:
        stored = self._tables[table.name]
        if condition.comparison is not Comparison.HOLDS:
            return _clause(stored.c[condition.column], condition)
        words = self._words[table.name, condition.column].alias()
        is_there = (words.c[name] == stored.c[name] for name in table.order)
        return sa.exists().where(words.c.word == condition.value, *is_there)

    def row(self, table: str, key: str) -> Row | None:
        """Return one row by its key.

        Raises:
            TablesError: The database cannot be read.
        """
        with _typed("read"), self._engine.connect() as connection:
            return self._load(connection, table, key)

    def _load(self, connection: sa.Connection, table: str, key: str) -> Row | None:
        stored = self._tables[table]
        query = sa.select(stored).where(stored.c[TABLES[table].key] == key)
        found = connection.execute(query).mappings().one_or_none()
        return None if found is None else _row(TABLES[table], found)

    def _remember(self, key: tuple[str, str], row: Row) -> None:
        self._cache[key] = row
        self._cache.move_to_end(key)
        if len(self._cache) > CACHE_ROWS:
            self._cache.popitem(last=False)

    def _write(
        self,
        connection: sa.Connection,
        changed: Mapping[tuple[str, str], Row],
        through: Position,
    ) -> None:
        values: dict[str, list[dict[str, int | str | None]]] = {name: [] for name in TABLES}
        for (name, _), row in changed.items():
            values[name].append(_values(TABLES[name], row))
        for name, rows in values.items():
            if rows:
                connection.execute(self._upserts[name], rows)
        for (name, column), words in self._words.items():
            new = [word for (at, _), row in changed.items() if at == name for word in _words(TABLES[name], column, row)]
            if new:
                connection.execute(_insert_new(words, self._engine.dialect.name), new)
        place = [
            {"name": "height", "content": str(through.height)},
            {"name": "index", "content": str(through.index)},
        ]
        connection.execute(self._upserts[_META], place)

    def _resume(self) -> Position:
        """Return the position of tables that are ours and of today's form, else make them so."""
        want = {"chain": self._genesis.chain(), "form": _form(self._metadata)}
        if sa.inspect(self._engine).has_table(self._meta.name):
            with self._engine.connect() as connection:
                rows = connection.execute(sa.select(self._meta.c.name, self._meta.c.content))
                found = {name: content for name, content in rows}  # noqa: C416 - dict() takes no Row
            if want.items() <= found.items():
                return Position(int(found["height"]), int(found["index"]))
        with self._engine.begin() as connection:
            old = sa.MetaData()
            old.reflect(connection, only=lambda name, _: name.startswith(_PREFIX))
            old.drop_all(connection)
            self._metadata.create_all(connection)
        with self._engine.begin() as connection:
            self._write(connection, start_rows(self._genesis), START)
            marks = [{"name": name, "content": content} for name, content in want.items()]
            connection.execute(self._upserts[_META], marks)
        return START


class _Reader:
    """Rows as they stand, for a fold: from memory if used lately, else from the database."""

    def __init__(self, tables: Tables, connection: sa.Connection) -> None:
        self._tables = tables
        self._connection = connection

    def row(self, table: str, key: str) -> Row | None:
        tables = self._tables
        row = tables._cache.get((table, key))  # noqa: SLF001 - one module
        if row is None:
            row = tables._load(self._connection, table, key)  # noqa: SLF001 - one module
            if row is not None:
                tables._remember((table, key), row)  # noqa: SLF001 - one module
        return row


@contextmanager
def _typed(what: str) -> Iterator[None]:
    """Turn the database's errors into ours."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise TablesError(f"query tables: cannot {what}: {cause}") from error


def _engine(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    make = parsed.get_backend_name()
    if make not in _MAKES:
        raise TablesError(f"query tables: {make} is no database that we know (sqlite, postgresql)")
    arguments = {"timeout": WAIT_MS / 1000} if make == "sqlite" else {}
    engine = sa.create_engine(
        parsed,
        connect_args=arguments,
        pool_size=CONNECTIONS_MAX,
        max_overflow=0,
        pool_timeout=WAIT_MS / 1000,
        poolclass=sa.QueuePool,
    )
    if make == "sqlite":
        sa.event.listen(engine, "connect", _sqlite_settings)
    return engine


def _sqlite_settings(connection: Any, record: object) -> None:  # noqa: ANN401 - a DBAPI connection
    """Let readers go on while a block is written; a power cut costs blocks, never consistency."""
    del record
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _declare() -> tuple[sa.MetaData, sa.Table, dict[str, sa.Table], dict[tuple[str, str], sa.Table]]:
    metadata = sa.MetaData()
    meta = sa.Table(
        _PREFIX + _META,
        metadata,
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("content", sa.Text(), nullable=False),
    )
    tables: dict[str, sa.Table] = {}
    words: dict[tuple[str, str], sa.Table] = {}
    for table in TABLES.values():
        stored = sa.Table(_PREFIX + table.name, metadata, *(_column(table, column) for column in table.columns))
        order = [stored.c[name] for name in table.order]
        if table.order != (table.key,):
            sa.Index(f"{stored.name}_order", *order, unique=True)
        for column in table.columns:
            if column.each:
                words[table.name, column.name] = _word_table(metadata, table, column)
            elif column.filtered is not None or column.indexed:
                sa.Index(f"{stored.name}_{column.name}", stored.c[column.name], *order)
        for names in table.indices:
            sa.Index(f"{stored.name}_by_{'_'.join(names)}", *(stored.c[name] for name in names), *order)
        tables[table.name] = stored
    return metadata, meta, tables, words


def _word_table(metadata: sa.MetaData, table: Table, column: Column) -> sa.Table:
    """Declare where the elements of an array stand, each with the place of its row in the order of the table."""
    order = [sa.Column(name, _TYPES[table.column(name).kind], primary_key=True) for name in table.order]
    word = sa.Column("word", _TEXT, primary_key=True)
    return sa.Table(f"{_PREFIX}{table.name}_of_{column.name}", metadata, word, *order, sqlite_with_rowid=False)


def _words(table: Table, column: str, row: Row) -> list[dict[str, Json]]:
    """Return the elements of an array for its word table."""
    found = row[column]
    assert isinstance(found, list)
    place = {name: row[name] for name in table.order}
    return [{"word": str(word), **place} for word in dict.fromkeys(map(str, found))]


def _insert_new(table: sa.Table, make: str) -> sa.Insert:
    """Return the statement that adds rows that are not there yet."""
    insert = postgresql.insert(table) if make == "postgresql" else sqlite.insert(table)
    return insert.on_conflict_do_nothing()


def _column(table: Table, column: Column) -> sa.Column[Any]:
    key = column.name == table.key
    kind = _TYPES[column.kind]
    return sa.Column(column.name, kind, primary_key=key, nullable=column.nullable)


def _upsert(table: sa.Table, make: str) -> sa.Insert:
    """Return the statement that puts a row in the place of the one with its key."""
    insert = postgresql.insert(table) if make == "postgresql" else sqlite.insert(table)
    keys = [column.name for column in table.primary_key]
    others = [column.name for column in table.c if column.name not in keys]
    return insert.on_conflict_do_update(index_elements=keys, set_={name: insert.excluded[name] for name in others})


def _form(metadata: sa.MetaData) -> str:
    """Return a mark of the tables' form and of the folds' version."""
    parts = [str(VERSION)]
    for table in metadata.sorted_tables:
        parts.append(table.name)
        parts += [f"{column.name} {column.type!r} {column.nullable}" for column in table.c]
        parts += sorted(f"{index.name} {index.columns.keys()}" for index in table.indexes)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _clause(column: sa.Column[Any], condition: Condition) -> sa.ColumnElement[bool]:
    value = condition.value
    match condition.comparison:
        case Comparison.EQUAL:
            return column == value
        case Comparison.LESS:
            return column < value
        case Comparison.AT_LEAST:
            return column >= value
        case _:
            return column.in_(value if isinstance(value, tuple) else (value,))


def _values(table: Table, row: Row) -> dict[str, int | str | None]:
    values: dict[str, int | str | None] = {}
    for column in table.columns:
        value = row[column.name]
        if column.kind is Kind.JSON:
            compact = _COMPACT.encode(value)
            values[column.name] = None if value is None and column.nullable else compact
        else:
            assert value is None or isinstance(value, int | str)
            values[column.name] = value
    return values


def _row(table: Table, found: sa.RowMapping) -> Row:
    return {
        column.name: json.loads(found[column.name])
        if column.kind is Kind.JSON and found[column.name] is not None
        else found[column.name]
        for column in table.columns
    }
