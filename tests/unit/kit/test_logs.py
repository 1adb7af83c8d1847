from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from kit.exitcodes import UsageError
from kit.logs import configure_logs, get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def configured(stream: io.StringIO, **values: str) -> None:
    configure_logs(stream=stream, environ={}, **values)


def test_logs_without_terminal_are_json() -> None:
    stream = io.StringIO()
    configured(stream)
    get_logger("agent", device="d1").info("poll done", reads=3, digest=b"\x01\x02")
    event = json.loads(stream.getvalue())
    assert event.pop("time").endswith("Z")
    assert event == {
        "event": "poll done",
        "level": "info",
        "logger": "agent",
        "device": "d1",
        "reads": 3,
        "digest": "0102",
    }


def test_logs_at_a_terminal_are_key_value() -> None:
    stream = Terminal()
    configured(stream)
    get_logger("agent").warning("poll late", by_ms=7, text="two words")
    assert stream.getvalue().endswith(" warning poll late by_ms=7 text='two words' logger=agent\n")


def test_logs_of_hostile_text_stay_on_one_line() -> None:
    stream = Terminal()
    configured(stream)
    get_logger("agent").info("read \x1b[2J", version="1\nerror forged")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert "version='1\\nerror forged'" in stream.getvalue()


@pytest.mark.parametrize(("log_format", "is_json"), [("json", True), ("text", False)])
def test_log_format_beats_the_terminal(log_format: str, *, is_json: bool) -> None:
    stream = Terminal()
    configured(stream, log_format=log_format)
    get_logger("x").info("event")
    assert stream.getvalue().startswith("{") is is_json


def test_log_level_and_format_come_from_the_environment() -> None:
    stream = io.StringIO()
    environ = {"GRIDWITNESS_LOG_LEVEL": "error", "GRIDWITNESS_LOG_FORMAT": "text"}
    configure_logs(stream=stream, environ=environ)
    get_logger("x").warning("quiet")
    logging.getLogger("library").warning("quiet")
    get_logger("x").error("loud")
    assert stream.getvalue().count("\n") == 1
    assert "loud" in stream.getvalue()


def test_logs_of_libraries_take_the_same_form() -> None:
    stream = io.StringIO()
    configured(stream, level="debug")
    logging.getLogger("uvicorn").info("started at %s", "port")
    event = json.loads(stream.getvalue())
    assert (event["event"], event["logger"]) == ("started at port", "uvicorn")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_logs_hide_secrets(log_format: str) -> None:
    stream = io.StringIO()
    configured(stream, log_format=log_format)
    get_logger("x").info("event", secret="s3cr3t", password=b"s3cr3t", seed="s3cr3t", name="open")
    assert "s3cr3t" not in stream.getvalue()
    assert "(hidden)" in stream.getvalue()
    assert "open" in stream.getvalue()


def test_logs_shorten_long_bytes() -> None:
    stream = io.StringIO()
    configured(stream)
    get_logger("x").info("event", data=bytes(100))
    assert json.loads(stream.getvalue())["data"] == "00" * 64 + "... 100 B"


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_logs_of_exceptions_hold_the_traceback(log_format: str) -> None:
    stream = io.StringIO()
    configured(stream, log_format=log_format)
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        get_logger("x").exception("failed")
    assert "Traceback" in stream.getvalue()
    assert "division" in stream.getvalue()


@pytest.mark.parametrize("values", [{"level": "loud"}, {"log_format": "xml"}])
def test_unknown_log_option_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="is unknown; choose"):
        configured(io.StringIO(), **values)
