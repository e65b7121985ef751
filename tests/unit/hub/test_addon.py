"""The addon on one cluster, with a scripted hub: what is asked of it, in which order, and how often."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from msa.api import subjects
from msa.api.addon import (
    ANNOTATION_INSTALL_NAMESPACE,
    AddonStatus,
    KubeClient,
    Registration,
    Subject,
)
from msa.api.meta import Condition, OwnerReference
from msa.api.rbac import RbacSubject, RoleBinding, RoleRef
from msa.api.work import ManifestWork
from msa.hub import render
from msa.hub.ingest import keep_work
from msa.hub.ports import Kind
from msa.policy.deployment import Workload
from msa.runtime.errors import ApiError, Conflict, Forbidden
from msa.runtime.result import Done, RequeueAfter
from msa.runtime.store import StoreWriter
from tests.support.fleet import (
    CLUSTER,
    Crash,
    Fleet,
    addon,
    cluster,
    fleet_addon,
    install,
    reconciler_of,
    settle,
    with_,
)

NEW = ["create RoleBinding", "status", "create ManifestWork"]
LABEL = "open-cluster-management.io/addon-name"
TEAM = "team.open-cluster-management.io/name"
"""Of another part of OCM; of labels that are not OCM's the cache knows nothing."""
USER = "system:open-cluster-management:cluster:c1:addon:managed-serviceaccount:agent:addon-agent"
TOKEN_USER = "system:serviceaccount:c1:managed-serviceaccount-agent"
GROUPS = subjects.agent_groups("c1")
KINDS = pytest.mark.parametrize("kind", list(Kind), ids=[kind.value for kind in Kind])


def _content(stored: Any) -> tuple[Any, ...]:
    """What an object of ours says, whatever its kind."""
    told = (getattr(stored, name, None) for name in ("role_ref", "subjects", "digest"))
    return (*told, stored.metadata.annotations or {})


async def test_a_new_cluster_costs_four_requests_and_any_further_look_none(fleet: Fleet) -> None:
    reconcile = reconciler_of(fleet)
    await reconcile(CLUSTER)
    assert fleet.writes == NEW
    fleet.applied()
    await settle(fleet, reconcile)
    assert fleet.writes == [*NEW, "status"]
    fleet.put(cluster(), fleet.addon())
    fleet.applied()
    for started in (reconcile, reconciler_of(fleet)):
        await started(CLUSTER)
    assert fleet.writes == [*NEW, "status"]


