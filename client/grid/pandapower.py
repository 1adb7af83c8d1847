"""Models as pandapower writes them to JSON: element tables as data frames. Results are no part of a model.

Source: pandapower 3.5, `pandapower.to_json`; the form is {"_class": "pandapowerNet", "_object": {table: {"_class":
"DataFrame", "_object": JSON text of columns, index and data}}}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from client.grid.model import PIECES_MAX, GridModel, ModelError, plain, volts

NAME: Final = "pandapower"
_MARK: Final = b'"pandapowerNet"'
_RESULTS: Final = ("res_", "_")
_OTHER: Final = frozenset({"converged", "OPF_converged", "user_pf_options", "version", "format_version"})
_LOOKED_AT: Final = 4096


def recognise(content: bytes) -> bool:
    """Take a JSON object that says that it is a pandapowerNet."""
    head = content[:_LOOKED_AT].lstrip()
    return head[:1] == b"{" and (_MARK in head or _MARK in content[-_LOOKED_AT:])


def parse(content: bytes) -> GridModel:
    """Return the rows of all element tables as pieces: kind is the table, name the row's name if no other has it.

    Raises:
        ModelError: It is no such JSON.
    """
    net = _object(_load(content.decode("utf-8", errors="strict") if _is_utf8(content) else ""), "the file")
    tables = net.get("_object", net)
    if not isinstance(tables, dict):
        raise ModelError("the file holds no tables")
    pieces: dict[tuple[str, str], Mapping[str, str]] = {}
    for table in sorted(tables):
        value = tables[table]
        if table.startswith(_RESULTS) or table in _OTHER:
            continue
        if isinstance(value, dict) and value.get("_class") == "DataFrame":
            _add_rows(table, value, pieces)
        elif not isinstance(value, dict | list) and value is not None:
            pieces["network", table] = {"value": _text(value)}
    levels = [volts(row.get("vn_kv", "")) for (kind, _), row in pieces.items() if kind == "bus"]
    return GridModel(NAME, pieces, frozenset(level for level in levels if level is not None))


def _add_rows(table: str, frame: dict[str, Any], pieces: dict[tuple[str, str], Mapping[str, str]]) -> None:
    content = frame.get("_object")
    held = _object(_load(content) if isinstance(content, str) else content, table)
    columns, index, data = (held.get(name) for name in ("columns", "index", "data"))
    if not (isinstance(columns, list) and isinstance(index, list) and isinstance(data, list)):
        raise ModelError(f"table {table} has no columns, index and data")
    if len(index) != len(data) or len(pieces) + len(data) > PIECES_MAX:
        raise ModelError(f"table {table} has {len(index)} names for {len(data)} rows, or there are too many")
    rows = []
    for row in data:
        if not isinstance(row, list) or len(row) != len(columns):
            raise ModelError(f"a row of table {table} has another length than its columns")
        rows.append({str(name): _text(cell) for name, cell in zip(columns, row, strict=True) if cell is not None})
    names = [row.get("name", "") for row in rows]
    are_names = all(names) and len(set(names)) == len(names)
    for at, row in zip(index, rows, strict=True):
        pieces[table, row["name"] if are_names else _text(at)] = row


def _load(text: str) -> object:
    try:
        found: object = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"it is no JSON: {error}") from error
    return found


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelError(f"{what} is no JSON object")
    return value


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal | float):
        return plain(str(value))
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, default=str)
