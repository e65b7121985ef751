"""Every right that the chart grants, in every mode and with every gate: a rule that is not in one of these tables fails."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import yaml
from attrs import frozen

from hack.addon import agent_rules
from hack.charts import BASES, render
from msa.api import names
from msa.hub import render as hub_render
from tests.support.helm import needs_helm

pytestmark = needs_helm

_ADDON, _WORK = "addon.open-cluster-management.io", "work.open-cluster-management.io"
_RBAC, _CSR = "rbac.authorization.k8s.io", "certificates.k8s.io"
_PREFIX = "open-cluster-management:managed-serviceaccount"
_MANAGER, _AGENT = f"{_PREFIX}:addon-manager", f"{_PREFIX}:addon-agent"
_READ, _ANY = "list watch", ""


@frozen
class Right:
    """One verb set on one resource.

    Attributes:
        what: resource.group, as kubectl spells it, or a path.
        name: the only object that it is for, "" for any.
        verbs: in alphabetical order.
    """

    what: str
    name: str
    verbs: str


def _right(what: str, name: str, verbs: str) -> Right:
    return Right(what, name, " ".join(sorted(verbs.split())))


_ALWAYS = {
    # Fan-out, which is always on: to which clusters a namespace's identities go, and their copies there.
    *(
        _right(f"{plural}.cluster.open-cluster-management.io", _ANY, _READ)
        for plural in (
            "managedclusters",
            "managedclustersets",
            "managedclustersetbindings",
            "placementdecisions",
        )
    ),
    _right(f"{names.PLURAL}.{names.GROUP}", _ANY, f"get {_READ} create patch delete"),
    _right(f"{names.PLURAL}/status.{names.GROUP}", _ANY, "patch"),
    # What users are told by.
    _right("events", _ANY, "create patch"),
    # The addon on each cluster, by its fixed name.
    _right(f"managedclusteraddons.{_ADDON}", names.ADDON, _READ),
    # What the identities' accounts hang on, whoever deploys the agents.
    _right(f"manifestworks.{_WORK}", names.IDENTITIES_WORK, f"{_READ} patch"),
    _right(f"manifestworks.{_WORK}", _ANY, "create"),
}
_DEPLOYMENT_MODE = {
    _right(f"addondeploymentconfigs.{_ADDON}", _ANY, _READ),
    _right(f"clustermanagementaddons.{_ADDON}", names.ADDON, _READ),
    _right(f"clustermanagementaddons/status.{_ADDON}", names.ADDON, "patch"),
    _right(f"managedclusteraddons/status.{_ADDON}", names.ADDON, "patch"),
    _right(f"manifestworks.{_WORK}", names.DEPLOY_WORK, f"{_READ} patch delete"),
    _right(f"clusterroles.{_RBAC}", names.AGENT_ROLE, "bind"),
    _right(f"rolebindings.{_RBAC}", names.AGENT_ROLE, f"{_READ} patch delete"),
    _right(f"rolebindings.{_RBAC}", _ANY, "create"),
    _right(f"certificatesigningrequests.{_CSR}", _ANY, _READ),
    _right(f"certificatesigningrequests/approval.{_CSR}", _ANY, "patch"),
    _right(f"signers.{_CSR}", "kubernetes.io/kube-apiserver-client", "approve"),
}
_CLUSTER_PROFILE = {
    _right("clusterprofiles.multicluster.x-k8s.io", _ANY, _READ),
    # RBAC cannot select Secrets by label.
    _right("secrets", _ANY, f"get {_READ} create patch delete"),
}
_PUBLISHING = {_right("clusterprofiles/status.multicluster.x-k8s.io", _ANY, "patch")}
_OWN_NAMESPACE = {
    _right("leases.coordination.k8s.io", names.MANAGER_LEADER_LEASE, "get watch patch"),
    _right("leases.coordination.k8s.io", _ANY, "create"),
}
_PULL_SECRET = {_right("secrets", "pull", _READ)}
_AGENT_ON_HUB = {
    _right(f"{names.PLURAL}.{names.GROUP}", _ANY, f"get {_READ}"),
    _right(f"{names.PLURAL}/status.{names.GROUP}", _ANY, "patch"),
    _right("secrets", _ANY, f"get {_READ} create patch delete"),
    _right("events", _ANY, "create patch"),
}
_EPHEMERAL = {_right(f"{names.PLURAL}.{names.GROUP}", _ANY, "delete")}
_LEAVE = {
    _right(f"clustermanagementaddons.{_ADDON}", names.ADDON, "get delete"),
    # It deletes them sooner than the garbage collector, and waits for the manager's report.
    _right(f"managedclusteraddons.{_ADDON}", names.ADDON, f"{_READ} delete"),
    _right(f"{names.PLURAL}.{names.GROUP}", _ANY, _READ),
    # Whether the hooks were applied without helm.
    _right("leases.coordination.k8s.io", names.MANAGER_LEADER_LEASE, "get"),
}
_GRANT = {_right(f"clusterroles.{_RBAC}", names.AGENT_ROLE, "bind")}


@frozen
class _Chosen:
    """One way to install the chart."""

    mode: str
    ephemeral: bool
    profiles: bool
    publish: bool
    pull: bool

    @property
    def flags(self) -> list[str]:
        return [
            f"--set=hubDeployMode={self.mode}",
            f"--set=featureGates.ephemeralIdentity={str(self.ephemeral).lower()}",
            f"--set=featureGates.clusterProfile={str(self.profiles).lower()}",
            f"--set=clusterProfile.publishAccessProviders={str(self.publish).lower()}",
            f"--set=agentImagePullSecret={'pull' if self.pull else ''}",
        ]

    def wanted(self) -> dict[tuple[str, str], set[Right]]:
        ours = self.mode == "Deployment"
        manager = _ALWAYS | (_DEPLOYMENT_MODE if ours else set())
        manager |= _CLUSTER_PROFILE if self.profiles else set()
        manager |= _PUBLISHING if self.profiles and self.publish else set()
        roles = {
            ("ClusterRole", _MANAGER): manager,
            ("Role", _MANAGER): _OWN_NAMESPACE | (_PULL_SECRET if ours and self.pull else set()),
            ("ClusterRole", names.AGENT_ROLE): _AGENT_ON_HUB | (_EPHEMERAL if self.ephemeral else set()),
        }
        return roles if ours else {**roles, ("ClusterRole", f"{_PREFIX}:grant-addon-agent"): _GRANT}


_WAYS = [_Chosen(mode, *gates) for mode in BASES for gates in itertools.product((False, True), repeat=4)]


def _rights(rules: Iterable[dict[str, Any]]) -> Iterator[Right]:
    for rule in rules:
        for path in rule.get("nonResourceURLs", ()):
            yield Right(path, _ANY, " ".join(sorted(rule["verbs"])))
        for group, resource in itertools.product(rule.get("apiGroups", ()), rule.get("resources", ())):
            what = f"{resource}.{group}" if group else resource
            for name in rule.get("resourceNames") or [_ANY]:
                yield Right(what, name, " ".join(sorted(rule["verbs"])))


@pytest.mark.parametrize("chosen", _WAYS, ids=str)
def test_the_chart_grants_exactly_what_the_tables_say(chosen: _Chosen) -> None:
    objects = [item for item in yaml.safe_load_all(render(*chosen.flags)) if item]
    granted = {
        (item["kind"], item["metadata"]["name"]): set(_rights(item["rules"]))
        for item in objects
        if item["kind"] in ("ClusterRole", "Role")
    }
    assert granted == chosen.wanted()


@pytest.mark.parametrize("chosen", _WAYS[:1] + _WAYS[-1:], ids=str)
def test_the_rights_are_bound_to_the_manager_and_to_ocms_addon_manager_alone(chosen: _Chosen) -> None:
    bound = {
        (item["roleRef"]["name"], subject["namespace"], subject["name"])
        for item in yaml.safe_load_all(render(*chosen.flags))
        if item and item["kind"] in ("ClusterRoleBinding", "RoleBinding")
        for subject in item["subjects"]
    }
    ocm = (f"{_PREFIX}:grant-addon-agent", "open-cluster-management-hub", "addon-manager-controller-sa")
    ours = (_MANAGER, names.HUB_NAMESPACE, "managed-serviceaccount")
    assert bound == ({ours} if chosen.mode == "Deployment" else {ours, ocm})


@pytest.mark.parametrize("mode", list(BASES))
def test_the_hook_of_an_uninstall_has_exactly_its_rights_and_nobody_else_has_them(mode: str) -> None:
    flags = (f"--set=hubDeployMode={mode}", "--set=leave.when=Always")
    hooks = [
        item
        for item in yaml.safe_load_all(render(*flags, hooks=True))
        if item and item["metadata"].get("annotations", {}).get("helm.sh/hook") == "pre-delete"
    ]
    (role,) = (item for item in hooks if item["kind"] == "ClusterRole")
    (binding,) = (item for item in hooks if item["kind"] == "ClusterRoleBinding")
    (job,) = (item for item in hooks if item["kind"] == "Job")
    account = {"kind": "ServiceAccount", "name": f"{names.ADDON}-leave", "namespace": names.HUB_NAMESPACE}
    assert set(_rights(role["rules"])) == _LEAVE
    assert binding["roleRef"]["name"] == role["metadata"]["name"] == f"{_PREFIX}:leave"
    assert binding["subjects"] == [account]
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == account["name"]
    assert not [item for item in hooks if item["kind"] in ("Role", "RoleBinding")]


def test_the_tables_hold_no_right_to_do_everything_to_escalate_or_to_be_another() -> None:
    every = set().union(*(rights for chosen in _WAYS for rights in chosen.wanted().values()))
    assert not [right for right in every if {"*", "escalate", "impersonate"} & {*right.verbs.split()}]
    assert {right.name for right in every if "bind" in right.verbs.split()} == {names.AGENT_ROLE}


def test_without_a_gate_the_manager_has_no_right_on_secrets_or_roles() -> None:
    manager = _Chosen("Deployment", *(False,) * 4).wanted()
    rights = manager["ClusterRole", _MANAGER] | manager["Role", _MANAGER]
    assert not [right for right in rights if right.what in ("secrets", f"roles.{_RBAC}")]


_ON_THE_CLUSTER = {
    ("Role", _AGENT): {
        # One ServiceAccount for each identity.
        _right("serviceaccounts", _ANY, f"get {_READ} create patch delete"),
        _right("serviceaccounts/token", _ANY, "create"),
        # The heartbeat, and the lead among replicas.
        *(
            _right("leases.coordination.k8s.io", name, "get list patch watch")
            for name in (names.ADDON, names.AGENT_LEADER_LEASE)
        ),
        _right("leases.coordination.k8s.io", _ANY, "create"),
        _right("configmaps", names.ANCHOR, f"get {_READ}"),
        # The annotation on it that releases held deletions.
        _right("deployments.apps", names.AGENT_DEPLOYMENT, "get"),
    },
    ("ClusterRole", _AGENT): {
        _right("tokenreviews.authentication.k8s.io", _ANY, "create"),
        _right("/openid/v1/jwks", _ANY, "get"),
    },
}


def test_the_agent_has_exactly_these_rights_on_its_managed_cluster_in_both_modes() -> None:
    values = {"CLUSTER_NAME": "c", "INSTALL_NAMESPACE": "i", "AGENT_IMAGE": "a", "EPHEMERAL_IDENTITY": "true"}
    template = next(
        item
        for item in yaml.safe_load_all(render("--set=hubDeployMode=AddOnTemplate"))
        if item and item["kind"] == "AddOnTemplate"
    )
    for objects in (
        hub_render.agent_objects(values),
        template["spec"]["agentSpec"]["workload"]["manifests"],
    ):
        granted = {
            (item["kind"], item["metadata"]["name"]): set(_rights(item["rules"]))
            for item in objects
            if item["kind"] in ("ClusterRole", "Role")
        }
        assert granted == _ON_THE_CLUSTER


@pytest.mark.parametrize("ephemeral", [False, True])
def test_tests_and_demo_give_an_agent_what_the_chart_gives_it(ephemeral: bool) -> None:
    wanted = _AGENT_ON_HUB | (_EPHEMERAL if ephemeral else set())
    assert set(_rights(agent_rules(ephemeral=ephemeral))) == wanted
