"""Server-sent events: bytes in, events out. Source: HTML standard, 9.2.6."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Never

from kit.exitcodes import Answers, DataError

EVENT_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event; ``id`` is what to resume after, "" when the server gave none yet."""

    id: str
    type: str
    data: str

    def json(self) -> dict[str, Any]:
        """Return the data as a JSON object.

        Raises:
            DataError: It is something else.
        """
        return json_object(self.data.encode(), f"the data of event {self.id!r}")


class SseParser:
    """Collects lines to events; an event that the connection cut off is dropped, as it must be."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        """Id of the last block of lines that came whole, with or without an event in it."""
        self._id = last_id
        self._buffer = b""
        self._type = ""
        self._data: list[str] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Take the next bytes and return the events that they complete.

        Raises:
            DataError: A line or an event is longer than 1 MiB, or is no UTF-8.
        """
        self._buffer += chunk
        lines = self._buffer.replace(b"\r\n", b"\n").split(b"\n")
        self._buffer = lines.pop()
        if len(self._buffer) > EVENT_BYTES_MAX:
            raise DataError(f"the event stream holds a line of more than {EVENT_BYTES_MAX} bytes")
        events = []
        for line in lines:
            event = self._line(line)
            if event is not None:
                events.append(event)
        return events

    def _line(self, line: bytes) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        try:
            name, _, value = line.decode().partition(":")
        except UnicodeDecodeError as error:
            raise DataError("the event stream holds bytes that are no UTF-8") from error
        value = value.removeprefix(" ")
        if name == "data":
            self._data_bytes += len(line)
            if self._data_bytes > EVENT_BYTES_MAX:
                raise DataError(f"the event stream holds an event of over {EVENT_BYTES_MAX} bytes")
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None  # comments, "retry" and unknown fields

    def _dispatch(self) -> ServerEvent | None:
        event = None
        self.last_id = self._id
        if self._data:
            event = ServerEvent(self.last_id, self._type or "message", "\n".join(self._data))
        self._type = ""
        self._data = []
        self._data_bytes = 0
        return event


class MissingFieldError(DataError, KeyError):
    """A JSON object of others has no field of a name that is due."""

    __str__ = Exception.__str__  # that of KeyError would quote the sentence


class JsonObject(dict[str, Any]):
    """A JSON object of others: looking up a field that it has not says what lacks it.

    What is looked up is noted in ``Answers``: what comes of a field of another kind is an error of who sent it.
    """

    __slots__ = ("_what",)

    def __init__(self, fields: dict[str, Any], what: str) -> None:
        super().__init__(fields)
        self._what = what

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 whatever others send
        """Return a field, noting that it is read."""
        Answers.read(self._what, name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 whatever others send
        """Return a field or the default, noting that it is read."""
        Answers.read(self._what, name)
        return super().get(name, default)

    def __missing__(self, name: str) -> Never:
        raise MissingFieldError(f"{self._what} has no {name!r}; is it from a full node of this version?")


def json_object(data: bytes, what: str) -> dict[str, Any]:
    """Parse bytes that must be one JSON object; a field that it or an object in it lacks raises ``MissingFieldError``.

    Raises:
        DataError: They are not; ``what`` names them.
    """
    try:
        value = json.loads(data, object_hook=lambda fields: JsonObject(fields, what))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{what} is no JSON") from error
    if not isinstance(value, dict):
        raise DataError(f"{what} is JSON, but no object")
    return value
