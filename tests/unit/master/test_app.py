"""What a node does with its signer guard before it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from master import joining, seat
from master.consensus.guard import SignerGuard
from master.io.guard import GuardFile, create_guard, owner_of

OWNER = owner_of("demo-00000000", "a", b"k" * 32)
GENESIS: Any = None


@pytest.fixture
def config(tmp_path: Path) -> Any:  # noqa: ANN401 only data_dir is looked at
    return SimpleNamespace(node=SimpleNamespace(data_dir=tmp_path))


def opened(config: Any) -> SignerGuard | None:  # noqa: ANN401
    with seat.open_guard(config, (OWNER,)) as guard_file:
        return guard_file.guard


def test_open_guard_without_a_marker_takes_the_guard_as_it_is(config: Any) -> None:  # noqa: ANN401
    assert opened(config) is None
    guard = SignerGuard(floor=7)
    (config.node.data_dir / seat.GUARD_FILE).unlink()
    create_guard(config.node.data_dir / seat.GUARD_FILE, OWNER, guard)
    assert opened(config) == guard


# holds CM-21
@pytest.mark.parametrize("guard", [None, SignerGuard(floor=7)])
def test_open_guard_with_the_marker_of_a_restore_marks_the_guard_for_good(
    config: Any,  # noqa: ANN401
    guard: SignerGuard | None,
) -> None:
    if guard is not None:
        create_guard(config.node.data_dir / seat.GUARD_FILE, OWNER, guard)
    marker = config.node.data_dir / seat.RESTORED_FILE
    marker.touch()
    expected = replace(guard or SignerGuard(), is_restored=True)
    assert opened(config) == expected
    assert not marker.exists()
    assert opened(config) == expected


# holds CM-21 SN-8
def test_adopt_snapshot_raises_the_floor_of_a_guard_and_leaves_one_that_cannot_be_read(tmp_path: Path) -> None:
    heights = iter((40, 30, 50))
    floors = []
    path = tmp_path / seat.GUARD_FILE
    create_guard(path, OWNER, SignerGuard())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "adopt", lambda _path, _genesis, _bytes, raise_floor: raise_floor(next(heights)))
        with GuardFile(path, OWNER) as guard_file:
            for _ in range(2):
                joining.adopt_snapshot(tmp_path, GENESIS, 1, guard_file)
                floors.append(guard_file.guard)
        with GuardFile(path, owner_of("demo-00000000", "a", b"x" * 32)) as of_another:
            joining.adopt_snapshot(tmp_path, GENESIS, 1, of_another)
            assert of_another.guard is None
    assert floors == [SignerGuard(floor=40), SignerGuard(floor=40)]
