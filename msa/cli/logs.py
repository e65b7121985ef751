"""Logs: key=value for people at a terminal, one JSON object a line in a pod, and never a token in either.

Lines of other libraries (stdlib logging) and uncaught exceptions take the same way out, so that one mask covers them all.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, TextIO

import msgspec
import structlog

_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?")
_MASK = "<token: masked>"

LEVELS = ("debug", "info", "warning", "error")


def mask(text: str) -> str:
    """The text with everything of JWT shape (RFC 7519, compact form) blotted out."""
    return _JWT.sub(_MASK, text) if "eyJ" in text else text


def configure(level: str, stream: TextIO = sys.stderr) -> None:
    """Sends all logs of the process to `stream`.

    Args:
        level: one of `LEVELS`; other libraries are never more talkative than warnings, since theirs may hold bodies.
        stream: a terminal gets key=value, anything else JSON.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    renderer = _for_people if stream.isatty() else _for_machines
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_ThroughStructlog()]
    root.setLevel(max(threshold, logging.WARNING))
    sys.excepthook = _log_uncaught


def _for_machines(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    return mask(msgspec.json.encode(event, enc_hook=str).decode())


_RENDER = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)


def _for_people(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    trace = event.pop("exception", None)
    line = _RENDER(logger, method, {key.replace(" ", "_"): value for key, value in event.items()})
    return mask(f"{line}\n{trace}" if trace else str(line))


class _ThroughStructlog(logging.Handler):
    """Hands a record of stdlib logging on."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    structlog.get_logger().critical("uncaught_exception", exc_info=(kind, error, trace))
