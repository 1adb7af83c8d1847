"""Read the fields of a request body one by one, and refuse what nobody asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firmware_sim.errors import BadRequestError


class Fields:
    """The members of a JSON object that were not taken yet."""

    def __init__(self, body: object, *, spared: str | None = None) -> None:
        """Start reading.

        Args:
            body: Any JSON value.
            spared: A member that was taken before.

        Raises:
            BadRequestError: ``body`` is no object.
        """
        if not isinstance(body, Mapping):
            raise BadRequestError("the body is not a JSON object")
        self._left: dict[str, Any] = {key: value for key, value in body.items() if key != spared}

    def text(self, name: str, default: str | None = None) -> str:
        """Take a text.

        Raises:
            BadRequestError: It is missing, or no text.
        """
        value = self._left.pop(name, default)
        if not isinstance(value, str) or not value:
            raise BadRequestError(f"{name} is missing or no text")
        return value

    def optional_text(self, name: str) -> str | None:
        """Take a text that may be missing."""
        return self.text(name) if self._left.get(name) is not None else self._left.pop(name, None)

    def optional_integer(self, name: str, low: int, high: int) -> int | None:
        """Take a whole number that may be missing.

        Raises:
            BadRequestError: It is no whole number in low..high.
        """
        value = self._left.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise BadRequestError(f"{name} is {value!r}, expected a whole number in {low}..{high}")
        return value

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """Take a whole number.

        Raises:
            BadRequestError: It is missing, or no whole number in low..high.
        """
        value = self.optional_integer(name, low, high)
        if value is None:
            value = default
        if value is None:
            raise BadRequestError(f"{name} is missing, expected a whole number in {low}..{high}")
        return value

    def flag(self, name: str) -> bool:
        """Take true or false; false when missing.

        Raises:
            BadRequestError: It is something else.
        """
        value = self._left.pop(name, False)
        if not isinstance(value, bool):
            raise BadRequestError(f"{name} is {value!r}, expected true or false")
        return value

    def list_of(self, name: str, kind: type) -> list[Any]:
        """Take a list whose items are all of ``kind``; empty when missing.

        Raises:
            BadRequestError: It is something else.
        """
        value = self._left.pop(name, None)
        if value is None:
            return []
        if not isinstance(value, list) or any(type(item) is not kind for item in value):
            raise BadRequestError(f"{name} is not a list of {kind.__name__}")
        return value

    def rest(self) -> Mapping[str, Any]:
        """Take all that is left, unread."""
        left, self._left = self._left, {}
        return left

    def done(self) -> None:
        """Refuse members that nobody took.

        Raises:
            BadRequestError: With their names.
        """
        if self._left:
            raise BadRequestError(f"unknown member {', '.join(sorted(self._left))}")
