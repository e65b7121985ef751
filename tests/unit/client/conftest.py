from collections.abc import Callable
from datetime import datetime

import pytest

from tests.unit.client.scripted_hub import ScriptedHub


@pytest.fixture
def hub(now: Callable[[], datetime], ca: bytes) -> ScriptedHub:
    return ScriptedHub(now, ca)
