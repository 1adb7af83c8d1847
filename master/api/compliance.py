"""When each device was verified last, against the limit, as JSON or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from master.api.call import Call, answer
from master.api.lists import FRESHNESS, LIMIT
from master.api.parameters import Cursor, Parameter, Word, cursor_of
from master.api.past import demand
from master.views import compliance
from master.views.consistency import DEVICES
from master.views.schema import Condition, Json, Schema, integer, nullable, record, sequence, text

CSV_TYPE: Final = "text/csv"
PATH: Final = "/v1/compliance"
AFTER: Final = Parameter("after", "The 'next' of the page before.", Cursor(DEVICES))
STATUS: Final = Parameter("status", "Only devices of this status.", Word(compliance.STATUSES))
FORMAT: Final = Parameter("format", "Form of the answer.", Word(("csv", "json")), default="json")
FILTERS: Final = tuple(
    Parameter(name, DEVICES.filters()[name].about, Word(DEVICES.filters()[name].choices)) for name in compliance.FILTERS
)
PARAMETERS: Final[tuple[Parameter[object], ...]] = (*FILTERS, STATUS, FORMAT, AFTER, LIMIT)
LIST_SCHEMA: Final[Schema] = record(
    {
        "items": sequence(compliance.SCHEMA),
        "next": nullable(text("Where the next page begins, null on the last one.")),
        "head_time_ms": integer("Block time to which the days are counted, ms since 1970 UTC.", 0),
        "height": integer("Block up to which the ledger's events are in the items, at least.", 0),
        **FRESHNESS,
    }
)


async def report(call: Call) -> Response:
    """Answer a page of the report; as CSV the next page is in the header Link (RFC 8288)."""
    context, arguments = call.context, call.arguments
    reading, days_max = context.reading(), context.node.baseline_days_max()
    wanted: list[Condition] = [compliance.EVERY]
    for parameter in FILTERS:
        if (value := arguments.get(parameter)) is not None:
            wanted += DEVICES.condition(parameter.name, value, reading)
    if (status := arguments.get(STATUS)) is not None:
        wanted += compliance.conditions(status, reading.head_time_ms, days_max)
    limit, after = arguments.need(LIMIT), arguments.get(AFTER)
    page = await context.blocking(lambda: context.tables.page(DEVICES, wanted, after, limit + 1))
    demand(context, page.position.complete_height + 1)
    rows, more = page.rows[:limit], len(page.rows) > limit
    items = [compliance.entry(row, reading.head_time_ms, days_max) for row in rows]
    following = cursor_of(DEVICES, rows[-1]) if more else None
    if arguments.need(FORMAT) == "csv":
        query = {**call.request.query_params, "after": following}
        headers = {} if following is None else {"Link": f'<{PATH}?{urlencode(query)}>; rel="next"'}
        return Response(_csv(items), media_type=CSV_TYPE, headers=headers)
    return answer(
        {
            "items": items,
            "next": following,
            "head_time_ms": reading.head_time_ms,
            "height": page.position.complete_height,
            **context.freshness(),
        }
    )


def _csv(items: list[dict[str, Json]]) -> str:
    """Write the items with their names in the first line (RFC 4180); what is null is empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, compliance.COLUMNS)
    writer.writeheader()
    lines: list[Mapping[str, Json]] = list(items)
    writer.writerows(lines)
    return file.getvalue()
