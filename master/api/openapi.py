"""OpenAPI 3.1 description of the API, made from the table of routes."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from master.api import problems
from master.api.routes import ROUTES, Route, item_name
from master.views.schema import Schema
from master.views.table import TABLES

_ANY_REQUEST: Final = (404, 405, 414, 431, 500, 503)


def describe(version: str) -> dict[str, object]:
    """Return the description.

    Args:
        version: Of the software.
    """
    paths: dict[str, dict[str, object]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    schemas: dict[str, Schema] = {"problem": problems.SCHEMA}
    schemas.update({item_name(table): table.item_schema() for table in TABLES.values()})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gridwitness node",
            "version": version,
            "description": "Read side of a full node. Bytes are lower-case hex, times are milliseconds "
            "since 1970 UTC, errors are problem details (RFC 9457).",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(route: Route) -> dict[str, object]:
    responses: dict[str, object] = {
        str(status): {"description": entry.about, "content": _content(entry.content)}
        for status, entry in route.answers.items()
    }
    for status in sorted({*route.problems, *_ANY_REQUEST}):
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/problem"}}},
        }
    operation: dict[str, object] = {
        "operationId": route.name,
        "summary": route.about,
        "parameters": [parameter.document() for parameter in route.parameters],
        "responses": responses,
    }
    if route.body:
        operation["requestBody"] = {"required": True, "content": _content(route.body)}
    return operation


def _content(schemas: Mapping[str, Schema]) -> dict[str, object]:
    return {kind: {"schema": schema} for kind, schema in schemas.items()}
