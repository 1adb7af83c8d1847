"""Lists and items of the views' tables; the routes follow from the tables' declarations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from master.api.call import Call, Handler, answer
from master.api.parameters import Cursor, Form, Number, Parameter, Word, cursor_of
from master.api.past import demand
from master.api.problems import not_found
from master.views.schema import Column, Condition, Kind, Schema, Table, integer, nullable, record, sequence, text
from wire.types import INT_MAX

LIMIT_MAX: Final = 1000
LIMIT_DEFAULT: Final = 100
FRESHNESS: Final[Mapping[str, Schema]] = {
    "head_age_ms": integer("Age of the newest block by this node's clock, ms.", 0),
    "ledger_stale": {
        "description": "True when the ledger stands still by this node's clock: judge nothing by it.",
        "type": "boolean",
    },
}

LIMIT: Final = Parameter("limit", "Most items of the answer.", Number(1, LIMIT_MAX), default=LIMIT_DEFAULT)


def list_parameters(table: Table) -> tuple[Parameter[object], ...]:
    """Return the query parameters of a table's list: its filters, ``after`` and ``limit``."""
    filters = tuple(Parameter(name, column.about, _form(column)) for name, column in table.filters().items())
    return (*filters, Parameter("after", "The 'next' of the page before.", Cursor(table)), LIMIT)


def _form(column: Column) -> Form[object]:
    return Number(0, INT_MAX - 1) if column.kind is Kind.INTEGER else Word(column.choices)


def list_schema(item: Schema) -> Schema:
    """Return the schema of a list answer."""
    return record(
        {
            "items": sequence(item),
            "next": nullable(text("Where the next page begins, null on the last one.")),
            "height": integer("Block up to which the ledger's events are in the items, at least.", 0),
            **FRESHNESS,
        }
    )


def item_schema(table: Table) -> Schema:
    """Return the schema of an item answer: the item and the ledger's age."""
    schema = table.item_schema()
    properties, required = schema["properties"], schema["required"]
    assert isinstance(properties, dict)
    assert isinstance(required, list)
    return {**schema, "properties": {**properties, **FRESHNESS}, "required": [*required, *FRESHNESS]}


def list_handler(table: Table) -> Handler:
    """Return the handler of a table's list."""
    parameters = {entry.name: entry for entry in list_parameters(table)}
    cursor = Parameter("after", "", Cursor(table))

    async def handle(call: Call) -> Response:
        context = call.context
        reading = context.reading()
        conditions: list[Condition] = []
        for name in table.filters():
            value = call.arguments.get(parameters[name])
            if value is not None:
                conditions += table.condition(name, str(value), reading)
        limit, after = call.arguments.need(LIMIT), call.arguments.get(cursor)
        page = await context.blocking(lambda: context.tables.page(table, conditions, after, limit + 1))
        demand(context, page.position.complete_height + 1)
        rows, more = page.rows[:limit], len(page.rows) > limit
        return answer(
            {
                "items": [table.present(row, reading) for row in rows],
                "next": cursor_of(table, rows[-1]) if more else None,
                "height": page.position.complete_height,
                **context.freshness(),
            }
        )

    return handle


def item_parameter(table: Table) -> Parameter[str]:
    """Return the path parameter of a table's item."""
    return Parameter("id", table.column(table.key).about, Word(), place="path")


def item_handler(table: Table) -> Handler:
    """Return the handler of one item of a table."""
    parameter = item_parameter(table)
    word = table.name.removesuffix("s")

    async def handle(call: Call) -> Response:
        context = call.context
        key = call.arguments.need(parameter)
        demand(context, (await context.blocking(context.tables.position)).complete_height + 1)
        row = await context.blocking(lambda: context.tables.row(table.name, key))
        if row is None:
            raise not_found(f"{word} {key!r}")
        return answer({**table.present(row, context.reading()), **context.freshness()})

    return handle
