"""The consumers' library against real API servers: its examples run while a real agent rotates the token."""

import gc
import json
import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml
from attrs import frozen

from hack.addon import Addon
from hack.clusters import Cluster
from hack.processes import wait_until
from msa.api import names
from msa.client import TokenSource
from msa.client.errors import Denied, Missing
from tests.integration.audit import Audit
from tests.support import identities
from tests.support.identities import create, patch, token, wait_new_token, wait_ready

_ROOT = Path(__file__).parents[2]
_CALLING = ("with_httpx", "with_aiohttp", "with_kubernetes", "with_kubernetes_asyncio")
_PATIENCE = 20.0
_CREDENTIAL_ID = re.compile(r"JTI=[0-9a-f-]+")
_RBAC = "rbac.authorization.k8s.io/v1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def consumer(addon: Addon) -> Path:
    """The kubeconfig of somebody with the rights that docs/client.md names, for the ManagedServiceAccounts `called` and `kept`."""
    _apply(addon.hub, _managed_cluster_kind())
    addon.hub.kubectl(
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "crd/managedclusters.cluster.open-cluster-management.io",
    )
    ca = b64encode(addon.managed.ca_file.read_bytes()).decode()
    _apply(
        addon.hub,
        {
            "apiVersion": "cluster.open-cluster-management.io/v1",
            "kind": "ManagedCluster",
            "metadata": {"name": addon.cluster_name},
            "spec": {
                "hubAcceptsClient": True,
                "managedClusterClientConfigs": [{"url": addon.managed.server, "caBundle": ca}],
            },
        },
    )
    for rights in _rights(addon.cluster_name):
        _apply(addon.hub, rights)
    return addon.hub.kubeconfig_for("consumer")


def _managed_cluster_kind() -> dict[str, object]:

    kind: dict[str, object] = yaml.safe_load((_ROOT / "hack/ocm/crds/managedclusters.yaml").read_text())
    return kind


def _rights(cluster: str) -> Iterator[dict[str, object]]:
    subjects = [{"kind": "User", "name": "consumer", "apiGroup": "rbac.authorization.k8s.io"}]
    in_cluster = {"name": "consumer", "namespace": cluster}
    secrets = {
        "apiGroups": [""],
        "resources": ["secrets"],
        "resourceNames": ["called", "kept"],
        "verbs": ["get", "list", "watch"],
    }
    address = {
        "apiGroups": ["cluster.open-cluster-management.io"],
        "resources": ["managedclusters"],
        "resourceNames": [cluster],
        "verbs": ["get"],
    }
    finding = {
        "apiGroups": ["authentication.open-cluster-management.io"],
        "resources": ["managedserviceaccounts"],
        "verbs": ["list"],
    }
    role = {"apiGroup": "rbac.authorization.k8s.io", "name": "consumer"}
    yield {"apiVersion": _RBAC, "kind": "Role", "metadata": in_cluster, "rules": [secrets]}
    yield {
        "apiVersion": _RBAC,
        "kind": "RoleBinding",
        "metadata": in_cluster,
        "subjects": subjects,
        "roleRef": {**role, "kind": "Role"},
    }
    name = {"name": "consumer"}
    yield {"apiVersion": _RBAC, "kind": "ClusterRole", "metadata": name, "rules": [address, finding]}
    yield {
        "apiVersion": _RBAC,
        "kind": "ClusterRoleBinding",
        "metadata": name,
        "subjects": subjects,
        "roleRef": {**role, "kind": "ClusterRole"},
    }


def _apply(cluster: Cluster, body: dict[str, object]) -> None:
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(body))


