import logging
import os
import sys
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging is set up once a process; a test must not leave its own behind."""
    before, handlers, hook = structlog.get_config(), logging.getLogger().handlers[:], sys.excepthook
    yield
    structlog.configure(**before)
    logging.getLogger().handlers = handlers
    sys.excepthook = hook


@pytest.fixture(autouse=True)
def no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command ends its process by force; the tests' own goes on."""
    monkeypatch.setattr(os, "_exit", sys.exit)
