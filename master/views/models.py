"""Versions of dispatch models, as the contract `models` tells it (docs/spec, clause MO-5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from master.ledger.rows import EventRow
from master.views.events import Data, broken
from master.views.schema import (
    Asked,
    Column,
    Comparison,
    Condition,
    Kind,
    Put,
    Row,
    Rows,
    Table,
    View,
    integer,
    sequence,
    text,
)
from wire.types import INT_MAX

if TYPE_CHECKING:
    from wire.genesis import Genesis

CONTRACT: Final = "models"
CURRENT: Final = INT_MAX
"""Stands in until_ms of the newest version."""


def _as_of(time_ms: int) -> tuple[Condition, ...]:
    return (
        Condition("time_ms", Comparison.LESS, time_ms + 1),
        Condition("until_ms", Comparison.AT_LEAST, time_ms + 1),
    )


def _asked(name: str, about: str) -> Column:
    return Column(name, about, Kind.INTEGER, filtered=name)


MODELS: Final = Table(
    name="models",
    about="One version of a dispatch model.",
    key="version",
    order=("height", "place"),
    newest_first=True,
    columns=(
        Column("version", "Model and number of the version, as in north.3."),
        Column("model", "Name of the model.", filtered="model"),
        Column("number", "Number of the version, from 1.", Kind.INTEGER),
        Column("region", "What the model is of.", filtered="region"),
        Column("organisation", "Who keeps it.", filtered="organisation"),
        Column("format", "Format of the file.", filtered="format"),
        Column("file", "Name of the file."),
        Column("digest", "SHA-256 of the file, the name of its blob.", filtered="digest"),
        Column("size", "Bytes of the file.", Kind.INTEGER),
        Column("parent", "SHA-256 of the version before, null for the first.", nullable=True, filtered="parent"),
        Column("reason", "Why it was stored.", filtered="reason"),
        Column(
            "equipment",
            "What it is about: kinds of equipment, and pieces as KIND/NAME.",
            Kind.JSON,
            filtered="equipment",
            each=True,
            content=sequence(text()),
        ),
        Column(
            "voltages_v",
            "Voltage levels, V.",
            Kind.JSON,
            filtered="voltage_v",
            each=True,
            content=sequence(integer(low=1)),
        ),
        Column("height", "Block that holds it.", Kind.INTEGER),
        Column("place", "Event of that block.", Kind.INTEGER, public=False),
        Column("time_ms", "From when on it counts: time of its block, ms since 1970 UTC.", Kind.INTEGER),
        Column("until_ms", "Time of the next version, the largest integer while there is none.", Kind.INTEGER),
    ),
    asked=(
        Asked(_asked("as_of_ms", "Only versions that counted at this time, ms since 1970 UTC."), _as_of),
        Asked(
            _asked("from_ms", "Only versions from this time on, ms since 1970 UTC."),
            lambda time_ms: (Condition("time_ms", Comparison.AT_LEAST, time_ms),),
        ),
        Asked(
            _asked("to_ms", "Only versions up to this time, ms since 1970 UTC."),
            lambda time_ms: (Condition("time_ms", Comparison.LESS, time_ms + 1),),
        ),
    ),
    indices=(("until_ms", "time_ms"), ("time_ms",)),
)


def _start(genesis: Genesis) -> Iterable[Put]:
    del genesis
    return ()


def _stored(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    number, time_ms = data.integer("number"), data.integer("time_ms")
    if number > 1:
        older = rows.row(MODELS.name, _version(event.subject, number - 1))
        if older is None:
            raise broken(event, f"there is no version {number - 1}")
        yield Put(MODELS.name, {**older, "until_ms": time_ms})
    row: Row = {
        "version": _version(event.subject, number),
        "model": event.subject,
        "number": number,
        "digest": data.hexadecimal("digest"),
        "size": data.integer("size"),
        "parent": data.hexadecimal_or_none("parent"),
        "equipment": data.json("equipment"),
        "voltages_v": data.json("voltages_v"),
        "height": event.height,
        "place": event.index,
        "time_ms": time_ms,
        "until_ms": CURRENT,
        **{name: data.text(name) for name in ("region", "organisation", "format", "file", "reason")},
    }
    yield Put(MODELS.name, row)


def _version(model: str, number: int) -> str:
    return f"{model}.{number}"


VIEW: Final = View(contract=CONTRACT, tables=(MODELS,), start=_start, folds={"model_stored": _stored})