@frozen
class Example:
    """A program of ours in `examples`, running."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def said(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.startswith("example ")]

    @property
    def credential_ids(self) -> list[str]:
        """Of the tokens that its calls were answered for, each once, in order."""
        return list(dict.fromkeys(_CREDENTIAL_ID.findall("\n".join(self.said))))

    def wait_for(self, credential_ids: int) -> None:
        """Returns once it has called with so many tokens; it must not have ended meanwhile, as it does at the first failure."""

        def reached() -> bool:
            return len(self.credential_ids) >= credential_ids or self.process.poll() is not None

        assert wait_until(reached, _PATIENCE, 0.1), f"{self.name}: {self.log.read_text()}"
        assert self.process.poll() is None, f"{self.name} has ended: {self.log.read_text()}"


@contextmanager
def _running(name: str, kubeconfig: Path, folder: Path, *arguments: str) -> Iterator[Example]:
    log = folder / f"{name}.log"
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, str(_ROOT / "examples" / f"{name}.py"), *arguments]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            yield Example(name, process, log)
        finally:
            process.terminate()


@pytest.fixture
def called(addon: Addon) -> Iterator[str]:
    create(addon, "called", validity="1h")
    wait_ready(addon, "called")
    yield "called"
    addon.hub.kubectl("delete", "msa", "-n", addon.cluster_name, "called")
    # The agent's watch may wait half a minute for its next try, where the hub was away.
    assert wait_until(lambda: identities.account(addon, "called") is None, 45.0, 0.1)


def test_the_examples_call_through_rotations_without_a_failed_request(
    addon: Addon, consumer: Path, called: str, audit: Audit, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        examples = [
            stack.enter_context(_running(name, consumer, tmp_path, addon.cluster_name, called))
            for name in _CALLING
        ]
        for example in examples:
            example.wait_for(1)
        for rotation, validity in enumerate(("2h", "", "3h"), start=2):
            before = token(addon, called)
            if validity:
                patch(addon, "msa", called, {"spec": {"rotation": {"validity": validity}}})
            else:
                addon.hub.kubectl("delete", "secret", "-n", addon.cluster_name, called)
            wait_new_token(addon, called, before)
            for example in examples:
                example.wait_for(rotation)
    assert _unauthorized(audit) == []
    assert {example.name: len(example.credential_ids) for example in examples} == dict.fromkeys(_CALLING, 4)
    account = f"system:serviceaccount:{addon.install_namespace}:{called}"
    assert all(account in line for example in examples for line in example.said if "username" in line)
    asked = [request for request in audit.on_hub() if request.user == "consumer"]
    # Whether it may follow the ManagedServiceAccount is tried, and this consumer may not.
    assert {request.code for request in asked if request.resource != names.PLURAL} == {200}


def test_a_client_of_httpx_calls_on_when_the_account_is_replaced(
    addon: Addon, consumer: Path, called: str, tmp_path: Path
) -> None:
    with _running("with_httpx", consumer, tmp_path, addon.cluster_name, called) as example:
        example.wait_for(1)
        before = token(addon, called)
        addon.managed.kubectl("delete", "serviceaccount", "-n", addon.install_namespace, called)
        wait_new_token(addon, called, before)
        example.wait_for(2)
        said = len(example.said)
        assert wait_until(lambda: len(example.said) >= said + 3, _PATIENCE, 0.1), example.log.read_text()


def test_following_tells_of_each_token_with_the_clusters_address(
    addon: Addon, consumer: Path, called: str, tmp_path: Path
) -> None:
    with _running("follow", consumer, tmp_path, addon.cluster_name, called) as example:
        assert wait_until(lambda: len(example.said) == 1, _PATIENCE, 0.1), example.log.read_text()
        patch(addon, "msa", called, {"spec": {"rotation": {"validity": "2h"}}})
        assert wait_until(lambda: len(example.said) == 2, _PATIENCE, 0.1), example.log.read_text()
        assert all(
            line.startswith(f"example a token for {addon.managed.server} until ") for line in example.said
        )


def test_a_fleet_is_found_by_labels_and_asked(
    addon: Addon, consumer: Path, called: str, tmp_path: Path
) -> None:
    patch(addon, "msa", called, {"metadata": {"labels": {"team": "payments"}}})
    with _running("fleet", consumer, tmp_path, "team=payments") as example:
        assert example.process.wait(_PATIENCE) == 0, example.log.read_text()
    assert len(example.said) == 1
    assert re.fullmatch(rf"example {addon.cluster_name} runs v1\.\S+", example.said[0])


async def test_who_may_read_one_name_only_is_told_so_of_others(addon: Addon, consumer: Path) -> None:
    async with TokenSource(consumer) as source:
        with pytest.raises(
            Denied, match=r"list and watch on secrets in namespace client; resourceNames \[other\] is"
        ):
            await source.headers(addon.cluster_name, "other")
        with pytest.raises(
            Denied, match=r"get secrets in namespace client; resourceNames \[other\] is enough"
        ):
            await source.get(addon.cluster_name, "other")
        with pytest.raises(Missing, match="Secret client/kept on the hub is not there"):
            await source.get(addon.cluster_name, "kept")


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_what_is_followed_outlives_a_restart_of_the_hub(
    addon: Addon, consumer: Path, called: str
) -> None:
    async with TokenSource(consumer) as source:
        changes = source.follow(addon.cluster_name, called)
        first = await anext(changes)
        addon.hub.stop_apiserver()
        addon.hub.start_apiserver()
        patch(addon, "msa", called, {"spec": {"rotation": {"validity": "2h"}}})
        second = await anext(changes)
    assert first is not None
    assert second is not None
    assert first.token.reveal() != second.token.reveal()
    gc.collect()  # asyncio leaves TLS connections that a peer cut to the garbage collector, which tells of them: here, and in no other test


def _unauthorized(audit: Audit) -> list[str]:
    """What was asked of the managed cluster with a token that it did not take."""
    return [
        entry["requestURI"]
        for entry in audit.managed.entries()
        if entry.get("responseStatus", {}).get("code") == 401
    ]
