"""The credential plugin against a real hub, and called by a real kubectl for a real managed cluster."""

import json
import os
import subprocess
import sys
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import frozen

from hack import kubectl
from hack.clusters import Cluster
from hack.kubectl import KubectlError

_PROGRAM = str(Path(sys.executable).with_name("cp-creds"))
_IN_A_POD = """
import sys
from pathlib import Path
from msa.cli import cp_creds
from msa.kube import credentials
credentials._POD = Path(sys.argv.pop(1))
cp_creds.main()
"""
_NAMESPACE = "cp-creds"
_ASKED = "--managed-serviceaccount=argocd"
_V1 = "client.authentication.k8s.io/v1"
_MISSING = "failed to get synced credential secret"


@frozen
class Consumer:
    """A program on the hub, with the right to read one Secret in its namespace there."""

    hub: Cluster
    managed: Cluster
    home: Path
    token: str

    @property
    def kubeconfig(self) -> Path:
        """Its way to the hub."""
        return self.home / "hub.kubeconfig"

    def run(
        self, environment: Mapping[str, str], *arguments: str, pod: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        command = [_PROGRAM] if pod is None else [sys.executable, "-c", _IN_A_POD, str(pod)]
        return subprocess.run(
            [*command, *arguments],
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def on_hub(self, **environment: str) -> dict[str, str]:
        return {"KUBECONFIG": str(self.kubeconfig), "KUBERNETES_EXEC_INFO": _info(), **environment}

    def pod(self) -> tuple[Path, dict[str, str]]:
        """Its service account, mounted, and what the kubelet puts into the environment."""
        folder = self.home / "pod"
        folder.mkdir(exist_ok=True)
        (folder / "token").write_text(self.token)
        (folder / "namespace").write_text(_NAMESPACE)
        (folder / "ca.crt").write_bytes(self.hub.ca_file.read_bytes())
        host, port = self.hub.server.removeprefix("https://").split(":")
        return folder, {
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
            "KUBERNETES_EXEC_INFO": _info(),
        }


def _info(cluster: str = "c1", version: str = _V1) -> str:
    spec = {"interactive": False, "cluster": {"server": "x", "config": {"clusterName": cluster}}}
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "spec": spec})


def _kubeconfig(file: Path, server: Cluster, user: Mapping[str, Any], **more: Any) -> Path:
    ca = b64encode(server.ca_file.read_bytes()).decode()
    cluster = {"server": server.server, "certificate-authority-data": ca, **more.get("cluster", {})}
    context = {"cluster": "it", "user": "it", **more.get("context", {})}
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "it",
                "contexts": [{"name": "it", "context": context}],
                "clusters": [{"name": "it", "cluster": cluster}],
                "users": [{"name": "it", "user": dict(user)}],
            }
        )
    )
    return file


def _ensure(cluster: Cluster, *arguments: str) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=cluster.kubectl(*arguments, "--dry-run=client", "-o", "json"))


def _store(hub: Cluster, token: str, namespace: str = _NAMESPACE) -> None:
    """As the manager copies it to where a ClusterProfile is."""
    _ensure(hub, "create", "namespace", namespace)
    literals = (f"--from-literal=token={token}", "--from-literal=ca.crt=x")
    _ensure(hub, "-n", namespace, "create", "secret", "generic", "c1-argocd", *literals)


def _issued(managed: Cluster) -> str:
    """By a real TokenRequest."""
    return managed.kubectl("-n", _NAMESPACE, "create", "token", "argocd").strip()


