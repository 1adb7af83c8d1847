"""What tests against other people's code are given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.ied import ServedIed, served


@pytest.fixture
def ied(tmp_path: Path) -> Iterator[ServedIed]:
    with served(tmp_path) as made:
        made.write("firmware.bin", b"firmware" * 40_000)
        made.write("strategy.csv", b"a,b\n")
        yield made
