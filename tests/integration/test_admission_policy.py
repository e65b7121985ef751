"""What an agent may write on the hub, as the chart's ValidatingAdmissionPolicy has it."""

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.addon import ensure_namespace
from hack.charts import Release
from hack.clusters import Cluster
from hack.processes import wait_until
from msa.api import names
from tests.support import signing_requests
from tests.support.chart_hub import apply, bare_hub, get
from tests.support.chart_hub import body as kubernetes_object
from tests.support.mutating import Alteration, added, altering

_AGENT = "system:open-cluster-management:cluster:{}:addon:managed-serviceaccount"

pytestmark = pytest.mark.timeout(300)


def _agent(cluster: str) -> list[str]:
    """kubectl's flags to be the agent of that cluster."""
    own = _AGENT.format(cluster)
    groups = (own, "system:open-cluster-management:addon:managed-serviceaccount", "system:authenticated")
    return [f"--as={own}:agent:addon-agent", *(f"--as-group={group}" for group in groups)]


def _by_token(cluster: str) -> list[str]:
    return [f"--as=system:serviceaccount:{cluster}:managed-serviceaccount-agent"]


@pytest.fixture(scope="module")
def guarded(home: Path) -> Iterator[Cluster]:
    """RBAC lets everybody do everything to Secrets, so that what is refused is refused by the policy."""
    with bare_hub("admission", home) as hub:
        Release(hub).install()
        hub.kubectl("create", "clusterrole", "secrets", "--verb=*", "--resource=secrets")
        hub.kubectl(
            "create", "clusterrolebinding", "secrets", "--clusterrole=secrets", "--group=system:authenticated"
        )
        for cluster in ("c1", "c10"):
            ensure_namespace(hub, cluster)
            hub.kubectl("label", "namespace", cluster, f"open-cluster-management.io/cluster-name={cluster}")
        # A policy takes effect a little after it is there.
        assert wait_until(lambda: "an agent" in _write(hub, _agent("c1"), _secret("x", labels={})), 10)
        yield hub


_OF_ARGO = {names.LABEL_MANAGED: "true", "argocd.argoproj.io/secret-type": "cluster"}


def _secret(name: str, namespace: str = "c1", **changes: Any) -> dict[str, Any]:
    labels = changes.pop("labels", {names.LABEL_MANAGED: "true"})
    body = kubernetes_object(
        "v1", "Secret", name, namespace, type="Opaque", data={"token": "YQ==", "ca.crt": "YQ=="}
    )
    body["metadata"] |= {"labels": labels, "ownerReferences": changes.pop("owners", [])}
    body["metadata"] |= {mark: changes.pop(mark) for mark in ("finalizers", "annotations") if mark in changes}
    return body | changes


def _write(hub: Cluster, who: list[str], body: dict[str, Any], verb: str = "create") -> str:
    return hub.kubectl(verb, *who, "--dry-run=server", "-f", "-", stdin=json.dumps(body), check=False)


_OWNER = {"apiVersion": f"{names.GROUP}/v1beta1", "kind": names.KIND, "name": "lost", "uid": "u"}
_TYPED = {"annotations": {"kubernetes.io/service-account.name": "default"}}


@pytest.mark.parametrize("who", [_agent("c1"), _by_token("c1")], ids=["certificate", "token"])
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (_secret("good"), "secret/good created"),
        (_secret("early", data={"ca.crt": "YQ=="}), "secret/early created"),
        (_secret("marked", annotations={names.ANNOTATION_REQUESTED: "x"}), "secret/marked created"),
        (_secret("stuck", finalizers=["example.com/stay"]), "adds no finalizer"),
        (_secret("seen", labels=_OF_ARGO), "adds no label"),
        (_secret("noted", annotations={"example.com/note": "x"}), "adds only annotations"),
        (_secret("bare", labels={}), "with the label"),
        (_secret("no", labels={names.LABEL_MANAGED: "false"}), "with the label"),
        (_secret("more", data={"token": "YQ==", "kubeconfig": "YQ=="}), "only the keys"),
        (_secret("text", stringData={"other": "a"}), "only the keys"),
        (_secret("tls", type="kubernetes.io/tls", data={"tls.crt": "", "tls.key": ""}), "of type Opaque"),
        (_secret("there", "c10"), "own cluster's namespace"),
        (_secret("there", "default"), "own cluster's namespace"),
    ],
    ids=lambda value: value["metadata"]["name"] if isinstance(value, dict) else "",
)
def test_an_agent_creates_only_secrets_of_its_identities(
    guarded: Cluster, who: list[str], body: dict[str, Any], says: str
) -> None:
    assert says in _write(guarded, who, body)