@pytest.fixture(scope="module")
def consumer(hub: Cluster, managed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Consumer:
    for cluster, account in ((hub, "consumer"), (managed, "argocd")):
        _ensure(cluster, "create", "namespace", _NAMESPACE)
        _ensure(cluster, "-n", _NAMESPACE, "create", "serviceaccount", account)
    on_hub = ("-n", _NAMESPACE, "create")
    _ensure(hub, *on_hub, "role", "consumer", "--verb=get", "--resource=secrets", "--resource-name=c1-argocd")
    _ensure(
        hub, *on_hub, "rolebinding", "consumer", "--role=consumer", f"--serviceaccount={_NAMESPACE}:consumer"
    )
    token = hub.kubectl("-n", _NAMESPACE, "create", "token", "consumer").strip()
    found = Consumer(hub, managed, tmp_path_factory.mktemp("consumer"), token)
    _kubeconfig(found.kubeconfig, hub, {"token": token}, context={"namespace": _NAMESPACE})
    return found


@pytest.fixture
def issued(hub: Cluster, managed: Cluster, consumer: Consumer) -> str:
    """The token in the Secret on the hub."""
    token = _issued(managed)
    _store(hub, token)
    return token


def _token(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    answer = json.loads(done.stdout)
    assert (answer["apiVersion"], answer["kind"]) == (_V1, "ExecCredential")
    assert answer["status"]["expirationTimestamp"].endswith("Z")
    return str(answer["status"]["token"])


def _refusal(done: "subprocess.CompletedProcess[str]") -> str:
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    return done.stderr


@pytest.mark.parametrize("flag", [[_ASKED], _ASKED.split("=")])
def test_the_token_in_the_hubs_secret_is_given_in_one_line(
    consumer: Consumer, issued: str, flag: list[str]
) -> None:
    assert _token(consumer.run(consumer.on_hub(), *flag)) == issued


def test_without_its_flag_it_says_so(consumer: Consumer) -> None:
    assert "--managed-serviceaccount flag is required" in _refusal(consumer.run(consumer.on_hub()))


def test_a_pods_own_account_is_enough_and_its_namespace_is_looked_into(
    consumer: Consumer, issued: str
) -> None:
    pod, environment = consumer.pod()
    assert _token(consumer.run(environment, _ASKED, pod=pod)) == issued


def test_the_namespace_of_the_environment_comes_before_the_pods_and_that_before_the_contexts(
    consumer: Consumer, hub: Cluster, issued: str
) -> None:
    """With the administrator's certificate, which may read anywhere; four namespaces hold four tokens."""
    tokens = {namespace: f"token-of-{namespace}" for namespace in ("named", "in-context", "default")}
    for namespace, token in tokens.items():
        _store(hub, token, namespace)
    admin = yaml.safe_load(hub.kubeconfig.read_text())["users"][0]["user"]
    context = {"namespace": "in-context"}
    there = str(_kubeconfig(consumer.home / "admin", hub, admin, context=context))
    nowhere = str(_kubeconfig(consumer.home / "none", hub, admin))
    pod, _ = consumer.pod()

    def found(*, pod: Path | None, **environment: str) -> str:
        done = consumer.run(consumer.on_hub(**environment), _ASKED, pod=pod)
        return str(json.loads(done.stdout)["status"]["token"])

    assert found(pod=pod, NAMESPACE="named", KUBECONFIG=there) == tokens["named"]
    assert found(pod=pod, KUBECONFIG=there) == issued
    assert found(pod=None, KUBECONFIG=there) == tokens["in-context"]
    assert found(pod=None, KUBECONFIG=nowhere) == tokens["default"]
    hub.kubectl("-n", "default", "delete", "secret", "c1-argocd")  # others use this namespace


def test_a_secret_that_is_missing_is_told(consumer: Consumer, hub: Cluster, issued: str) -> None:
    hub.kubectl("-n", _NAMESPACE, "delete", "secret", "c1-argocd")
    told = _refusal(consumer.run(consumer.on_hub(), _ASKED))
    assert (
        f"{_MISSING} {_NAMESPACE}/c1-argocd: the hub has none: label ManagedServiceAccount c1/argocd" in told
    )


def test_a_secret_that_the_consumer_may_not_read_is_told_in_the_hubs_words(consumer: Consumer) -> None:
    told = _refusal(consumer.run(consumer.on_hub(KUBERNETES_EXEC_INFO=_info("c2")), _ASKED))
    assert f'{_MISSING} {_NAMESPACE}/c2-argocd: secrets "c2-argocd" is forbidden: User' in told
    assert "give that account a Role" in told


def test_a_token_that_the_hub_does_not_know_is_told_and_not_shown(consumer: Consumer) -> None:
    stale = _kubeconfig(consumer.home / "stale", consumer.hub, {"token": "stale-t0ken"})
    told = _refusal(consumer.run(consumer.on_hub(KUBECONFIG=str(stale)), _ASKED))
    assert "the hub does not know us (401)" in told
    assert "stale-t0ken" not in told


def test_a_hub_of_another_authority_is_sent_no_token(consumer: Consumer, managed: Cluster) -> None:
    ca = b64encode(managed.ca_file.read_bytes()).decode()
    strange = _kubeconfig(
        consumer.home / "strange",
        consumer.hub,
        {"token": consumer.token},
        cluster={"certificate-authority-data": ca},
    )
    told = _refusal(consumer.run(consumer.on_hub(KUBECONFIG=str(strange)), _ASKED))
    assert "the server's certificate is not trusted" in told


def _for_kubectl(consumer: Consumer, version: str = _V1, cluster: str = "c1", **environment: str) -> Path:
    """The kubeconfig that a consumer has of the managed cluster."""
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"clusterName": cluster}}
    plugin = {
        "apiVersion": version,
        "command": _PROGRAM,
        "args": [_ASKED],
        "provideClusterInfo": True,
        "interactiveMode": "Never",
        "env": [
            {"name": name, "value": value}
            for name, value in {"KUBECONFIG": str(consumer.kubeconfig), **environment}.items()
        ],
    }
    file = consumer.home / f"{cluster}.kubeconfig"
    return _kubeconfig(file, consumer.managed, {"exec": plugin}, cluster={"extensions": [extension]})


