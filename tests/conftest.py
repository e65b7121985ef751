"""Shared fixtures: the two backends, virtual time and the guard against a blocked loop."""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
import structlog
import structlog.testing
from trio.testing import MockClock

from hack.pki import Authority

# What the code under test logs is asserted where it matters (`logged`); elsewhere it only hides a failure's own output.
_QUIET = structlog.make_filtering_bound_logger(logging.CRITICAL)
structlog.configure(wrapper_class=_QUIET)

START = datetime(2026, 1, 1, tzinfo=UTC)
"""The wall time at which virtual time begins."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Trio on a clock that jumps to the next deadline whenever all tasks wait: a year passes in milliseconds."""
    return ("trio", {"clock": MockClock(autojump_threshold=0)})


@pytest.fixture
def now() -> Callable[[], datetime]:
    """Wall time that moves with the virtual clock."""
    return lambda: START + timedelta(seconds=anyio.current_time())


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A CA's certificate, in PEM."""
    folder = tmp_path_factory.mktemp("ca")
    Authority.create(folder, "c1")
    return (folder / "ca.crt").read_bytes()


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """All that is logged in the test, of any level."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET))
    with structlog.testing.capture_logs() as lines:
        yield lines
    structlog.configure(wrapper_class=_QUIET)
