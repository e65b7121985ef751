"""Logs: key=value for people at a terminal, one JSON object a line in a pod, and never a token in either.

Lines of other libraries (stdlib logging) and uncaught exceptions take the same way out, so that one mask covers them all. Each line
has its keys in the same order, whatever the order in which they were given. The level can be changed while the program runs: `listen`.
"""

import logging
import signal
import sys
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, TextIO

import msgspec
import structlog
from attrs import define

from msa.cli.masking import mask

LEVELS = ("debug", "info", "warning", "error")

_NUMBERS = {name.lower(): number for name, number in logging.getLevelNamesMapping().items()}
_log = structlog.get_logger(__name__)


_FIRST = ("timestamp", "level", "event")
"""The keys that every line has; the others follow by the alphabet."""


@define
class Threshold:
    """Below which nothing is logged; a processor of structlog.

    Attributes:
        configured: what the program was started with.
    """

    configured: int
    level: int

    def __call__(
        self, _logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if _NUMBERS[method] < self.level:
            raise structlog.DropEvent
        return event

    def listen(self) -> None:
        """From now on takes SIGUSR1 for debug and SIGUSR2 for what the program was started with (`msa log-level`)."""
        import asyncio  # noqa: PLC0415 - --help should not pay for it

        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._change, logging.DEBUG)
        loop.add_signal_handler(signal.SIGUSR2, self._change, self.configured)

    def _change(self, level: int) -> None:
        self.level = level
        _log.warning("log_level_changed", to=logging.getLevelName(level).lower())


def configure(level: str, stream: TextIO | None = None) -> Threshold:
    """Sends all logs of the process to `stream`, or to what is standard error now.

    Args:
        level: one of `LEVELS`; other libraries are never more talkative than warnings, since theirs may hold bodies.
        stream: a terminal gets key=value, anything else JSON.
    """
    stream = stream if stream is not None else sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    threshold = Threshold(number, number)
    renderer = _for_people if stream.isatty() else _for_machines
    structlog.configure(
        processors=[
            threshold,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _in_order,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_ThroughStructlog()]
    root.setLevel(max(number, logging.WARNING))
    sys.excepthook = _log_uncaught
    return threshold


def _in_order(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    first = {key: event.pop(key) for key in _FIRST if key in event}
    return {**first, **dict(sorted(event.items()))}


def _for_machines(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    return mask(msgspec.json.encode(event, enc_hook=str).decode())


_RENDER = structlog.processors.LogfmtRenderer(bool_as_flag=False)


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
