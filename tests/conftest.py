"""Shared fixtures: the two backends, virtual time and the guard against a blocked loop."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
import structlog
from trio.testing import MockClock

# What the code under test logs is asserted where it matters (capture_logs); elsewhere it only hides a failure's own output.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

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
