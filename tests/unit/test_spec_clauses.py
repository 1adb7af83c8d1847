"""Every clause of docs/spec names tests that hold it, and every test and module names clauses that there are.

A clause is a paragraph that begins with its name in bold; under it stands a line ``Held by: `test_name`, ...``. A test
says ``# holds NAME NAME`` on the line above it.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "docs" / "spec"
NAME = r"[A-Z]{2,4}-\d+"
CLAUSE = re.compile(rf"^\*\*({NAME})\*\*", re.MULTILINE)
HELD_BY = re.compile(r"^Held by: (.+?)\.$", re.MULTILINE | re.DOTALL)
MARK = re.compile(rf"^# holds ((?:{NAME} ?)+)\n(?:@.*\n(?:[ )].*\n)*)*def (test_\w+)\(", re.MULTILINE)
MENTION = re.compile(rf"\b({NAME})(?: to ({NAME}))?\b")


def clauses() -> dict[str, str]:
    """Return each clause's name and text."""
    found: dict[str, str] = {}
    for path in sorted(SPEC.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        names = CLAUSE.findall(text)
        for name, body in zip(names, CLAUSE.split(text)[2::2], strict=True):
            assert name not in found, f"{name} stands twice"
            found[name] = body
    return found


def marks() -> dict[str, set[str]]:
    """Return the clauses that each test holds."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        matches = MARK.findall(text)
        assert len(matches) == text.count("\n# holds "), f"{path.name}: a mark does not stand above a test"
        for names, test in matches:
            found.setdefault(test, set()).update(names.split())
    return found


CLAUSES = clauses()
MARKS = marks()


@pytest.mark.parametrize("name", CLAUSES)
def test_clause_is_held_by_the_tests_that_it_names(name: str) -> None:
    line = HELD_BY.search(CLAUSES[name])
    assert line is not None, f"{name} names no test"
    tests = re.findall(r"`(test_\w+)`", line[1])
    assert tests, f"{name} names no test"
    for test in tests:
        assert name in MARKS.get(test, set()), f"{name} names {test}, which does not say that it holds it"


@pytest.mark.parametrize("test", sorted(MARKS))
def test_mark_names_clauses_that_there_are(test: str) -> None:
    assert MARKS[test] <= CLAUSES.keys()


def test_clauses_of_a_family_are_numbered_without_a_gap() -> None:
    families = Counter(name.split("-")[0] for name in CLAUSES)
    expected = {f"{family}-{number + 1}" for family, count in families.items() for number in range(count)}
    assert CLAUSES.keys() == expected
    assert len(families) >= 14


@pytest.mark.parametrize("path", sorted((ROOT / "wire").rglob("*.py")), ids=lambda path: path.name)
def test_module_names_clauses_that_there_are(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "docs/spec" in line]
    for mention in (mention for line in lines for mention in MENTION.finditer(line)):
        assert {name for name in mention.groups() if name} <= CLAUSES.keys()


def test_check_finds_a_clause_without_a_test() -> None:
    """The twin: what is no mark is not taken for one."""
    assert MARK.findall("# holds TX-1 TX-2\n@pytest.mark.x(\n    1,\n)\n@y\ndef test_a() -> None:\n") == [
        ("TX-1 TX-2", "test_a")
    ]
    assert MARK.findall("# holds TX-1\nx = 1\ndef test_a() -> None:\n") == []
    assert HELD_BY.search("**XX-1** A rule.\n") is None
