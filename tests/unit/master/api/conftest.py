"""Keeps the API's log for the tests to read."""

from __future__ import annotations

import sys

import pytest

from master.api import guard


class Log:
    """Takes the place of the API's logger."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, event: str, **values: object) -> None:
        self.lines.append(f"{event} {values}")

    def exception(self, event: str, **values: object) -> None:
        self.lines.append(f"{event} {values} {sys.exception()!r}")


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    found = Log()
    monkeypatch.setattr(guard, "_LOG", found)
    return found
