"""A node that hears of code that it lacks: said at once, and the end before the first block of it."""

from __future__ import annotations

import pytest

from kit.exitcodes import ConfigurationError, ExitCode
from master import codewatch
from master.codewatch import CodeWatch, told
from master.ledger.refusals import CodeDueError
from tests.unit.contracts.test_governance import Assembly
from tests.unit.ledger.test_upgrades import GENESIS, HEIGHT, TWO, body
from tests.unit.ledger.worlds import World


class Log:
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def info(self, text: str, **about: object) -> None:
        self.said.append(("info", f"{text} {about['contract']} {about['version']} {about['height']}"))

    def error(self, text: str, **about: object) -> None:
        self.said.append(("error", f"{text} {about['contract']} {about['version']} {about['height']}"))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    found = Log()
    monkeypatch.setattr(codewatch, "_log", found)
    return found


# holds GV-8
def test_watch_says_once_what_is_missing_and_ends_the_node_before_the_block(log: Log) -> None:
    room = Assembly(World(GENESIS))
    watch = CodeWatch(room.world.application)
    watch.follow()
    assert log.said == []
    room.accept("upgrade", body())
    for _ in range(2):
        watch.follow()
    (said,) = log.said
    assert said[0] == "error"
    assert said[1].endswith(f"notary 2 {HEIGHT}")
    room.pass_blocks(HEIGHT - 1 - room.world.head.height)
    with pytest.raises(ConfigurationError, match="block 8 is executed by contract notary version 2") as ended:
        watch.follow()
    assert ended.value.exit_code == ExitCode.CONFIGURATION


def test_watch_of_software_that_has_the_code_says_so_and_goes_on(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codewatch, "own_software", lambda: TWO)
    room = Assembly(World(GENESIS, TWO))
    watch = CodeWatch(room.world.application)
    room.accept("upgrade", body())
    watch.follow()
    assert [level for level, _ in log.said] == ["info"]
    room.pass_blocks(HEIGHT - room.world.head.height)
    watch.follow()
    assert len(log.said) == 1


def test_node_that_starts_without_the_code_is_told_to_install_it() -> None:
    with pytest.raises(ConfigurationError, match="install it"), told():
        raise CodeDueError("install it")
