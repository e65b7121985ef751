"""A kubeconfig that cannot be used is told in one line by every program, with the file, the field and what would help."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from msa.client import TokenError, TokenSource

_BROKEN = {
    "no YAML": ("{", "no YAML: line 1"),
    "a text for a boolean": (
        'clusters: [{name: a, cluster: {insecure-skip-tls-verify: "false"}}]',
        "clusters[0].cluster.insecure-skip-tls-verify must be a boolean, not a string: write true or false",
    ),
    "no context": ("kind: Config", "current-context is missing: name the context to use"),
    "no credential": (
        "{current-context: a, contexts: [{name: a, context: {cluster: a}}], clusters: [{name: a, cluster: {server: 'https://h'}}]}",
        "the user of the current context has no credential: write a token",
    ),
    "not there": (None, "No such file or directory: "),
}
_NO_PORTS = ("--metrics-bind-address=0", "--health-probe-bind-address=0")
"""Other programs on this machine may hold the default ones."""

_PROGRAMS = {
    "agent": [
        *("msa.cli.main", "agent", "--cluster-name=c1", "--kubeconfig={}", "--spoke-kubeconfig={}"),
        *_NO_PORTS,
    ],
    "manager": ["msa.cli.main", "manager", "--kubeconfig={}", "--agent-image-name=x", *_NO_PORTS],
    "cp-creds": ["msa.cli.cp_creds", "--managed-serviceaccount=x"],
}
_INFO = '{"apiVersion":"client.authentication.k8s.io/v1","spec":{"cluster":{"config":{"clusterName":"c"}}}}'


@pytest.fixture(params=_BROKEN)
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """The file, and what is said of it."""
    content, says = _BROKEN[request.param]
    file = tmp_path / "kubeconfig"
    if content is not None:
        file.write_text(content)
    return file, says


@pytest.mark.parametrize("program", _PROGRAMS)
def test_a_program_ends_with_one_line(broken: tuple[Path, str], program: str) -> None:
    file, says = broken
    module, *arguments = (part.format(file) for part in _PROGRAMS[program])
    environment = {**os.environ, "KUBECONFIG": str(file), "KUBERNETES_EXEC_INFO": _INFO, "NAMESPACE": "ns"}
    done = subprocess.run(
        [sys.executable, "-c", f"from {module} import main; main()", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if str(file) in line or "Traceback" in line]
    assert done.returncode == 1
    assert len(lines) == 1
    assert f"kubeconfig {file}: " in lines[0]
    assert says in lines[0]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_library_raises_one_line(broken: tuple[Path, str]) -> None:
    file, says = broken
    with pytest.raises(TokenError) as caught:
        async with TokenSource(file):
            pass
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
