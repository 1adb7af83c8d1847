"""Every test's real ledgers are removed from the memory of the machine, also where it drives a cluster by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.real import close_ledgers


@pytest.fixture(autouse=True, scope="module")
def _ledgers() -> Iterator[None]:
    """Close what is left over when a module ends."""
    yield
    close_ledgers()
