"""How the addon on one cluster follows its configuration, and what its status says of it."""

from typing import Any

import pytest
from msgspec.structs import replace

from msa.api.addon import (
    AddonConfig,
    AddonStatus,
    ConfigReference,
)
from msa.api.core import Secret
from msa.api.meta import Condition, ObjectMeta
from msa.hub.ports import Kind
from tests.support.fleet import (
    Fleet,
    addon,
    cluster,
    config,
    install,
    reconciler_of,
    reference,
    settle,
    with_,
)

NEW = ["create RoleBinding", "status", "create ManifestWork"]


def _use(fleet: Fleet, *references: ConfigReference) -> None:
    """OCM's rollout reaches the cluster with these."""
    stored = fleet.addon()
    fleet.put(replace(stored, status=replace(stored.status, config_references=references)))


def _ask(fleet: Fleet, name: str) -> None:
    """The cluster's own addon asks for this configuration, and OCM has taken note."""
    asked = AddonConfig("addon.open-cluster-management.io", "addondeploymentconfigs", name, "hub")
    stored = fleet.addon()
    fleet.put(replace(stored, spec=replace(stored.spec, configs=(asked,))))
    _use(fleet, reference(config(name), ""))


async def test_a_configuration_of_the_clusters_own_addon_is_deployed_at_once_with_its_hash(
    fleet: Fleet,
) -> None:
    fleet.put(config(agentInstallNamespace="agents"))
    _ask(fleet, "slim")
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == NEW
    assert fleet.addon().status.namespace == "agents"
    (used,) = fleet.addon().status.config_references
    assert used.desired_config is not None
    assert used.desired_config.spec_hash == config(agentInstallNamespace="agents").spec_hash
    assert used.last_observed_generation == 1
    assert used.desired_config.spec_hash in fleet.get(Kind.WORK).metadata.annotation(
        "open-cluster-management.io/config-spec-hash"
    )


async def test_a_configuration_of_the_fleet_is_deployed_when_the_rollout_reaches_the_cluster_and_not_before(
    fleet: Fleet,
) -> None:
    first = config(nodePlacement={"nodeSelector": {"disk": "ssd"}})
    fleet.put(first)
    _use(fleet, reference(first))
    await install(fleet)
    second = config(generation=2, agentInstallNamespace="agents")
    fleet.put(second)
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == []
    _use(fleet, reference(second))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == ["status", "rewrite ManifestWork"]
    assert fleet.addon().status.namespace == "agents"


async def test_while_a_rollout_has_not_reached_the_cluster_it_is_told_how_the_running_agent_fares(
    fleet: Fleet,
) -> None:
    fleet.put(config())
    _use(fleet, reference(config()))
    await install(fleet)
    fleet.put(config(generation=2, agentInstallNamespace="agents"))
    fleet.applied(
        feedback={"available": "False", "problem": "no nodes", "rollout": "ProgressDeadlineExceeded"}
    )
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == ["status"]
    assert "no nodes" in fleet.conditions()["Degraded"].message


async def test_before_the_rollout_has_reached_a_new_cluster_it_may_register_and_runs_no_agent(
    fleet: Fleet,
) -> None:
    fleet.put(config())
    _use(fleet, reference(config(), ""))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == ["create RoleBinding", "status"]
    assert fleet.conditions().keys() == {"RegistrationApplied"}


WRONG = {
    "a label map that is no JSON": (
        {"customizedVariables": [{"name": "prometheusServiceMonitorLabels", "value": "release"}]},
        "prometheusServiceMonitorLabels",
    ),
    "a truth value that is none": (
        {"customizedVariables": [{"name": "prometheusEnabled", "value": "maybe"}]},
        "prometheusEnabled",
    ),
    "a CA that is none": ({"proxyConfig": {"caBundle": "bm9uZQ=="}}, "caBundle"),
}


@pytest.mark.parametrize(("spec", "named"), WRONG.values(), ids=list(WRONG))
async def test_a_wrong_value_is_told_with_its_field_and_the_running_agent_stays_as_and_where_it_is(
    fleet: Fleet, spec: dict[str, Any], named: str
) -> None:
    fleet.put(config())
    _ask(fleet, "slim")
    await install(fleet)
    fleet.put(config(generation=2, agentInstallNamespace="elsewhere", **spec))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == ["status"]
    told = fleet.conditions()["ManifestApplied"]
    assert (told.status, told.reason) == ("False", "InvalidConfiguration")
    assert "AddOnDeploymentConfig hub/slim" in told.message
    assert named in told.message
    assert "write" in told.message, "the remedy"
    assert fleet.addon().status.namespace == "open-cluster-management-agent-addon"


async def test_a_wrong_value_that_is_put_right_is_a_reproach_no_longer(fleet: Fleet) -> None:
    """Even if the cluster cannot be reached, and does not say that it has applied what is new."""
    fleet.put(config())
    _ask(fleet, "slim")
    await install(fleet)
    fleet.put(config(generation=2, proxyConfig={"caBundle": "?"}))
    await settle(fleet, reconciler_of(fleet))
    fleet.put(config(generation=3, proxyConfig={"httpProxy": "http://p"}))
    fleet.writes.clear()
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == ["status", "rewrite ManifestWork"]
    assert fleet.conditions()["ManifestApplied"].status == "Unknown"
    fleet.applied()
    await settle(fleet, reconciler_of(fleet))
    assert fleet.conditions()["ManifestApplied"].status == "True"


