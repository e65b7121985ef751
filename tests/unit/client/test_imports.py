"""What the import of the library brings into a program, and what only its use does."""

import subprocess
import sys

import pytest

_HEAVY = (
    *(
        "aiohttp",
        "cryptography",
        "httpx",
        "kubernetes",
        "kubernetes_asyncio",
        "prometheus_client",
        "structlog",
        "yaml",
    ),
    *("asyncio", "anyio.from_thread", "trio"),
)


def _brought(program: str) -> set[str]:
    """The modules that are there after a program ran in an interpreter of its own."""
    code = f"{program}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_the_import_brings_nothing_that_a_program_may_never_use() -> None:
    assert _brought("import msa.client").isdisjoint(_HEAVY)


def test_a_source_brings_no_client_library_of_others() -> None:
    brought = _brought("from msa.client import TokenSource; TokenSource('/nowhere')")
    assert brought.isdisjoint({"httpx", "kubernetes", "kubernetes_asyncio"})
    assert "aiohttp" in brought


@pytest.mark.parametrize(
    ("before", "printed"), [("", False), ("import structlog", True)], ids=["unknown", "in use"]
)
def test_logs_go_the_way_of_libraries_unless_the_program_uses_structlog(
    before: str, *, printed: bool
) -> None:
    program = f"""
{before}
import logging
logging.basicConfig(format="stdlib %(name)s %(message)s")
from msa.client import TokenSource
TokenSource("/nowhere")
from msa.kube import transport
transport._log.warning("credential_kept", problem="gone")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert bool(done.stdout) is printed
    line = "stdlib msa.kube.transport event=credential_kept problem=gone\n"
    assert done.stderr == ("" if printed else line)
