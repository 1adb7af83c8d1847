"""What tests of drivers are given."""

from __future__ import annotations

import pytest

from agent.drivers import mms
from tests.unit.agent.iedbench import FakeIed


@pytest.fixture
def ied(monkeypatch: pytest.MonkeyPatch) -> FakeIed:
    made = FakeIed()
    monkeypatch.setattr(mms, "start_child", made.start)
    monkeypatch.setattr(mms, "_RETRY_PAUSE_MS", 0)
    return made


@pytest.fixture
def no_pause_before_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.drivers.iec104._RETRY_PAUSE_MS", 0)
