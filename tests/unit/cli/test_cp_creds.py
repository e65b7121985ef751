import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from hack.pki import Authority
from msa.api.names import ANNOTATION_EXPIRATION
from msa.cli import cp_creds
from msa.kube import credentials
from tests.support.secret_hub import HUB_TOKEN, SecretHub, secret_hub

_TOKEN = "s3cret.of.argocd"
_V1 = "client.authentication.k8s.io/v1"
_PROGRAM = """
import json, sys
from pathlib import Path
from msa.cli import cp_creds
from msa.kube import credentials
credentials._POD = Path(sys.argv[1])
cp_creds.main(["--managed-serviceaccount=argocd"])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
_HEAVY = {
    *("aiohttp", "kubernetes_asyncio", "cryptography", "prometheus_client", "structlog", "anyio"),
    *("yaml", "asyncio", "click"),
}


def _info(**config: Any) -> str:
    return json.dumps({"apiVersion": _V1, "spec": {"cluster": {"config": config}}})


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretHub]:
    """This process is in a pod of it, asked for c1."""
    with secret_hub(tmp_path / "hub") as hub:
        hub.holds(_TOKEN, **{ANNOTATION_EXPIRATION: "2030-01-01T00:00:00Z"})
        monkeypatch.setattr(credentials, "_POD", hub.pod(tmp_path / "pod"))
        for name, value in {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(hub.port),
            "KUBERNETES_EXEC_INFO": _info(clusterName="c1"),
        }.items():
            monkeypatch.setenv(name, value)
        for name in ("NAMESPACE", "KUBECONFIG"):
            monkeypatch.delenv(name, raising=False)
        yield hub


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that is said, and that nothing else is."""
    with pytest.raises(SystemExit) as caught:
        cp_creds.main(list(arguments))
    out, err = capsys.readouterr()
    assert caught.value.code == 1
    assert out == ""
    assert err.startswith("cp-creds: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert _TOKEN not in err
    assert HUB_TOKEN not in err
    return err


@pytest.mark.parametrize(
    "arguments", [["--managed-serviceaccount=argocd"], ["--managed-serviceaccount", "argocd"]]
)
def test_the_answer_is_one_line_on_stdout(
    hub: SecretHub, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    cp_creds.main(arguments)
    status = f'{{"token":"{_TOKEN}","expirationTimestamp":"2030-01-01T00:00:00Z"}}'
    assert capsys.readouterr() == (
        f'{{"apiVersion":"{_V1}","kind":"ExecCredential","status":{status}}}\n',
        "",
    )
    assert hub.seen == [("/api/v1/namespaces/consumers/secrets/c1-argocd", f"Bearer {HUB_TOKEN}")]


@pytest.mark.parametrize(
    ("named", "in_pod", "in_context", "chosen"),
    [
        ("named", "in-pod", "in-context", "named"),
        ("", "in-pod", "in-context", "in-pod"),
        ("", "", "in-context", "in-context"),
        ("", "", "", "default"),
    ],
)
def test_the_namespace_is_the_first_that_is_known(
    hub: SecretHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    named: str,
    in_pod: str,
    in_context: str,
    chosen: str,
) -> None:
    monkeypatch.setenv("NAMESPACE", named)
    (tmp_path / "pod" / "namespace").write_text(in_pod)
    file = hub.kubeconfig(tmp_path / "config", {"token": "x"}, context={"namespace": in_context})
    monkeypatch.setenv("KUBECONFIG", str(file))
    cp_creds.main(["--managed-serviceaccount=argocd"])
    assert hub.seen == [(f"/api/v1/namespaces/{chosen}/secrets/c1-argocd", "Bearer x")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--managed-serviceaccount flag is required"),
        (["--managed-serviceaccount="], "--managed-serviceaccount flag is required"),
        (["--managed-serviceaccount"], "expected one argument"),
        (["--managed-serviceaccount=../x"], "'../x' is no name of a ManagedServiceAccount"),
        (["--managed=argocd"], "--managed=argocd"),
        (["--other"], "--other"),
        (["more", "--managed-serviceaccount=x"], "more"),
    ],
)
def test_a_wrong_command_line_is_told(
    hub: SecretHub, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert says in _refused(capsys, *arguments)
    assert hub.seen == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("KUBERNETES_EXEC_INFO", "", "KUBERNETES_EXEC_INFO is not set"),
        ("KUBERNETES_EXEC_INFO", "garbage", "KUBERNETES_EXEC_INFO is no ExecCredential"),
        ("KUBERNETES_EXEC_INFO", '{"apiVersion":"v1"}', "is of apiVersion 'v1'"),
        ("KUBERNETES_EXEC_INFO", json.dumps({"apiVersion": _V1, "spec": {}}), "provideClusterInfo: true"),
        ("KUBERNETES_EXEC_INFO", _info(), "has no spec.cluster.config.clusterName"),
        ("KUBERNETES_EXEC_INFO", _info(clusterName="../../x"), "'../../x' is no name of a managed cluster"),
        ("NAMESPACE", "../kube-system", "'../kube-system' is no name of a namespace"),
        ("KUBERNETES_SERVICE_PORT", "x", "KUBERNETES_SERVICE_PORT are not an address"),
        ("KUBECONFIG", "/nowhere", "kubeconfig /nowhere: No such file or directory: write the path"),
    ],
)
def test_a_wrong_environment_is_told_and_nothing_is_asked(
    hub: SecretHub,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    name: str,
    value: str,
    says: str,
) -> None:
    monkeypatch.setenv(name, value)
    assert says in _refused(capsys, "--managed-serviceaccount=argocd")
    assert hub.seen == []


