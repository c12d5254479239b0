"""Structured logs on standard error: one line per event, as key-value text for people or JSON for collectors."""

import logging
import sys
from contextlib import suppress
from typing import Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
AuditLog = Literal["refusals", "all"]
"""Which requests are logged."""
_TRACEBACKS = frozenset({"exception", "stack"})


class _Stream:
    """Writes what it can: a log whose reader is gone, or whose disk is full, must not end a process or keep it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def configure(log_format: LogFormat, level: LogLevel) -> None:
    """Configure the logs of the process, including those of libraries. Called once, by a composition root."""
    stream = _Stream(sys.stderr)
    number = logging.getLevelNamesMapping()[level.upper()]
    added: list[Processor] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    # Tracebacks without the values of variables: some of them are secrets.
    rendered: list[Processor]
    if log_format == "json":
        traceback = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        rendered = [structlog.processors.ExceptionRenderer(traceback), structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        rendered = [
            _escape_control_characters,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain),
        ]
    structlog.configure(
        processors=[*added, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, stream)),
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=added,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    # Libraries log every connection at `info` and below.
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def _escape_control_characters(_logger: object, _method: str, values: EventDict) -> EventDict:
    """Escape what would begin a new line or command a terminal: clients send some of the values."""

    def printable(text: str) -> str:
        if text.isprintable():
            return text
        return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)

    return {
        name: printable(value) if isinstance(value, str) and name not in _TRACEBACKS else value
        for name, value in values.items()
    }
