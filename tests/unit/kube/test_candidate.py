import base64
import json
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from msa.kube import candidate as module
from msa.kube.candidate import candidate

_ASK = """
import sys, time
from pathlib import Path
from msa.kube import candidate
candidate._TOKEN = Path(sys.argv[1])
print(candidate.candidate("lease"), flush=True)
time.sleep(float(sys.argv[2]))
"""


def _token(claims: object) -> str:
    def segment(content: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    return f"{segment({'alg': 'RS256'})}.{segment(claims)}.c2ln"


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """Of a pod."""
    file = tmp_path / "token"
    file.write_text(
        _token({"kubernetes.io": {"namespace": "ns", "pod": {"name": "msa-1", "uid": str(uuid4())}}})
    )
    return file


def _start(token: Path, seconds: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _ASK, str(token), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def _said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _name(token: Path) -> str:
    process = _start(token, 0)
    name = _said(process)
    process.communicate()
    return name


def test_a_container_that_is_restarted_in_its_pod_keeps_its_name(token: Path) -> None:
    killed = _start(token, 60)
    first = _said(killed)
    killed.kill()
    killed.communicate()
    assert _name(token) == first
    assert first.count("-") >= 4, "the pod's UID is in it"


def test_two_processes_of_one_pod_that_both_run_have_two_names(token: Path) -> None:
    """A second container, or somebody who runs the command in the first one."""
    one = _start(token, 60)
    first, second = _said(one), _name(token)
    one.kill()
    one.communicate()
    assert first != second


def test_two_pods_with_the_host_name_of_their_node_have_two_names(token: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(_token({"kubernetes.io": {"pod": {"uid": str(uuid4())}}}))
    assert _name(token) != _name(other)


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "no token",
        "a.b.c",
        _token({}),
        _token({"kubernetes.io": {"pod": {"uid": 7}}}),
        _token([]),
        "é.é.é",
    ],
)
def test_outside_of_a_pod_each_process_has_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    monkeypatch.setattr(module, "_TOKEN", tmp_path / "token")
    if content is not None:
        (tmp_path / "token").write_text(content)
    assert candidate("lease") != candidate("lease")
