from __future__ import annotations

import io
import json
import re
import threading

import pytest

from kit.terminal import Column, Terminal, print_json, to_json

ROWS: list[dict[str, object]] = [
    {"device": "d1", "state": "match", "height": 7},
    {"device": "d\x1b[2J2", "state": "alarm", "height": None, "more": b"\x01"},
]
COLUMNS = [
    Column("device", "Device"),
    Column("state", "State"),
    Column("height", "Height", numeric=True),
]


CURSOR_HIDDEN = "\x1b[?25l"
CURSOR_SHOWN = "\x1b[?25h"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def screen_text(screen: io.StringIO) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_to_json_gives_bytes_as_hex() -> None:
    assert to_json({"b": b"\xab", "t": "é", "n": None}) == '{"b": "ab", "t": "é", "n": null}'


def test_to_json_of_other_value_is_refused() -> None:
    with pytest.raises(TypeError, match="set has no JSON form"):
        to_json({1})


def test_print_json_writes_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": 1})
    assert capsys.readouterr().out == '{"a": 1}\n'


def test_table_in_a_pipe_is_tab_separated() -> None:
    out = io.StringIO()
    Terminal(stdout=out).table("Devices", COLUMNS, ROWS)
    assert out.getvalue() == "Device\tState\tHeight\nd1\tmatch\t7\nd\\x1b[2J2\talarm\t-\n"


def test_table_at_a_terminal_is_drawn_and_harmless() -> None:
    out = Screen()
    Terminal(stdout=out).table("Devices", COLUMNS, ROWS)
    assert "\x1b[2J" not in out.getvalue()
    assert "d\\x1b[2J2" in screen_text(out)
    assert "Devices" in screen_text(out)


def test_table_that_is_wider_than_the_terminal_is_told_row_by_row_and_cuts_no_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    names = ("device", "station", "state", "note")
    row = dict(zip(names, ("linden-sc-1", "linden-220", "mismatch", "\x1b[2J[bold]" + "x" * 30), strict=True))
    out = Screen()
    Terminal(stdout=out).table("Devices", [Column(name, name) for name in names], [row, {"device": "weir-sc-1"}])
    assert screen_text(out).split("\n") == [
        "Devices",
        "linden-sc-1",
        "  station linden-220  state mismatch",
        "  note \\x1b[2J[bold]" + "x" * 30,
        "weir-sc-1",
        "",
    ]


def test_table_with_json_prints_the_items() -> None:
    out = Screen()
    Terminal(as_json=True, stdout=out).table("Devices", COLUMNS, ROWS)
    items = json.loads(out.getvalue())["items"]
    assert items[0] == ROWS[0]
    assert items[1]["more"] == "01"


def test_table_cells_show_lists_maps_and_flags() -> None:
    out = io.StringIO()
    row = {"a": ["x", "y"], "b": [], "c": True, "d": b"\x01\x02"}
    Terminal(stdout=out).table("T", [Column(name, name) for name in "abcd"], [row])
    assert out.getvalue().splitlines()[1] == "x, y\t-\ttrue\t0102"


def test_say_prints_the_sentence_as_it_is() -> None:
    out = io.StringIO()
    Terminal(stdout=out).say("alarm [bold] on d1\nforged", "red")
    assert out.getvalue() == "alarm [bold] on d1\\nforged\n"


def test_say_with_json_is_silent() -> None:
    out = io.StringIO()
    Terminal(as_json=True, stdout=out).say("hello")
    assert out.getvalue() == ""


def test_show_prints_lines_or_json() -> None:
    out = io.StringIO()
    Terminal(stdout=out).show({"id": "x"}, lambda: ["one", "two"])
    assert out.getvalue() == "one\ntwo\n"
    out = io.StringIO()
    Terminal(as_json=True, stdout=out).show({"id": "x"}, lambda: ["one", "two"])
    assert out.getvalue() == '{"id": "x"}\n'


@pytest.mark.parametrize("screen", [Screen, io.StringIO])
def test_progress_of_quick_work_shows_nothing(screen: type[io.StringIO]) -> None:
    out, err = screen(), screen()
    with Terminal(stdout=out, stderr=err).progress("Reading", 2, after_s=3600) as advance:
        advance(1)
        advance(1)
    assert (out.getvalue(), err.getvalue()) == ("", "")


def wait_for(screen: io.StringIO, text: str) -> None:
    reached = threading.Event()
    for _ in range(6000):
        if text in screen_text(screen):
            return
        reached.wait(0.01)
    pytest.fail(f"{text!r} never came")


@pytest.mark.parametrize("total", [None, 3])
def test_progress_of_long_work_shows_on_stderr(total: int | None) -> None:
    out, err = Screen(), Screen()
    with Terminal(stdout=out, stderr=err).progress("Reading", total, after_s=0) as advance:
        wait_for(err, "Reading")
        advance(1)
    assert out.getvalue() == ""
    assert err.getvalue().rindex(CURSOR_SHOWN) > err.getvalue().rindex(CURSOR_HIDDEN)


def test_progress_in_a_pipe_is_one_line() -> None:
    out, err = io.StringIO(), io.StringIO()
    with Terminal(stdout=out, stderr=err).progress("Reading [x]", after_s=0) as advance:
        wait_for(err, "Reading")
        advance(1)
    assert (out.getvalue(), err.getvalue()) == ("", "Reading [x] ...\n")


def test_progress_with_json_is_silent() -> None:
    err = Screen()
    with Terminal(as_json=True, stdout=io.StringIO(), stderr=err).progress("R", after_s=0) as go:
        go(1)
    assert err.getvalue() == ""


def test_progress_of_failing_work_gives_the_cursor_back() -> None:
    err = Screen()
    terminal = Terminal(stdout=io.StringIO(), stderr=err)

    def fail() -> None:
        with terminal.progress("Reading", after_s=0):
            wait_for(err, "Reading")
            _ = 1 // 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert err.getvalue().rindex(CURSOR_SHOWN) > err.getvalue().rindex(CURSOR_HIDDEN)