@pytest.mark.parametrize(
    ("code", "message", "says"),
    [
        (404, "secrets not found", "label ManagedServiceAccount c1/argocd with"),
        (401, "Unauthorized", "the hub does not know us (401)"),
        (403, "User x cannot get", "User x cannot get: give that account a Role there to get this Secret"),
        (403, f"you\nsent \x1b[31m{HUB_TOKEN}", "you sent [31m...: give that account"),
        (429, "busy", "the hub answered 429 busy"),
        (500, "broken", "the hub answered 500 broken"),
    ],
)
def test_what_the_hub_refuses_is_told_with_a_remedy(
    hub: SecretHub, capsys: pytest.CaptureFixture[str], code: int, message: str, says: str
) -> None:
    hub.refuses(code, message)
    told = _refused(capsys, "--managed-serviceaccount=argocd")
    assert told.startswith("cp-creds: failed to get synced credential secret consumers/c1-argocd: ")
    assert says in told


def test_a_secret_with_an_empty_token_is_told(hub: SecretHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.holds("")
    told = _refused(capsys, "--managed-serviceaccount=argocd")
    assert told.startswith(
        "cp-creds: failed to get synced credential secret consumers/c1-argocd: it has no token"
    )


def test_a_secret_whose_token_is_none_is_not_shown(
    hub: SecretHub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.holds(f"{_TOKEN} and more")
    assert "is no bearer token" in _refused(capsys, "--managed-serviceaccount=argocd")


def test_the_copy_for_another_cluster_whose_name_leads_to_it_is_not_given(
    hub: SecretHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by a client of eu; ClusterProfile eu-prod with ManagedServiceAccount argocd has a copy of that name."""
    profile = {"apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ClusterProfile", "name": "eu-prod"}
    hub.holds(_TOKEN, controller={**profile, "controller": True})
    monkeypatch.setenv("KUBERNETES_EXEC_INFO", _info(clusterName="eu"))
    told = _refused(capsys, "--managed-serviceaccount=prod-argocd")
    assert "secret consumers/eu-prod-argocd: it is the copy for cluster 'eu-prod', not for 'eu'" in told
    monkeypatch.setenv("KUBERNETES_EXEC_INFO", _info(clusterName="eu-prod"))
    cp_creds.main(["--managed-serviceaccount=argocd"])
    assert f'"token":"{_TOKEN}"' in capsys.readouterr().out


def test_below_a_path_of_the_hubs_address_the_secret_is_asked_for(
    hub: SecretHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Rancher has it."""
    server = f"{hub.server}/k8s/clusters/local/"
    file = hub.kubeconfig(tmp_path / "config", {"token": "x"}, server=server)
    monkeypatch.setenv("KUBECONFIG", str(file))
    cp_creds.main(["--managed-serviceaccount=argocd"])
    path = "/k8s/clusters/local/api/v1/namespaces/consumers/secrets/c1-argocd"
    assert hub.seen == [(path, "Bearer x")]


def test_a_hub_that_cannot_be_reached_is_told(
    hub: SecretHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    assert "the hub cannot be reached: 127.0.0.1:1: " in _refused(capsys, "--managed-serviceaccount=argocd")


def test_a_pods_token_that_is_no_text_is_told(
    hub: SecretHub, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "pod" / "token").write_bytes(b"\xff")
    assert "is no text" in _refused(capsys, "--managed-serviceaccount=argocd")


def test_the_help_has_a_kubeconfig_to_start_from(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cp_creds.main(["--help"])
    assert caught.value.code == 0
    help_text = capsys.readouterr().out
    for word in ("provideClusterInfo: true", "clusterName: cluster1", "KUBERNETES_EXEC_INFO", "NAMESPACE"):
        assert word in help_text


def test_in_a_pod_nothing_is_imported_that_one_request_does_not_need(hub: SecretHub, tmp_path: Path) -> None:
    """It is started anew for each few requests of a client, which waits for it."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path / "pod")],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    answer, modules = done.stdout.splitlines()
    assert json.loads(answer)["status"]["token"] == _TOKEN
    assert _HEAVY & set(json.loads(modules)) == set()


_HANGS = "echo $$ > {0}/pid; exec sleep 300"
_GIVES = "cat {0}/answer"


def _with_plugin(hub: SecretHub, folder: Path, text: str) -> dict[str, str]:
    """The environment of a program whose way to the hub is a plugin, and whose temporary files go to a folder of their own."""
    (folder / "temporary").mkdir()
    plugin = folder / "plugin.sh"
    plugin.write_text(f"#!/bin/sh\n{text.format(folder)}\n")
    plugin.chmod(0o755)
    asked = {"apiVersion": _V1, "command": "./plugin.sh", "interactiveMode": "Never"}
    file = hub.kubeconfig(folder / "config", {"exec": asked})
    Authority(hub.folder).issue_client("client", "user", ())
    names = {"clientCertificateData": "client.crt", "clientKeyData": "client.key"}
    status = {key: (hub.folder / name).read_text() for key, name in names.items()}
    (folder / "answer").write_text(
        json.dumps({"apiVersion": _V1, "kind": "ExecCredential", "status": status})
    )
    return {**os.environ, "KUBECONFIG": str(file), "TMPDIR": str(folder / "temporary")}


def _started(environment: dict[str, str]) -> subprocess.Popen[str]:
    program = "from msa.cli.cp_creds import main; main(['--managed-serviceaccount=argocd'])"
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_plugins_private_key_is_used_and_no_file_is_left(hub: SecretHub, tmp_path: Path) -> None:
    with _started(_with_plugin(hub, tmp_path, _GIVES)) as program:
        out, err = program.communicate(timeout=30)
    assert (json.loads(out)["status"]["token"], err) == (_TOKEN, "")
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_no_file_is_left_and_what_can_be_caught_ends_the_plugin_with_it(
    hub: SecretHub, tmp_path: Path, number: signal.Signals
) -> None:
    with _started(_with_plugin(hub, tmp_path, _HANGS)) as program:
        try:
            pid = int(_when_there(tmp_path / "pid"))
            program.send_signal(number)
            out, err = program.communicate(timeout=30)
        finally:
            program.kill()
    assert (out, err) == ("", "")
    assert list((tmp_path / "temporary").iterdir()) == []
    if number is signal.SIGKILL:
        os.kill(pid, signal.SIGKILL)  # nothing can be done by one that is killed
    else:
        assert program.returncode == 128 + number
        assert not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text()


def _when_there(file: Path) -> str:
    deadline = monotonic() + 30
    while monotonic() < deadline:
        if file.exists() and (text := file.read_text()).endswith("\n"):
            return text
        sleep(0.02)
    raise TimeoutError(file)
