"""Logs to stderr: one line an event, key=value for people at a terminal, JSON for machines."""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Final, Literal, TextIO, TypeAlias, cast

import structlog

from kit.exitcodes import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

LogFormat: TypeAlias = Literal["auto", "text", "json"]

LEVEL_VARIABLE: Final = "GRIDWITNESS_LOG_LEVEL"
FORMAT_VARIABLE: Final = "GRIDWITNESS_LOG_FORMAT"
LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
BYTES_SHOWN_MAX: Final = 64
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/+@%-]+", re.ASCII)
HIDDEN: Final = "(hidden)"
SECRET_NAMES: Final = frozenset(
    {"key_pem", "passphrase", "password", "private_key", "secret", "seed", "signing_key", "token"}
)


def configure_logs(
    *,
    level: str | None = None,
    log_format: str | None = None,
    stream: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Send the logs of this process, ours and those of libraries, to one stream.

    Args:
        level: debug, info, warning or error; None takes GRIDWITNESS_LOG_LEVEL, else info.
        log_format: text, json, or auto (text at a terminal); None takes GRIDWITNESS_LOG_FORMAT.
        stream: None takes stderr.
        environ: None takes that of the process.

    Raises:
        UsageError: An unknown level or format.
    """
    environment = os.environ if environ is None else environ
    level_name = level or environment.get(LEVEL_VARIABLE) or "info"
    if level_name not in LEVELS:
        raise UsageError(f"log level {level_name!r} is unknown; choose {', '.join(LEVELS)}")
    format_name = log_format or environment.get(FORMAT_VARIABLE) or "auto"
    if format_name not in {"auto", "text", "json"}:
        raise UsageError(f"log format {format_name!r} is unknown; choose auto, text, json")
    target = sys.stderr if stream is None else stream
    as_text = format_name == "text" or (format_name == "auto" and target.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _hide_secrets,
    ]
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _renderer(as_text=as_text),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level_name])
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level_name]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def get_logger(name: str, **context: object) -> FilteringBoundLogger:
    """Return a logger that adds ``context`` to each of its events."""
    return cast("FilteringBoundLogger", structlog.get_logger(name, **context))


def _renderer(*, as_text: bool) -> Processor:
    if as_text:
        return _render_text
    return structlog.processors.JSONRenderer(ensure_ascii=False, default=repr)


def _render_text(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """Write time, level, event, then key=value; what a device said cannot forge a line."""
    trace = event.pop("exception", None)
    head = f"{event.pop('time', '')} {event.pop('level', ''):<7} {event.pop('event', '')!s}"
    pairs = [f"{name}={_text_of(value)}" for name, value in event.items()]
    line = " ".join([_one_line(head), *pairs])
    return line if trace is None else f"{line}\n{trace}"


def _text_of(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return repr(value)


def _one_line(text: str) -> str:
    return "".join(x if x.isprintable() else repr(x)[1:-1] for x in text)


def _hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace values that are secret by their name; show bytes as hex, at most 64 of them."""
    for name, value in event.items():
        if name in SECRET_NAMES:
            event[name] = HIDDEN
        elif isinstance(value, bytes):
            shown = value[:BYTES_SHOWN_MAX].hex()
            event[name] = shown if len(value) <= BYTES_SHOWN_MAX else f"{shown}... {len(value)} B"
    return event
