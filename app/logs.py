"""Structured logs: one line an event, key-value text for people or JSON for collectors, on standard error."""

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
AuditLog = Literal["refusals", "all"]
"""Which requests get a line."""
_TRACEBACKS = frozenset({"exception", "stack"})


def configure(log_format: LogFormat, level: LogLevel) -> None:
    """Set up the whole process's logs, the libraries' too; called once by a composition root."""
    number = logging.getLevelNamesMapping()[level.upper()]
    facts: list[Processor] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    rendering = _rendering(log_format)
    structlog.configure(
        processors=[*facts, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=facts,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    # Of the libraries only what is wrong: at `info` and below they tell of every connection.
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def _rendering(log_format: LogFormat) -> list[Processor]:
    # A traceback without the values of variables: some of them are secrets.
    if log_format == "json":
        traceback = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [structlog.processors.ExceptionRenderer(traceback), structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [_on_one_line, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def _on_one_line(_logger: object, _method: str, facts: EventDict) -> EventDict:
    """Escape what would begin a new line, or command a terminal: some of it is what strangers say."""
    return {
        name: _printable(value) if isinstance(value, str) and name not in _TRACEBACKS else value
        for name, value in facts.items()
    }


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
