"""Which AddOnDeploymentConfig is in use on a cluster, by OCM's references and hashes."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msa.api.addon import (
    AddonStatus,
    ConfigReference,
    ConfigReferent,
    DeploymentConfig,
    DeploymentConfigSpec,
    ManagedClusterAddOn,
)
from msa.api.meta import ObjectMeta
from msa.policy import deployment
from msa.policy.deployment import Unavailable, Unset

GROUP, RESOURCE = "addon.open-cluster-management.io", "addondeploymentconfigs"


def reference(
    name: str, spec_hash: str = "h1", *, group: str = GROUP, resource: str = RESOURCE
) -> ConfigReference:
    return ConfigReference(group, resource, desired_config=ConfigReferent(name, "hub", spec_hash))


def chosen(*references: ConfigReference, stored: str = "slim") -> DeploymentConfig | Unset | Unavailable:
    """What is chosen where just one configuration, of hash h1, is stored."""
    found = DeploymentConfig(ObjectMeta(name=stored, namespace="hub"), DeploymentConfigSpec(), "h1")
    addon = ManagedClusterAddOn(
        ObjectMeta(name="a", namespace="c1"), status=AddonStatus(config_references=references)
    )
    return deployment.chosen_config(
        addon, lambda namespace, name: found if (namespace, name) == ("hub", stored) else None
    )


@pytest.mark.parametrize(
    "references",
    [(), (reference("slim", resource="addontemplates"),), (reference("slim", group="example.com"),)],
    ids=["none at all", "of another resource", "of another group"],
)
def test_without_a_reference_no_config_is_used(references: tuple[ConfigReference, ...]) -> None:
    assert chosen(*references) == Unset()


@pytest.mark.parametrize(
    "references",
    [
        (reference("slim"),),
        (reference("t", resource="addontemplates"), reference("slim")),
        (reference("slim"), reference("other")),
        (reference("slim"), reference("slim", "h2")),
    ],
    ids=[
        "one",
        "behind one of another kind",
        "the first of two",
        "the first though the second has another hash",
    ],
)
def test_the_first_reference_to_a_deployment_config_counts(references: tuple[ConfigReference, ...]) -> None:
    found = chosen(*references)
    assert isinstance(found, DeploymentConfig)
    assert found.metadata.name == "slim"


@pytest.mark.parametrize("spec_hash", ["h0", "h2", ""])
def test_a_config_whose_rollout_has_not_come_to_the_cluster_is_waited_for(spec_hash: str) -> None:
    found = chosen(reference("slim", spec_hash))
    assert isinstance(found, Unavailable)
    assert found.waiting
    assert found.message == "AddOnDeploymentConfig hub/slim is not rolled out to this cluster yet"


def test_a_reference_that_ocm_has_not_resolved_yet_is_waited_for() -> None:
    found = chosen(ConfigReference(GROUP, RESOURCE, name="slim", namespace="hub"))
    assert isinstance(found, Unavailable)
    assert found.waiting


@pytest.mark.parametrize("references", [(reference("gone"),), (reference("gone"), reference("slim"))])
def test_a_config_that_does_not_exist_is_named_with_the_remedy(
    references: tuple[ConfigReference, ...],
) -> None:
    found = chosen(*references)
    assert isinstance(found, Unavailable)
    assert not found.waiting
    assert found.message.startswith("AddOnDeploymentConfig hub/gone does not exist: create it")


def test_the_hash_of_a_spec_is_that_of_go_json_with_its_key() -> None:
    """Go: sorted keys, no spaces, no line feed at the end, <, >, & and the two line separators escaped."""
    spec = '{"b": "<a>&\u2028\u2029é\\u0001\\b\\n\\"", "a": {"z": 1, "A": [true, null, "x"]}}'
    as_go_writes_it = '{"spec":{"a":{"A":[true,null,"x"],"z":1},"b":"\\u003ca\\u003e\\u0026\\u2028\\u2029é\\u0001\\b\\n\\""}}'
    assert deployment.spec_hash(spec.encode()) == hashlib.sha256(as_go_writes_it.encode()).hexdigest()


def test_the_hash_of_an_empty_spec_is_the_one_that_ocm_shows() -> None:
    assert deployment.spec_hash(b"{}") == hashlib.sha256(b'{"spec":{}}').hexdigest()


@settings(deadline=None)  # the shared machine stops for longer than that now and then
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.text(st.characters(codec="utf-8"), max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text("abZ<é", max_size=3), inner, max_size=3)
        ),
    )
)
def test_order_of_keys_and_spaces_do_not_change_the_hash(spec: object) -> None:
    loose = json.dumps(spec, indent=1, ensure_ascii=True)
    tight = json.dumps(spec, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    assert deployment.spec_hash(loose.encode()) == deployment.spec_hash(tight.encode())


def test_the_work_carries_the_hash_of_each_config_that_is_resolved() -> None:
    references = (
        reference("slim"),
        reference("t", "h2", resource="addontemplates"),
        ConfigReference(GROUP, RESOURCE, name="unresolved", namespace="hub"),
    )
    assert deployment.config_hashes(references) == {
        f"addondeploymentconfigs.{GROUP}/hub/slim": "h1",
        f"addontemplates.{GROUP}/hub/t": "h2",
    }
