"""Where OCM's rollout finds the hash of a configuration."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from msa.api.addon import (
    AddonConfig,
    AddonSpec,
    AddonStatus,
    ConfigReference,
    ConfigReferent,
    DeploymentConfig,
    FleetStatus,
    InstallProgression,
    ManagedClusterAddOn,
)
from msa.api.meta import Condition
from msa.policy import config_hashes
from tests.support.fleet import addon, config, fleet_addon, reference, with_

GROUP, RESOURCE = "addon.open-cluster-management.io", "addondeploymentconfigs"
SLIM = config("slim", generation=3)
FOREIGN = (
    ConfigReference(GROUP, "addontemplates", desired_config=ConfigReferent("slim", "hub", "old")),
    ConfigReference("example.com", RESOURCE, desired_config=ConfigReferent("slim", "hub", "old")),
)


def _old(spec_hash: str | None) -> ConfigReference:
    """As v1alpha1 spells it: named beside the desired configuration, which may not be there yet."""
    desired = None if spec_hash is None else ConfigReferent("slim", "hub", spec_hash)
    return ConfigReference(GROUP, RESOURCE, "slim", "hub", desired)


def _new(spec_hash: str | None) -> ConfigReference:
    return reference(SLIM, spec_hash or "")


Spelling = Callable[[str | None], ConfigReference]
BOTH = pytest.mark.parametrize("spell", [_old, _new], ids=["v1alpha1", "v1beta1"])


def lookup(namespace: str, name: str) -> DeploymentConfig | None:
    return SLIM if (namespace, name) == ("hub", "slim") else None


def _using(*references: ConfigReference, asks: tuple[AddonConfig, ...] = ()) -> ManagedClusterAddOn:
    return with_(addon(), spec=AddonSpec(configs=asks), status=AddonStatus(config_references=references))


ASKED = AddonConfig(GROUP, RESOURCE, "slim", "hub")


@BOTH
@pytest.mark.parametrize("stale", [None, "", "old"])
def test_the_fleet_gets_the_hash_of_each_configuration_as_it_is_now(
    spell: Spelling, stale: str | None
) -> None:
    progression = InstallProgression("global", "ns", (Condition("Progressing", "True"),), (spell(stale),))
    stored = FleetStatus((spell(stale),), (spell(stale),), (progression, replace(progression, name="other")))
    right = spell(SLIM.spec_hash)
    wanted = config_hashes.fleet_status(with_(fleet_addon(), status=stored), lookup)
    assert wanted.default_config_references == wanted.defaultconfig_references == (right,)
    assert wanted.install_progressions == (
        replace(progression, config_references=(right,)),
        replace(progression, name="other", config_references=(right,)),
    )


@BOTH
def test_what_ocm_says_was_applied_and_was_good_stays(spell: Spelling) -> None:
    was = ConfigReferent("slim", "hub", "before")
    stored = replace(spell("old"), last_applied_config=was, last_known_good_config=was)
    (found,) = config_hashes.fleet_status(
        with_(fleet_addon(), status=FleetStatus((stored,))), lookup
    ).default_config_references
    assert (found.last_applied_config, found.last_known_good_config) == (was, was)


def test_a_fleet_whose_hashes_are_right_is_as_it_was() -> None:
    stored = FleetStatus((reference(SLIM),), (), (InstallProgression("p", "n", (), (reference(SLIM),)),))
    assert config_hashes.fleet_status(with_(fleet_addon(), status=stored), lookup) == stored


@pytest.mark.parametrize("stays", [*FOREIGN, reference(config("gone"), "old")])
def test_the_hash_of_what_is_not_ours_to_read_or_not_there_stays(stays: ConfigReference) -> None:
    stored = FleetStatus((stays,))
    assert config_hashes.fleet_status(with_(fleet_addon(), status=stored), lookup) == stored
    found = _using(stays, asks=(ASKED, replace(ASKED, name="gone")))
    assert config_hashes.cluster_references(found, lookup) == (stays,)


@BOTH
def test_what_the_clusters_own_addon_asks_for_gets_its_hash_and_generation(spell: Spelling) -> None:
    (found,) = config_hashes.cluster_references(_using(spell("old"), asks=(ASKED,)), lookup)
    assert found == replace(spell(SLIM.spec_hash), last_observed_generation=3)


@BOTH
@pytest.mark.parametrize(
    "asks",
    [
        (),
        (replace(ASKED, name="other"),),
        (replace(ASKED, namespace="other"),),
        (replace(ASKED, resource="addontemplates"),),
        (replace(ASKED, group="example.com"),),
    ],
)
def test_on_a_cluster_what_the_fleet_asks_for_is_left_to_ocms_rollout(
    spell: Spelling, asks: tuple[AddonConfig, ...]
) -> None:
    assert config_hashes.cluster_references(_using(spell("old"), asks=asks), lookup) == (spell("old"),)


def test_of_several_references_each_keeps_its_place() -> None:
    found = config_hashes.cluster_references(_using(*FOREIGN, reference(SLIM, ""), asks=(ASKED,)), lookup)
    assert found[:2] == FOREIGN
    assert found[2].desired_config == ConfigReferent("slim", "hub", SLIM.spec_hash)


@pytest.mark.parametrize(
    ("found", "used"),
    [
        (_using(), False),
        (_using(reference(SLIM)), True),
        (_using(_old(None)), True),
        (_using(reference(config("other"))), False),
        (_using(asks=(ASKED,)), True),
        (_using(asks=(replace(ASKED, namespace="other"),)), False),
    ],
)
def test_a_configuration_is_used_where_it_is_referred_to_or_asked_for(
    found: ManagedClusterAddOn, used: bool
) -> None:
    assert config_hashes.uses(found, "hub", "slim") is used