async def test_the_agents_manifests_are_rendered_when_what_they_are_made_from_changes_and_not_at_each_look(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what a look costs most."""
    rendered, render_them = list[str](), render.manifests

    def counted(workload: Workload, **settings: Any) -> list[render.Manifest]:
        rendered.append(workload.namespace)
        return render_them(workload, **settings)

    monkeypatch.setattr(render, "manifests", counted)
    reconcile = reconciler_of(fleet)
    await settle(fleet, reconcile)
    fleet.applied()
    for _ in range(3):
        await settle(fleet, reconcile)
    assert len(rendered) == 1, "to be written"
    moved = {ANNOTATION_INSTALL_NAMESPACE: "elsewhere"}
    fleet.put(with_(fleet.addon(), annotations=moved))
    await settle(fleet, reconcile)
    assert rendered[1:] == ["elsewhere"]
    assert "rewrite ManifestWork" in fleet.writes


@pytest.mark.parametrize("version", ["v1alpha1", "v1beta1"])
async def test_the_first_status_says_how_to_register_in_the_hubs_own_version(
    fleet: Fleet, version: str
) -> None:
    await settle(fleet, reconciler_of(fleet, version=version))
    (patch,) = fleet.patches
    assert patch.keys() == {
        *("conditions", "healthCheck", "namespace", "registrations", "supportedConfigs"),
    }
    (registered,) = fleet.addon().status.registrations
    who = registered.kube_client.subject if registered.kube_client is not None else registered.subject
    assert (registered.signer_name, registered.type) == (
        ("kubernetes.io/kube-apiserver-client", "") if version == "v1alpha1" else ("", "kubeClient")
    )
    assert who.user == USER
    assert fleet.addon().status.namespace == "open-cluster-management-agent-addon"
    assert fleet.addon().status.health_check.mode == "Lease"
    applied = fleet.conditions()["RegistrationApplied"]
    assert (applied.status, applied.reason) == ("True", "SetPermissionApplied")


async def test_the_rights_go_to_the_registered_user_alone_and_all_goes_with_the_addon(fleet: Fleet) -> None:
    await settle(fleet, reconciler_of(fleet))
    binding: RoleBinding = fleet.get(Kind.ROLE_BINDING)
    assert binding.subjects == (RbacSubject("User", "rbac.authorization.k8s.io", USER),)
    assert binding.role_ref == RoleRef(
        "rbac.authorization.k8s.io", "ClusterRole", "managed-serviceaccount-addon-agent"
    )
    for kind in Kind:
        metadata = fleet.get(kind).metadata
        assert metadata.label(LABEL) == "managed-serviceaccount"
        assert [owner.uid for owner in metadata.owner_references] == ["c1-addon-uid"]


@pytest.mark.parametrize("written", [False, True], ids=["before it is carried out", "before its answer"])
@pytest.mark.parametrize("at", range(4))
async def test_wherever_the_manager_is_killed_a_new_one_ends_in_the_same_state_with_nothing_twice(
    fleet: Fleet, at: int, written: bool
) -> None:
    fleet.crash, killed = Crash(at, written), 0
    for _ in range(2):
        try:
            await settle(fleet, reconciler_of(fleet))
            fleet.applied()
        except ApiError:
            killed += 1
    await settle(fleet, reconciler_of(fleet))
    fleet.applied()
    await settle(fleet, reconciler_of(fleet))
    assert killed == 1
    assert fleet.writes == [*NEW, "status"]
    assert {name: item.status for name, item in fleet.conditions().items()} == {
        "RegistrationApplied": "True",
        "ManifestApplied": "True",
    }


async def test_a_manager_that_starts_again_when_all_is_done_writes_nothing(fleet: Fleet) -> None:
    await install(fleet)
    await settle(fleet, reconciler_of(fleet))
    assert not fleet.writes
    assert not fleet.observed


@pytest.mark.parametrize("behind", ["bindings", "addons", "works"])
async def test_a_cluster_is_not_looked_at_again_before_every_cache_shows_what_was_written(
    fleet: Fleet, behind: str
) -> None:
    reconcile = reconciler_of(fleet)
    await reconcile(CLUSTER)
    for name in {"bindings", "addons", "works"} - {behind}:
        StoreWriter(getattr(fleet, name)).progress(str(fleet.version))
    assert reconcile.freshness.lag(CLUSTER, 0.0) == 10.0
    StoreWriter(getattr(fleet, behind)).progress(str(fleet.version))
    assert reconcile.freshness.lag(CLUSTER, 0.0) is None


async def test_nothing_is_deployed_before_the_status_says_that_the_agent_may_register(fleet: Fleet) -> None:
    fleet.crash = Crash(1, written=False)
    with pytest.raises(ApiError):
        await reconciler_of(fleet)(CLUSTER)
    assert fleet.writes == ["create RoleBinding"]
    assert not fleet.has(Kind.WORK)


async def test_a_status_that_somebody_else_wrote_meanwhile_is_not_overwritten(fleet: Fleet) -> None:
    class Late(Fleet):
        async def patch_addon_status(self, addon: Any, changes: Any) -> str:
            return await super().patch_addon_status(with_(addon, resource_version="1"), changes)

    late = Late(fleet.now)
    late.put(cluster(), addon(), fleet_addon())
    with pytest.raises(Conflict):
        await reconciler_of(late)(CLUSTER)
    assert late.addon().status == AddonStatus()


@KINDS
@pytest.mark.parametrize(
    "drift",
    [
        pytest.param({"labels": {LABEL: "other", TEAM: "a"}}, id="label of another addon"),
        pytest.param({"labels": None}, id="no label"),
        pytest.param({"owner_references": ()}, id="no owner"),
        pytest.param(
            {
                "owner_references": (
                    OwnerReference("v1", "ManagedClusterAddOn", "managed-serviceaccount", "x"),
                )
            },
            id="owner of before",
        ),
        pytest.param({"labels": None, "owner_references": ()}, id="neither label nor owner"),
    ],
)
async def test_a_lost_label_or_owner_is_put_right_and_foreign_labels_stay(
    fleet: Fleet, kind: Kind, drift: dict[str, Any]
) -> None:
    await install(fleet)
    fleet.put(with_(fleet.get(kind), **drift))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == [f"rewrite {kind.value}"]
    metadata = fleet.get(kind).metadata
    assert metadata.label(LABEL) == "managed-serviceaccount"
    assert metadata.label(TEAM) == (drift.get("labels") or {}).get(TEAM, "")
    assert [owner.uid for owner in metadata.owner_references] == ["c1-addon-uid"]


@pytest.mark.parametrize(
    ("kind", "drift"),
    [
        (Kind.ROLE_BINDING, {"subjects": ()}),
        (
            Kind.ROLE_BINDING,
            {"subjects": (RbacSubject("Group", "rbac.authorization.k8s.io", "system:authenticated"),)},
        ),
        (
            Kind.ROLE_BINDING,
            {"subjects": (RbacSubject("User", "rbac.authorization.k8s.io", USER.replace("c1", "c10")),)},
        ),
        (Kind.WORK, {"digest": "edited"}),
        (Kind.WORK, {"annotations": None}),
    ],
)
async def test_what_somebody_altered_is_put_right_by_one_write(
    fleet: Fleet, kind: Kind, drift: dict[str, Any]
) -> None:
    await install(fleet)
    before = fleet.get(kind)
    fleet.put(with_(before, **drift))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == [f"rewrite {kind.value}"]
    assert _content(fleet.get(kind)) == _content(before)


@KINDS
async def test_what_somebody_deleted_is_made_again(fleet: Fleet, kind: Kind) -> None:
    await install(fleet)
    fleet.take(fleet.get(kind))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == [f"create {kind.value}"]


@pytest.mark.parametrize(
    "marks", [{}, {"labels": None, "owner_references": ()}], ids=["ours", "a stranger's"]
)
async def test_a_binding_of_another_role_is_made_anew_since_that_cannot_be_changed(
    fleet: Fleet, marks: dict[str, Any]
) -> None:
    """Somebody deleted ours and made one of its name: it would give away other rights, and keep the agent from its own."""
    await install(fleet)
    other = RoleRef("rbac.authorization.k8s.io", "ClusterRole", "cluster-admin")
    fleet.put(with_(fleet.get(Kind.ROLE_BINDING), role_ref=other, **marks))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == ["delete RoleBinding", "create RoleBinding"]
    assert fleet.get(Kind.ROLE_BINDING).role_ref.kind == "ClusterRole"


GO_ADDONS = RoleRef("rbac.authorization.k8s.io", "Role", "managed-serviceaccount-addon-agent")


async def _bound_by_the_go_addon(fleet: Fleet, age: float) -> None:
    await install(fleet)
    created = fleet.now() - timedelta(seconds=age)
    fleet.put(with_(fleet.get(Kind.ROLE_BINDING), role_ref=GO_ADDONS, creation_timestamp=created))


async def test_a_binding_of_the_go_addons_role_is_replaced_without_the_role_being_touched(
    fleet: Fleet,
) -> None:
    await _bound_by_the_go_addon(fleet, age=3600)
    assert await settle(fleet, reconciler_of(fleet)) == Done()
    assert fleet.writes == ["delete RoleBinding", "create RoleBinding"]


async def test_a_binding_that_the_go_addons_manager_has_just_made_is_left_until_that_manager_is_gone(
    fleet: Fleet,
) -> None:
    """Both live for some seconds in an upgrade: to replace it in turns would take the agent's rights away each time."""
    await _bound_by_the_go_addon(fleet, age=10)
    assert await settle(fleet, reconciler_of(fleet)) == RequeueAfter(20.0)
    assert fleet.writes == []


async def test_a_binding_of_another_role_stays_where_the_manager_may_not_bind_ours(fleet: Fleet) -> None:
    """Deleted first, it would leave the agent without rights: an image may be newer than the chart that granted its rights."""

    class Refusing(Fleet):
        async def create(self, kind: Kind, body: Any) -> str:
            raise Forbidden("may not bind")

    await _bound_by_the_go_addon(fleet, age=3600)
    refusing = Refusing(fleet.now)
    refusing.put(cluster(), fleet.addon(), fleet_addon(), fleet.get(Kind.ROLE_BINDING), fleet.get(Kind.WORK))
    with pytest.raises(Forbidden):
        await reconciler_of(refusing)(CLUSTER)
    assert refusing.has(Kind.ROLE_BINDING)


async def test_an_addon_that_was_deleted_and_made_again_owns_what_there_is(fleet: Fleet) -> None:
    await install(fleet)
    fleet.put(with_(fleet.addon(), uid="second"))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == ["rewrite RoleBinding", "rewrite ManifestWork"]
    for kind in Kind:
        assert [owner.uid for owner in fleet.get(kind).metadata.owner_references] == ["second"]


@pytest.mark.parametrize("left", [Kind.WORK, None], ids=["the agent's work", "the other work alone"])
async def test_an_addon_restored_without_its_status_leaves_the_agent_where_it_runs(
    fleet: Fleet, left: Kind | None
) -> None:
    fleet.put(addon(status=AddonStatus(namespace="elsewhere")))
    await install(fleet)
    body = render.identities_work(fleet.addon(), "elsewhere")
    beside = keep_work(msgspec.json.decode(msgspec.json.encode(body), type=ManifestWork))
    StoreWriter(fleet.identities_works).put(beside)
    if left is None:
        fleet.take(fleet.get(Kind.WORK))
    fleet.put(with_(fleet.addon(), status=AddonStatus()))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.addon().status.namespace == "elsewhere"
    assert fleet.get(Kind.WORK).namespace == "elsewhere"
    assert fleet.writes == (["status"] if left is not None else ["status", "create ManifestWork"])


async def test_an_addon_restored_without_its_status_says_where_the_agent_runs_though_it_is_misconfigured(
    fleet: Fleet,
) -> None:
    fleet.put(addon(status=AddonStatus(namespace="elsewhere")))
    await install(fleet)
    registries = {"open-cluster-management.io/image-registries": "none"}
    fleet.put(with_(fleet.addon(), status=AddonStatus()), cluster(annotations=registries))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.addon().status.namespace == "elsewhere"


async def test_an_addon_that_ocm_has_not_made_the_fleets_yet_is_left_alone(fleet: Fleet) -> None:
    fleet.put(with_(addon(), owner_references=()))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == []


def _registered(driver: str, subject: Subject) -> AddonStatus:
    return AddonStatus(
        registrations=(Registration(type="kubeClient", kube_client=KubeClient(subject, driver)),)
    )


async def test_with_the_token_driver_nobody_has_rights_and_nothing_runs_before_a_subject_is_named(
    fleet: Fleet,
) -> None:
    fleet.put(with_(addon(), status=_registered("token", Subject())))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == ["status"]
    pending = fleet.conditions()["RegistrationApplied"]
    assert (pending.status, pending.reason) == ("False", "PermissionConfigPending")
    assert fleet.addon().status.registrations == _registered("token", Subject()).registrations


async def test_a_running_agent_keeps_its_rights_until_the_token_driver_has_named_its_subject(
    fleet: Fleet,
) -> None:
    await install(fleet)
    (registered,) = fleet.addon().status.registrations
    assert registered.kube_client is not None
    turned = _registered("token", registered.kube_client.subject).registrations
    fleet.put(with_(fleet.addon(), status=replace(fleet.addon().status, registrations=turned)))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == []
    named = _registered("token", Subject(TOKEN_USER)).registrations
    fleet.put(with_(fleet.addon(), status=replace(fleet.addon().status, registrations=named)))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == ["rewrite RoleBinding"]
    assert [subject.name for subject in fleet.get(Kind.ROLE_BINDING).subjects] == [TOKEN_USER]


GO_WRITES: dict[str, dict[str, Any]] = {
    "no registration": {"registrations": ()},
    "its subject, without a driver": {
        "registrations": (Registration(type="kubeClient", kube_client=KubeClient(Subject(USER, GROUPS))),)
    },
    "its subject as v1alpha1 has it": {
        "registrations": (Registration("kubernetes.io/kube-apiserver-client", Subject(USER, GROUPS)),)
    },
    "that it failed": {
        "conditions": (
            Condition("RegistrationApplied", "False", "SetPermissionFailed", "cannot change roleRef"),
        )
    },
}
"""What a manager of the Go addon leaves in the status that ours has written, while both run for some seconds in an upgrade."""


@pytest.mark.parametrize("driver", ["csr", "token"])
@pytest.mark.parametrize("written", GO_WRITES.values(), ids=list(GO_WRITES))
async def test_while_the_go_addons_manager_writes_as_well_we_say_that_the_agent_is_registered_and_it_is(
    fleet: Fleet, driver: str, written: dict[str, Any]
) -> None:
    registered = _registered(driver, Subject(TOKEN_USER) if driver == "token" else Subject(USER, GROUPS))
    fleet.put(with_(addon(), status=registered))
    await settle(fleet, reconciler_of(fleet))
    bound = fleet.get(Kind.ROLE_BINDING).subjects
    fleet.writes.clear()
    for _ in range(3):
        fleet.put(with_(fleet.addon(), status=replace(fleet.addon().status, **written)))
        await settle(fleet, reconciler_of(fleet))
        said = fleet.conditions()["RegistrationApplied"]
        assert (said.status, said.reason) == ("True", "SetPermissionApplied")
        assert fleet.get(Kind.ROLE_BINDING).subjects == bound
    statuses = [item for patch in fleet.patches for item in patch.get("conditions", ())]
    assert {item.status for item in statuses if item.type == "RegistrationApplied"} <= {"True"}
    assert not {write for write in fleet.writes if "RoleBinding" in write}


async def test_with_the_token_driver_the_rights_go_to_the_clusters_own_service_account(fleet: Fleet) -> None:
    fleet.put(with_(addon(), status=_registered("token", Subject(TOKEN_USER))))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == NEW
    assert fleet.get(Kind.ROLE_BINDING).subjects == (
        RbacSubject("User", "rbac.authorization.k8s.io", TOKEN_USER),
    )
    assert "registrations" not in fleet.patches[0]


async def test_with_the_token_driver_a_wrong_subject_ends_the_binding_and_the_condition_says_so(
    fleet: Fleet,
) -> None:
    await install(fleet)
    masters = Subject(TOKEN_USER, ("system:masters",))
    fleet.put(
        with_(
            fleet.addon(),
            status=replace(fleet.addon().status, registrations=_registered("token", masters).registrations),
        )
    )
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == ["delete RoleBinding", "status"]
    refused = fleet.conditions()["RegistrationApplied"]
    assert (refused.status, refused.reason) == ("False", "SetPermissionFailed")
    assert "system:masters" in refused.message
    assert ("condition", "c1", "RegistrationApplied", "False", "SetPermissionFailed") in fleet.observed
    assert fleet.has(Kind.WORK), "the agent is not removed for what somebody wrote into a status"


async def test_a_binding_that_lost_our_marks_gives_a_refused_subject_no_rights_either(fleet: Fleet) -> None:
    await install(fleet)
    stranger = with_(fleet.get(Kind.ROLE_BINDING), labels=None, owner_references=())
    fleet.put(stranger, with_(fleet.addon(), status=_registered("token", Subject("kubernetes-admin"))))
    await settle(fleet, reconciler_of(fleet))
    assert not fleet.has(Kind.ROLE_BINDING)
