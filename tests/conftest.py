"""What holds for all tests: markers by folder, who shares a process, no time limit for generated input."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

_ROOT = Path(__file__).parent
_MARKED_FOLDERS = frozenset({"e2e", "fuzz", "interop", "property", "simulation"})
_CLUSTER = "running"
"""The fixture of the cluster that tests share."""

# A busy machine must not fail a test: pytest-timeout bounds each test, a benchmark holds a speed.
settings.register_profile("gridwitness", deadline=None, print_blob=True)
settings.load_profile("gridwitness")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the name of its folder, so that ``-m "not e2e"`` works without a mark in every file."""
    for item in items:
        folder = item.path.relative_to(_ROOT).parts[0]
        if folder in _MARKED_FOLDERS:
            item.add_marker(folder)
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(_group_of(item)))


def _group_of(item: pytest.Item) -> str:
    """Return whom a test shares a process with when there are several: its file, or all who use the cluster."""
    uses_cluster = _CLUSTER in getattr(item, "fixturenames", ())
    return _CLUSTER if uses_cluster else str(item.path.relative_to(_ROOT))