def test_where_a_webhook_adds_what_an_agent_may_not_the_refusal_says_what_to_exempt(guarded: Cluster) -> None:
    """The API server asks this policy last, and does not say who added what."""
    labelled = Alteration("seasoned", "secrets", added("/metadata/labels/team", '"blue"'))
    refused: list[str] = []

    def denied() -> bool:
        refused.append(_write(guarded, _agent("c1"), _secret("seasoned")))
        return "adds no label" in refused[-1]

    with altering(guarded, "c1", labelled, served=denied):
        assert f"exempt Secrets with the label {names.LABEL_MANAGED}" in refused[-1]


def test_an_agent_cannot_have_a_token_of_any_service_account_written_into_a_secret(guarded: Cluster) -> None:
    body = _secret("stolen", type="kubernetes.io/service-account-token", data={})
    body["metadata"] |= _TYPED
    assert "of type Opaque" in _write(guarded, _agent("c1"), body)


@pytest.mark.parametrize("who", [_agent("c1"), _by_token("c1")], ids=["certificate", "token"])
def test_an_agent_changes_and_deletes_what_the_addon_made(guarded: Cluster, who: list[str]) -> None:
    apply(guarded, _identity("lost"))  # an owner that does not exist, garbage collection would remove
    uid = get(guarded, names.PLURAL, "-n", "c1", "lost")["metadata"]["uid"]
    owners = [_OWNER | {"uid": uid}, _keeper(guarded)]
    ours, lost = _secret("mine"), _secret("lost", labels={}, owners=owners)
    apply(guarded, ours, lost)
    for body in (ours, _secret("lost", owners=owners)):
        assert "replaced" in _write(guarded, who, body | {"data": {"token": "Yg=="}}, "replace")
        assert "deleted" in _deleted(guarded, who, body["metadata"]["name"])
    assert "with the label" in _write(guarded, who, _secret("mine", labels={}), "replace")


@pytest.mark.parametrize("who", [_agent("c1"), _by_token("c1")], ids=["certificate", "token"])
@pytest.mark.parametrize(
    "marks",
    [
        {},
        {"labels": {names.LABEL_MANAGED: "false"}},
        {"owners": [_OWNER | {"kind": "ConfigMap"}]},
        {"owners": [_OWNER | {"name": "another"}]},
        {"owners": [_OWNER | {"apiVersion": "example.com/v1"}]},
    ],
    ids=["none", "label", "kind", "name", "group"],
)
def test_an_agent_leaves_alone_what_others_made(
    guarded: Cluster, who: list[str], marks: dict[str, Any]
) -> None:
    owners = [*marks.get("owners", ()), _keeper(guarded)]
    apply(guarded, _secret("lost", **({"labels": {}} | marks | {"owners": owners})))
    assert "not made by" in _write(guarded, who, _secret("lost", owners=[_OWNER]), "replace")
    assert "not made by" in _deleted(guarded, who, "lost")


