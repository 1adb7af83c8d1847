from __future__ import annotations

from pathlib import Path

import pytest

from firmware_sim.fleet import Fleet
from tests.unit.firmware_sim.bench import make_fleet, write_bench


@pytest.fixture(scope="session")
def scenario_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def fleet(scenario_path: Path) -> Fleet:
    return make_fleet(scenario_path)
