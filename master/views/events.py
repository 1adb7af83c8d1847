"""Readers of the data of an event, and its JSON form."""

from __future__ import annotations

from master.ledger.rows import EventRow
from master.views.schema import Json
from wire.cbor import Value


class ViewError(Exception):
    """An event does not have the form that its contract promises: our mistake, not a member's."""


def broken(event: EventRow, reason: str) -> ViewError:
    """Return the error that names the event and what is wrong with it."""
    place = f"{event.contract}/{event.type} at {event.height}-{event.index}"
    return ViewError(f"event {place}: {reason}")


class Data:
    """Fields of an event's data, each read as the type that the contract promises.

    Raises:
        ViewError: From every reader, when the field is missing or of another type.
    """

    def __init__(self, event: EventRow) -> None:
        self._event = event

    def _get(self, name: str) -> Value:
        if name not in self._event.data:
            raise self._wrong(name, "missing")
        return self._event.data[name]

    def _wrong(self, name: str, found: str) -> ViewError:
        return broken(self._event, f"field {name!r} is {found}")

    def text(self, name: str) -> str:
        """Return a text."""
        value = self._get(name)
        if isinstance(value, str):
            return value
        raise self._wrong(name, f"a {type(value).__name__}, not text")

    def text_or_none(self, name: str) -> str | None:
        """Return a text, or None."""
        return None if self._get(name) is None else self.text(name)

    def integer(self, name: str) -> int:
        """Return an integer."""
        value = self._get(name)
        if type(value) is int:
            return value
        raise self._wrong(name, f"a {type(value).__name__}, not an integer")

    def hexadecimal(self, name: str) -> str:
        """Return a byte string as lower-case hex."""
        value = self._get(name)
        if isinstance(value, bytes):
            return value.hex()
        raise self._wrong(name, f"a {type(value).__name__}, not bytes")

    def hexadecimal_or_none(self, name: str) -> str | None:
        """Return a byte string as lower-case hex, or None."""
        return None if self._get(name) is None else self.hexadecimal(name)

    def json(self, name: str) -> Json:
        """Return any field in its JSON form."""
        return to_json(self._get(name))

    def entries(self, name: str) -> list[dict[str, Json]]:
        """Return an array of maps in its JSON form."""
        value = self.json(name)
        if not isinstance(value, list):
            raise self._wrong(name, f"a {type(value).__name__}, not an array")
        maps = [entry for entry in value if isinstance(entry, dict)]
        if len(maps) != len(value):
            raise self._wrong(name, "an array with something else than maps")
        return maps


def to_json(value: Value) -> Json:
    """Return a CBOR value in its JSON form: bytes as lower-case hex, all else as it is."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: to_json(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(entry) for entry in value]
    return value
