"""What is kept of the hub's larger objects."""

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from msa.api import names
from msa.api.addon import AddOnDeploymentConfig, ManagedClusterAddOn, Toleration
from msa.api.clusterset import BindingSpec, BindingStatus, ManagedClusterSetBinding
from msa.api.fleet_identity import FanOutStatus, StoredFleetIdentity
from msa.api.meta import Condition, ObjectMeta
from msa.api.rbac import StoredRoleBinding
from msa.api.work import ManifestWork
from msa.hub import render
from msa.hub.ingest import keep_binding, keep_config, keep_identity, keep_set_binding, keep_work
from msa.policy.deployment import Workload

ADDON = ManagedClusterAddOn(ObjectMeta(name="managed-serviceaccount", namespace="c1", uid="u"))
DEPLOYMENT = {"kind": "Deployment", "name": "managed-serviceaccount-addon-agent"}
DEEP = b'{"a":' * 2000 + b"{}" + b"}" * 2000


def _work(**changes: Any) -> ManifestWork:
    plain = {"metadata": {"name": "w", "namespace": "c1"}, "spec": {}}
    return msgspec.json.decode(json.dumps({**plain, **changes}), type=ManifestWork)


def _reported(*manifests: dict[str, Any]) -> ManifestWork:
    return _work(status={"resourceStatus": {"manifests": manifests}})


def _value(name: str, **field: Any) -> dict[str, Any]:
    return {"name": name, "fieldValue": field}


def test_a_work_that_the_server_has_stored_is_known_as_what_was_rendered() -> None:
    objects = render.manifests(Workload("c1", "agents", "i:v1"), ephemeral=False, pull_secret=None)
    body = render.manifest_work(ADDON, objects)
    stored = json.loads(msgspec.json.encode(body))
    stored["spec"]["manifestConfigs"][0]["feedbackScrapeType"] = "Poll"
    kept = keep_work(_work(**stored))
    assert kept.digest == render.spec_digest(body["spec"])
    assert kept.metadata.label("open-cluster-management.io/addon-name") == "managed-serviceaccount"


def test_a_work_without_a_spec_or_a_status_is_kept_too() -> None:
    kept = keep_work(ManifestWork(ObjectMeta(name="w")))
    assert (kept.conditions, kept.feedback, kept.failed) == ((), {}, ())


def test_a_work_tells_where_the_agent_or_what_identities_hang_on_is_installed() -> None:
    objects = render.manifests(Workload("c1", "agents", "i:v1"), ephemeral=False, pull_secret=None)
    for body in (render.manifest_work(ADDON, objects), render.identities_work(ADDON, "agents")):
        stored = json.loads(msgspec.json.encode(body))
        assert keep_work(_work(**stored)).namespace == "agents"
    other = [{"kind": "Deployment", "metadata": {"name": "other", "namespace": "n"}}]
    assert keep_work(_work(spec={"workload": {"manifests": other}})).namespace == ""
    assert keep_work(_work(spec={"workload": {"manifests": "none"}})).namespace == ""


def test_feedback_is_that_of_the_agents_deployment_alone() -> None:
    values = [
        _value("ready", type="Integer", integer=0),
        _value("available", type="String", string="False"),
        _value("problem", type="Boolean", boolean=True),
        _value("never heard of", type="Integer", integer=1),
    ]
    other = {"kind": "Deployment", "name": "other"}
    kept = keep_work(
        _reported(
            {"resourceMeta": other, "statusFeedback": {"values": [_value("ready", integer=7)]}},
            {"resourceMeta": DEPLOYMENT, "statusFeedback": {"values": values}},
        )
    )
    assert kept.feedback == {"ready": 0, "available": "False", "problem": ""}