def _shown(consumer: Consumer, kubeconfig: Path) -> tuple[str, str]:
    """As whom kubectl calls the managed cluster, and with which token, both in that cluster's own words."""
    binary = consumer.managed.binaries["kubectl"]
    who = json.loads(kubectl.run(binary, kubeconfig, "auth", "whoami", "-o", "json"))["status"]["userInfo"]
    (credential_id,) = who["extra"]["authentication.kubernetes.io/credential-id"]
    return who["username"], credential_id


def _id(token: str) -> str:
    payload = token.split(".")[1]
    return f"JTI={json.loads(urlsafe_b64decode(payload + '=' * (-len(payload) % 4)))['jti']}"


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_kubectl_calls_the_managed_cluster_as_the_managed_service_account(
    consumer: Consumer, issued: str, version: str
) -> None:
    file = _for_kubectl(consumer, f"client.authentication.k8s.io/{version}")
    assert _shown(consumer, file) == (f"system:serviceaccount:{_NAMESPACE}:argocd", _id(issued))


def test_after_a_rotation_the_next_call_has_the_new_token(
    consumer: Consumer, hub: Cluster, managed: Cluster, issued: str
) -> None:
    file = _for_kubectl(consumer)
    assert _shown(consumer, file)[1] == _id(issued)
    renewed = _issued(managed)
    _store(hub, renewed)
    assert _shown(consumer, file)[1] == _id(renewed) != _id(issued)


@pytest.mark.usefixtures("issued")
def test_kubectl_shows_what_stands_in_the_way(consumer: Consumer) -> None:
    file = _for_kubectl(consumer, cluster="c2")
    with pytest.raises(KubectlError, match=f"cp-creds: {_MISSING} {_NAMESPACE}/c2-argocd"):
        kubectl.run(consumer.managed.binaries["kubectl"], file, "auth", "whoami")


@pytest.mark.usefixtures("issued")
def test_a_kubeconfig_whose_plugin_has_no_way_to_the_hub_of_its_own_says_where_to_name_it(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kubectl hands its own KUBECONFIG on to the plugin."""
    file = _for_kubectl(consumer)
    monkeypatch.setenv("KUBECONFIG", str(file))
    file.write_text(file.read_text().replace("name: KUBECONFIG", "name: OTHER"))
    with pytest.raises(KubectlError, match="by way of cp-creds, not to the hub"):
        kubectl.run(consumer.managed.binaries["kubectl"], file, "auth", "whoami")