async def test_a_namespace_that_cannot_be_one_is_never_told_to_the_clusters_side(fleet: Fleet) -> None:
    annotation = {"addon.open-cluster-management.io/v1alpha1-install-namespace": "Not_One"}
    fleet.put(with_(addon(), annotations=annotation))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.addon().status.namespace == ""
    assert "Not_One" in fleet.conditions()["ManifestApplied"].message
    assert not fleet.has(Kind.WORK)


async def test_a_configuration_that_does_not_exist_is_told_and_the_running_agent_stays(fleet: Fleet) -> None:
    fleet.put(config())
    _ask(fleet, "slim")
    await install(fleet)
    fleet.take(config())
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == ["status"]
    assert "AddOnDeploymentConfig hub/slim does not exist" in fleet.conditions()["ManifestApplied"].message


async def test_a_missing_pull_secret_is_told_and_its_arrival_deploys_the_agent(fleet: Fleet) -> None:
    reconcile = reconciler_of(fleet, pull_secret="hub/pull")
    await settle(fleet, reconcile)
    assert fleet.writes == NEW[:2]
    assert "Secret hub/pull" in fleet.conditions()["ManifestApplied"].message
    fleet.put(Secret(ObjectMeta(name="pull", namespace="hub"), data={".dockerconfigjson": "e30="}))
    await settle(fleet, reconcile)
    assert fleet.writes == [*NEW[:2], "status", "create ManifestWork"]


async def test_a_pull_secret_that_changes_is_copied_anew(fleet: Fleet) -> None:
    stored = Secret(ObjectMeta(name="pull", namespace="hub"), data={".dockerconfigjson": "e30="})
    fleet.put(stored)
    await install(fleet, pull_secret="hub/pull")
    fleet.put(replace(stored, data={".dockerconfigjson": "e32="}))
    await settle(fleet, reconciler_of(fleet, pull_secret="hub/pull"))
    assert fleet.writes == ["rewrite ManifestWork"]


async def test_registries_of_the_cluster_roll_out_when_they_come_and_back_when_they_go(fleet: Fleet) -> None:
    await install(fleet)
    before = fleet.get(Kind.WORK).digest
    mirrors = '{"registries":[{"source":"quay.io/open-cluster-management","mirror":"quay.io/ocm"}]}'
    fleet.put(cluster(annotations={"open-cluster-management.io/image-registries": mirrors}))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.get(Kind.WORK).digest != before
    fleet.put(cluster())
    await settle(fleet, reconciler_of(fleet))
    assert fleet.get(Kind.WORK).digest == before
    assert fleet.writes == ["rewrite ManifestWork"] * 2


async def test_conditions_and_fields_of_others_survive_a_status_write(fleet: Fleet) -> None:
    others = (
        Condition("Available", "True", "R", "m", fleet.now(), 3),
        Condition("Progressing", "False", "P"),
    )
    stored = AddonStatus(conditions=others, config_references=(reference(config("other"), "h"),))
    fleet.put(with_(addon(), status=stored))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.addon().status.conditions[:2] == others
    assert fleet.addon().status.config_references == stored.config_references
    assert "configReferences" not in fleet.patches[0]


async def test_an_agent_that_does_not_come_up_is_told_with_the_reason_once(fleet: Fleet) -> None:
    await install(fleet)
    fleet.applied(
        feedback={"available": "False", "problem": "no nodes", "rollout": "ProgressDeadlineExceeded"}
    )
    reconcile = reconciler_of(fleet)
    await settle(fleet, reconcile)
    await settle(fleet, reconcile)
    assert fleet.writes == ["status"]
    assert "no nodes" in fleet.conditions()["Degraded"].message
    assert fleet.observed == [("condition", "c1", "Degraded", "True", "AgentNotAvailable")]
    fleet.applied(feedback={"available": "True"})
    await settle(fleet, reconcile)
    assert fleet.conditions()["Degraded"].status == "False"
    assert len(fleet.observed) == 2


async def test_manifests_that_the_cluster_refuses_are_named(fleet: Fleet) -> None:
    await settle(fleet, reconciler_of(fleet))
    fleet.applied("False", failed=("Deployment x: forbidden",))
    await settle(fleet, reconciler_of(fleet))
    told = fleet.conditions()["ManifestApplied"]
    assert told.status == "False"
    assert "Deployment x: forbidden" in told.message


async def test_what_was_said_of_an_older_work_is_not_said_of_the_new_one(fleet: Fleet) -> None:
    await settle(fleet, reconciler_of(fleet))
    work = fleet.get(Kind.WORK)
    fleet.put(with_(work, conditions=(Condition("Applied", "True", observed_generation=0),)))
    await settle(fleet, reconciler_of(fleet))
    assert "ManifestApplied" not in fleet.conditions()


async def test_each_condition_is_told_once_and_not_again_by_a_new_manager(fleet: Fleet) -> None:
    await settle(fleet, reconciler_of(fleet))
    fleet.applied()
    await settle(fleet, reconciler_of(fleet))
    await settle(fleet, reconciler_of(fleet))
    assert [entry[2:] for entry in fleet.observed if entry[0] == "condition"] == [
        ("RegistrationApplied", "True", "SetPermissionApplied"),
        ("ManifestApplied", "True", "AddonManifestApplied"),
    ]
