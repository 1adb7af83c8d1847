"""What holds for all tests: markers by folder, and generated tests without a time limit of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_ROOT = Path(__file__).parent
_MARKED_FOLDERS = frozenset({"e2e", "fuzz", "interop", "property", "simulation"})

# A busy machine must not fail a test: pytest-timeout bounds each test, a benchmark holds a speed.
# `make test` tries the same examples everywhere, so that it judges the change; `make properties` draws others.
settings.register_profile("gridwitness", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("campaign", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gridwitness")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the name of its folder, so that ``-m "not e2e"`` works without a mark in every file."""
    for item in items:
        folder = item.path.relative_to(_ROOT).parts[0]
        if folder in _MARKED_FOLDERS:
            item.add_marker(folder)
