"""Checks values against the part of JSON Schema 2020-12 that the description uses, and no more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

Rule: TypeAlias = Any
"""A part of a schema: whatever JSON holds."""

_TYPES = {
    "array": list,
    "boolean": bool,
    "integer": int,
    "null": type(None),
    "object": dict,
    "string": str,
}
_SILENT = {"description", "format", "default"}


def problems(value: object, schema: Mapping[str, Any], components: Mapping[str, Any], at: str = "$") -> list[str]:
    """Return what is wrong with ``value``; an unknown keyword of the schema is wrong, too."""
    if "$ref" in schema:
        return problems(value, components[schema["$ref"].removeprefix("#/components/schemas/")], components, at)
    found: list[str] = []
    for keyword, rule in schema.items():
        if keyword in _SILENT:
            continue
        check = _CHECKS.get(keyword)
        found += [f"{at}: unknown keyword {keyword}"] if check is None else check(value, rule, schema, components, at)
    return found


def _is(value: object, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and not (name == "integer" and isinstance(value, bool))


def _type(value: object, rule: Rule, schema: Rule, components: Rule, at: str) -> list[str]:
    names = rule if isinstance(rule, list) else [rule]
    return [] if any(_is(value, name) for name in names) else [f"{at}: {value!r} is no {rule}"]


def _enum(value: object, rule: Rule, schema: Rule, components: Rule, at: str) -> list[str]:
    return [] if value in rule else [f"{at}: {value!r} is none of {rule}"]


def _pattern(value: object, rule: Rule, schema: Rule, components: Rule, at: str) -> list[str]:
    return [f"{at}: {value!r} is not {rule}"] if isinstance(value, str) and not re.search(rule, value) else []


def _minimum(value: object, rule: Rule, schema: Rule, components: Rule, at: str) -> list[str]:
    return [f"{at}: {value} < {rule}"] if isinstance(value, int) and value < rule else []


def _maximum(value: object, rule: Rule, schema: Rule, components: Rule, at: str) -> list[str]:
    return [f"{at}: {value} > {rule}"] if isinstance(value, int) and value > rule else []


def _properties(value: object, rule: Rule, schema: Rule, components: Rule, at: str) -> list[str]:
    if not isinstance(value, dict):
        return []
    return [
        problem
        for name, entry in value.items()
        if name in rule
        for problem in problems(entry, rule[name], components, f"{at}.{name}")
    ]


def _required(value: object, rule: Rule, schema: Rule, components: Rule, at: str) -> list[str]:
    return [f"{at}: {name} is missing" for name in rule if isinstance(value, dict) and name not in value]


def _additional(value: object, rule: Rule, schema: Rule, components: Rule, at: str) -> list[str]:
    if not isinstance(value, dict):
        return []
    extra = set(value) - set(schema.get("properties", ()))
    if rule is False:
        return [f"{at}: {name} is unknown" for name in sorted(extra)]
    return [problem for name in extra for problem in problems(value[name], rule, components, f"{at}.{name}")]


def _names(value: object, rule: Rule, schema: Rule, components: Rule, at: str) -> list[str]:
    names = value if isinstance(value, dict) else ()
    return [problem for name in names for problem in problems(name, rule, components, f"{at}<{name}>")]


def _items(value: object, rule: Rule, schema: Rule, components: Rule, at: str) -> list[str]:
    entries = value if isinstance(value, list) else ()
    return [
        problem
        for place, entry in enumerate(entries)
        for problem in problems(entry, rule, components, f"{at}[{place}]")
    ]


def _any_of(value: object, rule: Rule, schema: Rule, components: Rule, at: str) -> list[str]:
    tries = [problems(value, option, components, at) for option in rule]
    return [] if [] in tries else [problem for attempt in tries for problem in attempt]


_CHECKS = {
    "type": _type,
    "enum": _enum,
    "pattern": _pattern,
    "minimum": _minimum,
    "maximum": _maximum,
    "properties": _properties,
    "required": _required,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "items": _items,
    "anyOf": _any_of,
}
