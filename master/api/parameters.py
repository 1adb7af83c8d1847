"""Parameters of routes: one declaration parses the request and documents it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, Literal, Protocol, TypeVar, cast

from starlette.requests import Request

from master.api.problems import bad_parameter
from master.views.ports import END, Position
from master.views.schema import Json, Kind, Schema, Table, hexadecimal, integer, text
from wire.types import DIGEST_BYTES, INT_MAX

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
VALUE_CHARACTERS_MAX: Final = 256
_DIGITS: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_HEX_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Form(Protocol[T_co]):
    """What the text of a parameter may be."""

    def parse(self, raw: str) -> T_co:
        """Return the value.

        Raises:
            ValueError: Out of range; the message says what is due.
        """
        ...

    def schema(self) -> Schema:
        """Return the JSON Schema of the text."""
        ...


@dataclass(frozen=True, slots=True)
class Number:
    """A decimal integer without sign or leading zeros."""

    low: int
    high: int

    def parse(self, raw: str) -> int:
        """Return the integer."""
        if _DIGITS.fullmatch(raw) is None or not self.low <= int(raw) <= self.high:
            raise ValueError(f"an integer {self.low}..{self.high} is due")
        return int(raw)

    def schema(self) -> Schema:
        """Return the JSON Schema."""
        return integer(low=self.low, high=self.high)


@dataclass(frozen=True, slots=True)
class Word:
    """Text of 1..256 characters, one of ``choices`` if there are any."""

    choices: tuple[str, ...] = ()

    def parse(self, raw: str) -> str:
        """Return the text."""
        if self.choices and raw not in self.choices:
            raise ValueError(f"one of {', '.join(self.choices)} is due")
        if not 1 <= len(raw) <= VALUE_CHARACTERS_MAX or not raw.isprintable():
            raise ValueError(f"1..{VALUE_CHARACTERS_MAX} printable characters are due")
        return raw

    def schema(self) -> Schema:
        """Return the JSON Schema."""
        if self.choices:
            return text(choices=self.choices)
        return {"type": "string", "minLength": 1, "maxLength": VALUE_CHARACTERS_MAX}


@dataclass(frozen=True, slots=True)
class HexDigest:
    """32 bytes as 64 lower-case hex digits."""

    def parse(self, raw: str) -> bytes:
        """Return the bytes."""
        if _HEX_DIGEST.fullmatch(raw) is None:
            raise ValueError("64 lower-case hex digits are due")
        return bytes.fromhex(raw)

    def schema(self) -> Schema:
        """Return the JSON Schema."""
        return hexadecimal("SHA-256.", DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class EventId:
    """Place of an event, ``HEIGHT-INDEX``."""

    def parse(self, raw: str) -> Position:
        """Return the place; ``HEIGHT`` alone stands behind all events of the height."""
        height, dash, index = raw.partition("-")
        try:
            at_index = Number(0, END).parse(index) if dash else END
            return Position(Number(0, INT_MAX).parse(height), at_index)
        except ValueError:
            raise ValueError("HEIGHT-INDEX or HEIGHT is due, as in 120-3") from None

    def schema(self) -> Schema:
        """Return the JSON Schema."""
        return {"type": "string", "pattern": "^[0-9]{1,19}(-[0-9]{1,10})?$"}


@dataclass(frozen=True, slots=True)
class Cursor:
    """Opaque place in a list: the ``next`` of an earlier answer."""

    table: Table

    def parse(self, raw: str) -> tuple[Json, ...]:
        """Return the last row's values of the columns that order the table."""
        due = ValueError("the 'next' of an earlier answer to the same list is due")
        if len(raw) > VALUE_CHARACTERS_MAX:
            raise due
        try:
            packed = base64.b64decode(raw + "=" * (-len(raw) % 4), altchars=b"-_", validate=True)
            values = json.loads(packed.decode("ascii"))
        except (binascii.Error, ValueError, RecursionError):
            raise due from None
        kinds = [self.table.column(name).kind for name in self.table.order]
        if not isinstance(values, list) or len(values) != len(kinds):
            raise due
        if not all(_fits(value, kind) for value, kind in zip(values, kinds, strict=True)):
            raise due
        return tuple(values)

    def schema(self) -> Schema:
        """Return the JSON Schema."""
        return {"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": VALUE_CHARACTERS_MAX}


def cursor_of(table: Table, row: Mapping[str, Json]) -> str:
    """Return the cursor that stands behind ``row``."""
    packed = json.dumps([row[name] for name in table.order], separators=(",", ":"))
    return base64.urlsafe_b64encode(packed.encode("ascii")).decode("ascii").rstrip("=")


def _fits(value: object, kind: Kind) -> bool:
    if kind is Kind.INTEGER:
        return type(value) is int and 0 <= value <= INT_MAX
    return type(value) is str and value.isprintable()


@dataclass(frozen=True, slots=True)
class Parameter(Generic[T_co]):
    """One parameter of a route."""

    name: str
    about: str
    form: Form[T_co]
    place: Literal["path", "query", "header"] = "query"
    default: T_co | None = None
    """Value when it is not given; None when there is none."""

    def document(self) -> dict[str, object]:
        """Return the OpenAPI parameter object."""
        schema = dict(self.form.schema())
        if isinstance(self.default, int | str):
            schema["default"] = self.default
        return {
            "name": self.name,
            "in": self.place,
            "description": self.about,
            "required": self.place == "path",
            "schema": schema,
        }


class Arguments:
    """The parameters of one request, parsed.

    Args:
        request: The request.
        parameters: What the route knows.

    Raises:
        Problem: 400, for an unknown, repeated or ill-formed parameter.
    """

    def __init__(self, request: Request, parameters: tuple[Parameter[object], ...]) -> None:
        self._values: dict[str, object] = {}
        known = {entry.name for entry in parameters if entry.place == "query"}
        for name in request.query_params:
            if name not in known:
                shown = ", ".join(sorted(known)) or "none"
                raise bad_parameter(name[:64], f"this route knows {shown} instead")
            if len(request.query_params.getlist(name)) > 1:
                raise bad_parameter(name, "it is given more than once")
        for entry in parameters:
            raw = _raw(request, entry)
            try:
                value = entry.default if raw is None else entry.form.parse(raw)
            except ValueError as error:
                raise bad_parameter(entry.name, str(error)) from None
            self._values[entry.name] = value

    def get(self, parameter: Parameter[T]) -> T | None:
        """Return the value of a parameter, its default if it was not given."""
        return cast("T | None", self._values[parameter.name])

    def need(self, parameter: Parameter[T]) -> T:
        """Return the value of a parameter that is in the path or has a default."""
        value = self.get(parameter)
        assert value is not None
        return value


def _raw(request: Request, parameter: Parameter[object]) -> str | None:
    if parameter.place == "query":
        return request.query_params.get(parameter.name)
    if parameter.place == "header":
        return request.headers.get(parameter.name)
    return str(request.path_params[parameter.name])
