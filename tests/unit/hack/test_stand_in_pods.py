"""What a pod of the stand-ins starts, in the place of a container."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from hack.ocm import pods
from hack.ocm.api import Metadata, Object
from hack.processes import Process

_ROOT = Path(__file__).parents[3]


def _started(*arguments: str, **spec: Any) -> list[str]:
    container = {"name": "c", "image": "msa:v1", "args": list(arguments)}
    pod = Object(Metadata(name="p", namespace="n"), {"containers": [container], **spec})
    running = pods._Running(pod, Process("p", Path("/f")), Path("/f/v"), health_port=1, metrics_port=2)
    return pods._command(pod, running)


def test_it_knows_the_commit_of_the_clone_as_an_image_knows_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSA_COMMIT", "0f1e")
    monkeypatch.setenv("HOME", "/home/me")
    assert [part for part in _started("manager") if part.startswith(("MSA_COMMIT", "HOME"))] == [
        "MSA_COMMIT=0f1e"
    ]


def test_a_program_that_runs_once_serves_nothing() -> None:
    flags = {part.partition("=")[0] for part in _started("leave", restartPolicy="Never")}
    assert "--kubeconfig" in flags
    assert not {"--metrics-bind-address", "--health-probe-bind-address"} & flags
    assert "--health-probe-bind-address=127.0.0.1:1" in _started("manager")


@pytest.mark.skipif(not (_ROOT / ".git").exists(), reason="no clone")
def test_make_names_the_commit_to_all_that_it_starts() -> None:
    command = ("make", "--silent", "--eval=commit: ; @echo $$MSA_COMMIT", "commit")
    environment = {"PATH": "/usr/bin:/bin"}
    said = subprocess.run(
        command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    head = subprocess.run(
        ("git", "rev-parse", "HEAD"), cwd=_ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert said.strip().removesuffix("-dirty") == head.strip()
