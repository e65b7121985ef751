import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from msa.kube import credentials, loading_rules
from msa.kube.credentials import CredentialError
from msa.kube.loading_rules import Access
from tests.support.secret_hub import HUB_TOKEN, SecretHub, secret_hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretHub]:
    """This process is in no pod."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(credentials, "_POD", tmp_path / "pod")
    with secret_hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def pod(hub: SecretHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """It is in one."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(hub.port))
    return hub.pod(tmp_path / "pod")


def _at_home(hub: SecretHub, home: Path, **context: str) -> dict[str, str]:
    (home / ".kube").mkdir()
    hub.kubeconfig(home / ".kube" / "config", {"token": "at-home"}, context=context)
    return {"HOME": str(home)}


def _find(environment: dict[str, str]) -> Access:
    return loading_rules.find(environment, asked_by="cp-creds")


def test_kubeconfig_comes_before_the_pod_but_the_namespace_is_the_pods(
    hub: SecretHub, pod: Path, tmp_path: Path
) -> None:
    file = hub.kubeconfig(tmp_path / "config", {"token": "named"}, context={"namespace": "of-context"})
    found = _find({"KUBECONFIG": str(file)})
    assert (found.credential.authorization, found.namespace) == ("Bearer named", "consumers")
    (pod / "namespace").unlink()
    assert _find({"KUBECONFIG": str(file)}).namespace == "of-context"


def test_the_pod_comes_before_the_file_at_home(hub: SecretHub, pod: Path, tmp_path: Path) -> None:
    found = _find(_at_home(hub, tmp_path) | {"KUBECONFIG": ""})
    assert found.credential.server == hub.server
    assert (found.credential.authorization, found.namespace) == (f"Bearer {HUB_TOKEN}", "consumers")


def test_a_pod_without_its_token_is_none(hub: SecretHub, pod: Path, tmp_path: Path) -> None:
    (pod / "token").unlink()
    assert _find(_at_home(hub, tmp_path)).credential.authorization == "Bearer at-home"


def test_the_file_at_home_is_the_last_and_its_context_may_name_no_namespace(
    hub: SecretHub, tmp_path: Path
) -> None:
    found = _find(_at_home(hub, tmp_path))
    assert (found.credential.authorization, found.namespace) == ("Bearer at-home", "")


def test_files_are_listed_as_path_lists_are(hub: SecretHub, tmp_path: Path) -> None:
    hub.kubeconfig(tmp_path / "config", {"token": "listed"})
    listed = os.pathsep.join(["", str(tmp_path / "nowhere"), str(tmp_path / "config")])
    assert _find({"KUBECONFIG": listed}).credential.authorization == "Bearer listed"


@pytest.mark.parametrize("variable", ["KUBECONFIG", "HOME"])
def test_without_any_way_to_the_hub_the_remedy_is_a_variable(
    hub: SecretHub, tmp_path: Path, variable: str
) -> None:
    with pytest.raises(CredentialError, match=r"No such file.*in KUBECONFIG"):
        _find({variable: str(tmp_path / "nowhere")})


def test_another_plugin_is_asked_for_the_way_to_the_hub(hub: SecretHub, tmp_path: Path) -> None:
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    told = json.dumps({**answer, "status": {"token": "told"}})
    plugin = {
        "apiVersion": answer["apiVersion"],
        "command": "echo",
        "args": [told],
        "interactiveMode": "Never",
    }
    file = hub.kubeconfig(tmp_path / "config", {"exec": plugin})
    assert _find({"KUBECONFIG": str(file)}).credential.authorization == "Bearer told"


def test_a_program_that_would_ask_itself_says_which_variable_leads_to_the_hub(
    hub: SecretHub, tmp_path: Path
) -> None:
    """A client's KUBECONFIG is its plugin's, too."""
    api_version = "client.authentication.k8s.io/v1beta1"
    plugin = {"apiVersion": api_version, "command": "/usr/bin/cp-creds"}
    file = hub.kubeconfig(tmp_path / "config", {"exec": plugin})
    with pytest.raises(CredentialError, match=r"by way of cp-creds, not to the hub: .*exec\.env"):
        _find({"KUBECONFIG": str(file)})
