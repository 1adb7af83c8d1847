from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from kit.toml_source import Located, Problem, Where, find_lines, read_toml

if TYPE_CHECKING:
    from pathlib import Path

EVERYTHING = r"""# line 1
title = "a # no comment"      # comment with "quotes" and ] and }
[owner]
name = 'C:\dir'
"quoted key" = 1
'literal.key' = 2
site."a.b".c = 3
[owner.deep]
x = 1979-05-27 07:32:00Z

[text]
basic = @@@
two lines, a \@@@ and [table]
key = 1
ends with two quotes@@@""
literal = @@@a@@@ # short
raw = '''
[no.table]
'''''
empty = @@@@@@
after = true

[lists]
plain = [1, 2,
  3, # three ]
  [4,
   "]"],
]
inline = { a = 1, b.c = "}", d = [{ e = 1 }, { e = 2 }] }
none = []
nothing = {}

[[device]]
id = "one"
[device.options]
speed = 1
[[device.file]]
kind = "firmware"
[[device.file]]
kind = "settings"
[[device]]
id = "two"
[device.options]
speed = 2
[[device.file]]
kind = "strategy"
[a.b.c]
d = 1
[a]
late = 1
""".replace("@@@", '"' * 3)


def line_of(text: str, start: str, nth: int = 0) -> int:
    found = [i for i, line in enumerate(text.split("\n"), 1) if line.startswith(start)]
    return found[nth]


def paths_of(value: object, where: Where = ()) -> set[Where]:
    inner: set[Where] = {where} if where else set()
    if isinstance(value, dict):
        return inner.union(*(paths_of(item, (*where, key)) for key, item in value.items()))
    if isinstance(value, list):
        return inner.union(*(paths_of(item, (*where, i)) for i, item in enumerate(value)))
    return inner


def test_find_lines_of_every_toml_form_finds_every_path() -> None:
    assert paths_of(tomllib.loads(EVERYTHING)) == set(find_lines(EVERYTHING))


@pytest.mark.parametrize(
    ("where", "start", "nth"),
    [
        (("title",), "title", 0),
        (("owner",), "[owner]", 0),
        (("owner", "quoted key"), '"quoted key"', 0),
        (("owner", "literal.key"), "'literal.key'", 0),
        (("owner", "site", "a.b", "c"), "site.", 0),
        (("owner", "deep", "x"), "x = 1979", 0),
        (("text", "basic"), "basic", 0),
        (("text", "literal"), "literal =", 0),
        (("text", "raw"), "raw", 0),
        (("text", "empty"), "empty", 0),
        (("text", "after"), "after", 0),
        (("lists", "plain", 1), "plain", 0),
        (("lists", "plain", 2), "  3,", 0),
        (("lists", "plain", 3, 0), "  [4", 0),
        (("lists", "plain", 3, 1), '   "]"', 0),
        (("lists", "inline", "b", "c"), "inline", 0),
        (("lists", "inline", "d", 1, "e"), "inline", 0),
        (("device", 0), "[[device]]", 0),
        (("device", 1), "[[device]]", 1),
        (("device", 0, "options", "speed"), "speed = 1", 0),
        (("device", 1, "options", "speed"), "speed = 2", 0),
        (("device", 0, "file", 1, "kind"), 'kind = "settings"', 0),
        (("device", 1, "file", 0, "kind"), 'kind = "strategy"', 0),
        (("a",), "[a]", 0),
        (("a", "b"), "[a.b.c]", 0),
        (("a", "late"), "late", 0),
    ],
)
def test_find_lines_of_key_gives_its_line(where: Where, start: str, nth: int) -> None:
    assert find_lines(EVERYTHING)[where] == line_of(EVERYTHING, start, nth)


@pytest.mark.parametrize("text", ["", "\n\n", "# only\n", "x = 1", "[t]", "x = [\n]"])
def test_find_lines_of_small_text_ends(text: str) -> None:
    assert set(find_lines(text)) == paths_of(tomllib.loads(text))


def test_read_toml_gives_values_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"x = 1\r\n\r\n[t]\r\ny = [7,\r\n8]\r\n")
    root = read_toml(path)
    assert isinstance(root, Located)
    assert isinstance(root.value, dict)
    table = root.value["t"].value
    assert str(table["y"].value[1].origin) == f"{path}:5"
    assert table["y"].value[1].value == 8
    assert table["y"].origin.folder == tmp_path


@pytest.mark.parametrize(
    ("data", "line", "part"),
    [
        (b"x = 1\ny =\n", 2, "no TOML: Invalid value"),
        (b"x = 1\nx = 2\n", 2, "no TOML: Cannot overwrite"),
        (b"\n\n[t\n", 3, "no TOML: Expected"),
        (b"x = 1\ny = [1,\n", 2, "no TOML"),
        (b'x = 1\n\ny = """abc\n', 3, "no TOML"),
        (b"a = 1\nb = '\xff'\n", 2, "no UTF-8"),
        (b"x = " + b"[" * 5000 + b"]" * 5000, 1, "nested too deeply"),
        (b"#" * (1024 * 1024 + 1), 1, "longer than"),
    ],
)
def test_read_toml_of_broken_file_names_the_line(tmp_path: Path, data: bytes, line: int, part: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(data)
    problem = read_toml(path)
    assert isinstance(problem, Problem)
    assert problem.origin.line == line
    assert part in problem.message


def test_read_toml_of_missing_file_is_a_problem(tmp_path: Path) -> None:
    problem = read_toml(tmp_path / "a.toml")
    assert isinstance(problem, Problem)
    assert str(problem) == f"{tmp_path / 'a.toml'}: cannot be read: No such file or directory"
