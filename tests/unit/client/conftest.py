from collections.abc import Callable
from datetime import datetime

import pytest

from hack.pki import Authority
from tests.unit.client.scripted_hub import ScriptedHub


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The managed cluster's, in PEM."""
    folder = tmp_path_factory.mktemp("ca")
    Authority.create(folder, "c1")
    return (folder / "ca.crt").read_bytes()


@pytest.fixture
def hub(now: Callable[[], datetime], ca: bytes) -> ScriptedHub:
    return ScriptedHub(now, ca)