@pytest.mark.parametrize("who", [_agent("c1"), _by_token("c1")], ids=["certificate", "token"])
def test_what_others_put_on_a_secret_stays_through_an_agents_writes_and_no_more_of_it_is_added(
    guarded: Cluster, who: list[str]
) -> None:
    marks: dict[str, Any] = {"annotations": {"backup": "yes"}, "finalizers": ["example.com/stay"]}
    guarded.kubectl("create", "-f", "-", stdin=json.dumps(_secret("kept", labels=_OF_ARGO, **marks)))
    try:
        patch = ["patch", *who, "--dry-run=server", "-n", "c1", "secret", "kept", "--type=merge"]
        ours = {"metadata": {"annotations": {names.ANNOTATION_REQUESTED: "x"}}, "data": {"token": None}}
        assert "patched" in guarded.kubectl(*patch, "-p", json.dumps(ours))
        for added, says in (
            ({"finalizers": ["example.com/stay", "example.com/longer"]}, "adds no finalizer"),
            ({"labels": {"argocd.argoproj.io/secret-type": "repository"}}, "adds no label"),
            ({"annotations": {"backup": "no"}}, "adds only annotations"),
        ):
            assert says in guarded.kubectl(*patch, "-p", json.dumps({"metadata": added}), check=False)
    finally:
        guarded.kubectl(
            "patch", "secret", "kept", "-n", "c1", "--type=merge", '-p={"metadata":{"finalizers":null}}'
        )
        guarded.kubectl("delete", "secret", "kept", "-n", "c1")


def _keeper(hub: Cluster) -> dict[str, Any]:
    """An owner that exists, so that the garbage collector leaves the Secret, whose other owner does not."""
    namespace = get(hub, "namespace", "c1")
    return {"apiVersion": "v1", "kind": "Namespace", "name": "c1", "uid": namespace["metadata"]["uid"]}


def _deleted(hub: Cluster, who: list[str], name: str) -> str:
    return hub.kubectl("delete", *who, "--dry-run=server", "-n", "c1", "secret", name, check=False)


def _identity(name: str, namespace: str = "c1", **spec: Any) -> dict[str, Any]:
    return kubernetes_object(f"{names.GROUP}/v1beta1", names.KIND, name, namespace, spec=spec)


_PLACED: dict[str, Any] = {"placementRef": {"name": "p"}}


@pytest.mark.parametrize(
    ("body", "warning"),
    [
        (_identity("plain"), ""),
        (_identity("mortal", ttlSecondsAfterCreation=60), "the feature gate EphemeralIdentity is off"),
        (
            _identity("placed", **_PLACED),
            "spec.placementRef has no effect in the namespace of a managed cluster",
        ),
        (_identity("fleet", "default", **_PLACED), ""),
    ],
    ids=lambda value: value["metadata"]["name"] if isinstance(value, dict) else "",
)
def test_a_field_without_effect_is_accepted_with_a_warning(
    guarded: Cluster, body: dict[str, Any], warning: str
) -> None:
    said = _warned(guarded, body)
    assert "created" in said
    assert warning in said
    assert warning or "Warning" not in said


def test_a_label_without_effect_is_accepted_with_a_warning(guarded: Cluster) -> None:
    body = _identity("synced")
    body["metadata"]["labels"] = {names.LABEL_SYNC_TO_PROFILE: "true"}
    assert "the feature gate ClusterProfile is off" in _warned(guarded, body)


def _warned(hub: Cluster, body: dict[str, Any]) -> str:
    """What kubectl prints, warnings included."""
    return hub.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(body), check=False)


def test_others_are_not_held_to_that(guarded: Cluster) -> None:
    people = ["--as=somebody", "--as-group=system:authenticated"]
    assert "created" in _write(guarded, people, _secret("free", labels={}, data={"password": "YQ=="}))


_MANAGER = ["--as=system:serviceaccount:open-cluster-management-addon:managed-serviceaccount"]
_WORK = "work.open-cluster-management.io/v1"
_RBAC = "rbac.authorization.k8s.io"


def _work(name: str) -> dict[str, Any]:
    return kubernetes_object(_WORK, "ManifestWork", name, "c1", spec={"workload": {"manifests": []}})