def test_what_could_not_be_applied_is_named_with_the_reason() -> None:
    conditions = [
        {"type": "Applied", "status": "False", "message": "forbidden"},
        {"type": "Available", "status": "False", "message": "not there"},
    ]
    kept = keep_work(
        _reported(
            {"resourceMeta": DEPLOYMENT, "conditions": conditions},
            {"resourceMeta": {"kind": "Service", "name": "s"}, "conditions": conditions[1:]},
        )
    )
    assert kept.failed == ("Deployment managed-serviceaccount-addon-agent: forbidden",)


def test_a_configuration_is_kept_with_its_hash() -> None:
    spec = {"nodePlacement": {"tolerations": [{"key": "k", "tolerationSeconds": 0}]}, "unknown": {"a": 1}}
    one, other = (
        keep_config(AddOnDeploymentConfig(ObjectMeta(name="c"), Raw(json.dumps(changed).encode())))
        for changed in (spec, {**spec, "unknown": {"a": 2}})
    )
    assert one.spec.node_placement.tolerations == (Toleration("k", toleration_seconds=0),)
    assert one.spec == other.spec
    assert one.spec_hash != other.spec_hash, "what we do not know is part of what was rolled out"


def test_what_is_nested_too_deeply_to_be_read_is_unreadable_and_no_crash() -> None:
    """A cluster's own work agent may write its ManifestWork."""
    with pytest.raises(ValueError, match="nested too deeply"):
        keep_work(ManifestWork(ObjectMeta(name="w"), Raw(DEEP)))
    with pytest.raises(ValueError, match="nested too deeply"):
        keep_config(AddOnDeploymentConfig(ObjectMeta(name="c"), Raw(b'{"x":' + DEEP + b"}")))


@pytest.mark.parametrize("spec", [b"[]", b"3", b"{"])
def test_a_spec_that_is_none_is_unreadable(spec: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expected|truncated"):
        keep_work(ManifestWork(ObjectMeta(name="w"), Raw(spec)))
    with pytest.raises(ValueError, match=r"Expected|truncated"):
        keep_config(AddOnDeploymentConfig(ObjectMeta(name="c"), Raw(spec)))


@pytest.mark.parametrize("subjects", ["null", "[{}, null]", '"none"', "[]"])
def test_a_binding_that_somebody_emptied_is_there_and_binds_nobody(subjects: str) -> None:
    """Unreadable, it would be in no cache, and for ever in the way of the one to be made."""
    text = f'{{"metadata":{{"name":"r","namespace":"c1"}},"roleRef":{{"name":"r"}},"subjects":{subjects}}}'
    kept = keep_binding(msgspec.json.decode(text, type=StoredRoleBinding))
    assert (kept.role_ref.name, kept.subjects) == ("r", ())


def test_of_an_identity_only_our_marks_are_kept() -> None:
    ours, foreign = {names.LABEL_ORIGIN_UID: "u"}, {"app": "x"}
    metadata = ObjectMeta(name="i", namespace="c1", labels={**ours, **foreign}, annotations=foreign)
    kept = keep_identity(StoredFleetIdentity(metadata))
    assert (kept.metadata.labels, kept.metadata.annotations) == (ours, None)


@pytest.mark.parametrize("status", [b"[]", b'{"conditions":3}', b'{"fanOut":' + DEEP + b"}"])
def test_a_status_of_an_identity_that_cannot_be_read_counts_as_empty(status: bytes) -> None:
    """A tenant may have written it."""
    kept = keep_identity(StoredFleetIdentity(ObjectMeta(name="i"), status=Raw(status)))
    assert kept.status == FanOutStatus()


def test_of_a_binding_it_is_kept_whether_ocm_refuses_it() -> None:
    conditions = (Condition("Other", "True"), Condition("Bound", "False", "ClusterSetNotFound"))
    refused = ManagedClusterSetBinding(
        ObjectMeta(name="edge"), BindingSpec("edge"), BindingStatus(conditions)
    )
    assert keep_set_binding(refused).is_refused
    assert not keep_set_binding(replace(refused, status=BindingStatus(conditions[:1]))).is_refused
