"""Checks located TOML values against a schema dataclass and builds it; part of ``kit.config``."""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import math
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast

from kit.toml_source import Located, Origin, Problem

META: Final = "gridwitness"
TEXT_CHARACTERS_MAX: Final = 4096
ITEMS_MAX: Final = 10_000
PORT_MAX: Final = 65_535
_SHOWN_MAX: Final = 60
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:\[\]/]+)):([0-9]{1,5})", re.ASCII)

SchemaT = TypeVar("SchemaT")


class EnvironmentText(str):
    """A value from an environment variable: text whose type the schema decides."""

    __slots__ = ()


class _Refused:
    """Stands for a value whose problem is already noted."""


REFUSED: Final = _Refused()


@dataclass(frozen=True, slots=True)
class HostPort:
    """A network address; port 0 lets a listener choose a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> HostPort:
        """Read ``host:port`` or ``[IPv6]:port``.

        Raises:
            ValueError: Anything else.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None or int(match[3]) > PORT_MAX:
            raise ValueError(f"{text!r} is no address; expected host:port or [IPv6]:port")
        return cls(host=match[1] or match[2], port=int(match[3]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a field asks beyond its type; see ``kit.config.rule``."""

    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    unit: str = ""
    key: str | None = None
    exists: Literal["file", "folder"] | None = None
    unique: str | None = None
    is_origin: bool = False


class Checker:
    """Builds schema values; what is wrong is appended to ``problems``."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems

    def table(self, node: Located, schema: type[SchemaT], where: str) -> SchemaT | None:
        """Build ``schema`` from a table; None when a problem was noted."""
        if not isinstance(node.value, dict):
            self._refuse(node.origin, where, "a table", node.value)
            return None
        hints = typing.get_type_hints(schema, localns=_NAMES)
        specs = [spec for spec in dataclasses.fields(cast("Any", schema)) if spec.init]
        fields = {_rule(spec).key or spec.name: spec for spec in specs if not _rule(spec).is_origin}
        before = len(self._problems)
        self._unknown_keys(node.value, fields, where)
        values: dict[str, object] = {spec.name: node.origin for spec in specs if _rule(spec).is_origin}
        for key, spec in fields.items():
            inner = f"{where}.{key}" if where else key
            if key in node.value:
                values[spec.name] = self._value(node.value[key], hints[spec.name], _rule(spec), inner)
            elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
                values[spec.name] = self._absent(node.origin, hints[spec.name], key, where)
        if len(self._problems) > before:
            return None
        try:
            return schema(**values)
        except ValueError as error:
            self._note(node.origin, f"{where}: {error}" if where else str(error))
            return None

    def _unknown_keys(self, table: Mapping[str, Located], fields: Mapping[str, object], where: str) -> None:
        for key, node in table.items():
            if key in fields:
                continue
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"expected {_one_of(sorted(fields))}"
            inside = f" in [{where}]" if where else ""
            self._note(node.origin, f"unknown key '{key}'{inside}; {hint}")

    def _absent(self, origin: Origin, hint: Any, key: str, where: str) -> object:  # noqa: ANN401
        inner = f"{where}.{key}" if where else key
        if dataclasses.is_dataclass(hint) and hint is not HostPort:  # report the keys that are missing inside
            return self.table(Located({}, origin), cast("type", hint), inner)
        what = "table" if _is_mapping(hint) else "key"
        inside = f" in [{where}]" if where else ""
        self._note(origin, f"{what} '{key}' is missing{inside}")
        return REFUSED

    def _value(self, node: Located, hint: Any, rule: Rule, where: str) -> object:  # noqa: ANN401
        hint = _without_none(hint)
        if isinstance(node.value, EnvironmentText) and hint not in (str, Path, HostPort):
            parsed = _parse_environment(node)
            if parsed is None:
                return self._refuse(node.origin, where, _expected(hint, rule), node.value)
            node = parsed
        if dataclasses.is_dataclass(hint) and hint is not HostPort:
            return self.table(node, cast("type[object]", hint), where)
        if typing.get_origin(hint) is tuple:
            return self._items(node, typing.get_args(hint)[0], rule, where)
        if _is_mapping(hint):
            return self._mapping(node, typing.get_args(hint)[1], rule, where)
        value = _scalar(node, hint, rule)
        if value is REFUSED:
            return self._refuse(node.origin, where, _expected(hint, rule), node.value)
        if isinstance(value, Path) and rule.exists and not _is_there(value, rule.exists):
            self._note(node.origin, f"{where}: there is no {rule.exists} {value}")
        return value

    def _items(self, node: Located, hint: Any, rule: Rule, where: str) -> object:  # noqa: ANN401
        low, high = rule.minimum or 0, ITEMS_MAX if rule.maximum is None else rule.maximum
        if not isinstance(node.value, list) or not low <= len(node.value) <= high:
            return self._refuse(node.origin, where, f"a list of {low}..{high} items", node.value)
        item_rule = dataclasses.replace(rule, minimum=None, maximum=None)
        items = [self._value(item, hint, item_rule, f"{where}[{i}]") for i, item in enumerate(node.value)]
        if rule.unique is not None:
            self._check_unique(node.value, items, rule.unique, where)
        return tuple(items)

    def _check_unique(self, nodes: Sequence[Located], items: Sequence[object], name: str, where: str) -> None:
        seen: dict[object, Origin] = {}
        for node, item in zip(nodes, items, strict=True):
            value = getattr(item, name, REFUSED)
            if value is REFUSED:
                continue
            if value in seen:
                first = f"{name} {value!r} is already taken at {seen[value]}"
                self._note(node.origin, f"{where}: {first}; each {name} must differ")
            seen.setdefault(value, node.origin)

    def _mapping(self, node: Located, hint: Any, rule: Rule, where: str) -> object:  # noqa: ANN401
        if not isinstance(node.value, dict):
            return self._refuse(node.origin, where, "a table", node.value)
        values: dict[str, object] = {}
        for key, item in node.value.items():
            # A variable's name cannot hold a dash, an identifier cannot hold an underscore.
            name = key.replace("_", "-") if item.origin.line == 0 else key
            values[name] = self._value(item, hint, rule, f"{where}.{name}")
        return values

    def _refuse(self, origin: Origin, where: str, expected: str, found: object) -> Any:  # noqa: ANN401
        self._note(origin, f"{where}: expected {expected}, found {_shown(found)}")
        return None

    def _note(self, origin: Origin, message: str) -> None:
        self._problems.append(Problem(origin, message))


_NAMES: Final[dict[str, object]] = {
    "HostPort": HostPort,
    "Mapping": Mapping,
    "Path": Path,
}
"""Names that a schema's module may import for type checking alone."""


def _rule(spec: dataclasses.Field[Any]) -> Rule:
    return cast("Rule", spec.metadata.get(META, Rule()))


def _without_none(hint: Any) -> Any:  # noqa: ANN401 a type form has no narrower type
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        rest = [x for x in typing.get_args(hint) if x is not type(None)]
        assert len(rest) == 1, f"a schema field has one type, or that and None: {hint}"
        return rest[0]
    return hint


def _is_mapping(hint: Any) -> bool:  # noqa: ANN401
    return typing.get_origin(hint) in (dict, collections.abc.Mapping)


def _is_there(path: Path, kind: Literal["file", "folder"]) -> bool:
    try:
        return path.is_file() if kind == "file" else path.is_dir()
    except OSError:  # a name that is too long, or a folder on the way that is closed to us
        return False


def _scalar(node: Located, hint: Any, rule: Rule) -> object:  # noqa: ANN401
    value = node.value
    if hint is bool:
        return value if isinstance(value, bool) else REFUSED
    if hint in (int, float):
        return _number(value, hint, rule)
    if not isinstance(value, str):
        return REFUSED
    return _text(str(value), hint, rule, node.origin.folder)


def _number(value: object, hint: type, rule: Rule) -> object:
    allowed = (int,) if hint is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed) or not math.isfinite(value):
        return REFUSED
    too_small = rule.minimum is not None and value < rule.minimum
    too_large = rule.maximum is not None and value > rule.maximum
    if too_small or too_large:
        return REFUSED
    return hint(value)


def _text(value: str, hint: Any, rule: Rule, folder: Path) -> object:  # noqa: ANN401
    if not _text_fits(value, rule):
        return REFUSED
    if hint is Path:
        return folder / value
    if hint is HostPort:
        try:
            return HostPort.parse(value)
        except ValueError:
            return REFUSED
    assert hint is str, f"a schema field cannot have the type {hint}"
    return value


def _text_fits(value: str, rule: Rule) -> bool:
    low, high = _text_limits(rule)
    if not low <= len(value) <= high or "\0" in value:
        return False
    if rule.choices and value not in rule.choices:
        return False
    return rule.pattern is None or rule.pattern.fullmatch(value) is not None


def _text_limits(rule: Rule) -> tuple[int, int]:
    low = 1 if rule.minimum is None else rule.minimum
    return low, TEXT_CHARACTERS_MAX if rule.maximum is None else rule.maximum


def _expected(hint: Any, rule: Rule) -> str:  # noqa: ANN401, PLR0911 one phrase a type
    if rule.choices:
        return f"one of {_one_of(rule.choices)}"
    if hint is bool:
        return "true or false"
    if hint in (int, float):
        return f"a {'whole ' if hint is int else ''}number{_range_text(rule)}"
    if hint is HostPort:
        return "an address host:port or [IPv6]:port"
    if dataclasses.is_dataclass(hint) or _is_mapping(hint):
        return "a table"
    if typing.get_origin(hint) is tuple:
        return "a list"
    noun = "a path" if hint is Path else "a text"
    if rule.pattern is not None:
        return f"{noun} like {rule.pattern.pattern}"
    low, high = _text_limits(rule)
    return f"{noun} of {low}..{high} characters"


def _range_text(rule: Rule) -> str:
    low = "" if rule.minimum is None else str(rule.minimum)
    high = "" if rule.maximum is None else str(rule.maximum)
    unit = f" {rule.unit}" if rule.unit else ""
    if low and high:
        return f" {low}..{high}{unit}"
    if low or high:
        return f" of at {f'least {low}' if low else f'most {high}'}{unit}"
    return unit and f" ({rule.unit})"


def _one_of(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "no key at all"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)} items"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(str(value)) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."


def _parse_environment(node: Located) -> Located | None:
    """Read a variable that is no text as a TOML value: 7, true, ["a", "b"]."""
    try:
        tree = tomllib.loads(f"value = {node.value}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    return _plain(tree["value"], node.origin) if tree.keys() == {"value"} else None


def _plain(value: object, origin: Origin) -> Located:
    if isinstance(value, dict):
        return Located({key: _plain(item, origin) for key, item in value.items()}, origin)
    if isinstance(value, list):
        return Located([_plain(item, origin) for item in value], origin)
    return Located(value, origin)
