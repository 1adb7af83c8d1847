"""Rows depend on the ledger's events alone, not on how they came in."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from master.io.tables import Tables
from master.views.fold import catch_up
from master.views.ports import END, Position
from master.views.table import TABLES
from tests.unit.master.views.memory import MemoryEvents
from tests.unit.master.views.story import GENESIS, Story

pytestmark = pytest.mark.property


def everything(tables: Tables) -> list[object]:
    return [tables.page(table, (), None, 1000).rows for table in TABLES.values()]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=25),
    steps=st.lists(st.integers(1, 6), min_size=1, max_size=25),
    reopen=st.booleans(),
)
def test_views_rebuild_equals_incremental(seed: int, sizes: list[int], steps: list[int], reopen: bool) -> None:  # noqa: FBT001 - a drawn value
    story = Story(seed)
    for size in sizes:
        story.block(size)
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'views.db'}"
        tables = Tables(url, GENESIS)
        height = 0
        for step in steps:
            height = min(height + step, story.height)
            known = [event for event in story.events if event.height <= height]
            catch_up(MemoryEvents(known), tables, height)
            if reopen:
                tables.close()
                tables = Tables(url, GENESIS)
            assert tables.position() == Position(height, END)
        catch_up(MemoryEvents(story.events), tables, story.height)
        incremental = everything(tables)
        tables.rebuild()
        catch_up(MemoryEvents(story.events), tables, story.height)
        assert everything(tables) == incremental
        tables.close()
