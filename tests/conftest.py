"""Shared fixtures: the two backends, virtual time and the guard against a blocked loop."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from trio.testing import MockClock

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