def _binding(name: str = names.AGENT_ROLE, **changes: Any) -> dict[str, Any]:
    user = f"{_AGENT.format('c1')}:agent:addon-agent"
    wanted: dict[str, Any] = {
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": names.AGENT_ROLE},
        "subjects": [{"kind": "User", "apiGroup": _RBAC, "name": user}],
    }
    return kubernetes_object(f"{_RBAC}/v1", "RoleBinding", name, "c1", **(wanted | changes))


def _subject(kind: str, name: str) -> dict[str, Any]:
    return {"subjects": [{"kind": kind, "apiGroup": _RBAC, "name": name}]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (_work(names.DEPLOY_WORK), "created"),
        (_work("addon-other-deploy-0"), "only ManifestWorks named"),
        (_work("anything"), "only ManifestWorks named"),
        (_binding(), "created"),
        (_binding(subjects=None), "created"),
        (_binding(**_subject("User", "system:serviceaccount:c1:managed-serviceaccount-agent")), "created"),
        (_binding("another"), "only RoleBindings named"),
        (_binding(**_subject("User", "somebody")), "only to the agent of that cluster"),
        (_binding(**_subject("User", f"{_AGENT.format('c10')}:agent:addon-agent")), "only to the agent"),
        (_binding(**_subject("Group", _AGENT.format("c1"))), "only to the agent"),
    ],
    ids=lambda value: value["metadata"]["name"] if isinstance(value, dict) else value,
)
def test_the_manager_creates_only_what_it_has_names_for(
    powerful_manager: Cluster, body: dict[str, Any], says: str
) -> None:
    assert says in _write(powerful_manager, _MANAGER, body)


@pytest.fixture(scope="module")
def powerful_manager(guarded: Cluster) -> Iterator[Cluster]:
    """RBAC lets the manager do everything, so that what is refused is refused by the policy."""
    user = _MANAGER[0].removeprefix("--as=")
    guarded.kubectl("create", "clusterrolebinding", "all", "--clusterrole=cluster-admin", f"--user={user}")
    yield guarded
    guarded.kubectl("delete", "clusterrolebinding", "all")


def test_what_others_made_the_manager_neither_changes_nor_deletes(powerful_manager: Cluster) -> None:
    apply(powerful_manager, _work("others"), _work(names.DEPLOY_WORK))
    for name, says in (("others", "only ManifestWorks named"), (names.DEPLOY_WORK, "deleted")):
        command = ["delete", *_MANAGER, "--dry-run=server", "-n", "c1", "manifestwork", name]
        assert says in powerful_manager.kubectl(*command, check=False)
    patch = ["patch", *_MANAGER, "--dry-run=server", "-n", "c1", "manifestwork", "others", "--type=merge"]
    assert "only ManifestWorks named" in powerful_manager.kubectl(
        *patch, '-p={"metadata":{"labels":{"a":"b"}}}', check=False
    )


_SIGNER = "kubernetes.io/kube-apiserver-client"
_OURS = {"open-cluster-management.io/addon-name": names.ADDON}


@pytest.mark.parametrize(
    ("name", "signer", "labels", "says"),
    [
        ("addon-c1-managed-serviceaccount-x", _SIGNER, _OURS, "approved"),
        ("csr-x", _SIGNER, _OURS, "approves only"),
        ("addon-c1-signer", "example.com/signer", _OURS, "approves only"),
        ("addon-c1-other-x", _SIGNER, {"open-cluster-management.io/addon-name": "other"}, "approves only"),
        ("addon-c1-bare-x", _SIGNER, {}, "approves only"),
    ],
)
def test_the_manager_approves_only_requests_of_its_addon(
    powerful_manager: Cluster, name: str, signer: str, labels: dict[str, str], says: str
) -> None:
    pem = signing_requests.pem("anybody", ())
    spec = {"request": b64encode(pem).decode(), "signerName": signer, "usages": ["client auth"]}
    csr = kubernetes_object("certificates.k8s.io/v1", "CertificateSigningRequest", name, spec=spec)
    csr["metadata"]["labels"] = labels
    apply(powerful_manager, csr)
    assert says in powerful_manager.kubectl("certificate", "approve", *_MANAGER, name, check=False)
