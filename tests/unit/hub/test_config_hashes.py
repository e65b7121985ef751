"""The hashes of configurations in the fleet's addon, with a scripted hub."""

import pytest
from msgspec.structs import replace

from msa.api.addon import FleetStatus, InstallProgression
from msa.hub.config_hashes import ConfigHashReconciler
from msa.runtime.errors import Conflict
from msa.runtime.freshness import Freshness
from msa.runtime.result import Done, Key
from tests.support.fleet import Fleet, config, fleet_addon, reference, settle, with_

ADDON = Key("managed-serviceaccount")
SLIM = config()
STALE = FleetStatus(
    default_config_references=(reference(SLIM, ""),),
    install_progressions=(InstallProgression("global", "ns", (), (reference(SLIM, "old"),)),),
)


def _reconciler(fleet: Fleet, freshness: Freshness | None = None) -> ConfigHashReconciler:
    return ConfigHashReconciler(fleet.fleet, fleet.configs, fleet, freshness or Freshness())


async def test_hashes_are_written_by_one_patch_of_what_changed_and_then_no_more(fleet: Fleet) -> None:
    fleet.put(SLIM, with_(fleet_addon(), status=STALE))
    await settle(fleet, _reconciler(fleet), ADDON)
    assert fleet.writes == ["fleet status"]
    assert fleet.patches[0].keys() == {"defaultConfigReferences", "installProgressions"}
    stored = fleet.fleet.get(ADDON)
    assert stored is not None
    assert stored.status.default_config_references == (reference(SLIM),)
    assert stored.status.install_progressions[0].config_references == (reference(SLIM),)


async def test_only_the_part_that_differs_is_sent(fleet: Fleet) -> None:
    right = replace(STALE, default_config_references=(reference(SLIM),))
    fleet.put(SLIM, with_(fleet_addon(), status=right))
    await settle(fleet, _reconciler(fleet), ADDON)
    assert [patch.keys() for patch in fleet.patches] == [{"installProgressions"}]


async def test_an_edited_configuration_gets_its_new_hash(fleet: Fleet) -> None:
    fleet.put(SLIM, with_(fleet_addon(), status=STALE))
    await settle(fleet, _reconciler(fleet), ADDON)
    edited = config(agentInstallNamespace="agents")
    fleet.put(edited)
    await settle(fleet, _reconciler(fleet), ADDON)
    assert fleet.writes == ["fleet status"] * 2
    stored = fleet.fleet.get(ADDON)
    assert stored is not None
    assert stored.status.default_config_references == (reference(edited),)


async def test_an_addon_that_is_gone_or_going_is_left_alone(fleet: Fleet) -> None:
    fleet.put(SLIM, with_(fleet_addon(), status=STALE, deletion_timestamp=fleet.now()))
    assert await _reconciler(fleet)(ADDON) == Done()
    fleet.take(fleet_addon())
    assert await _reconciler(fleet)(ADDON) == Done()
    assert not fleet.writes


async def test_a_status_that_ocm_wrote_meanwhile_is_not_overwritten(fleet: Fleet) -> None:
    fleet.put(SLIM, with_(fleet_addon(), status=STALE))
    fleet.error = Conflict("changed")
    with pytest.raises(Conflict):
        await _reconciler(fleet)(ADDON)


async def test_it_is_not_looked_at_again_before_the_cache_shows_what_was_written(fleet: Fleet) -> None:
    fleet.put(SLIM, with_(fleet_addon(), status=STALE))
    freshness = Freshness()
    await _reconciler(fleet, freshness)(ADDON)
    assert freshness.lag(ADDON, 0.0) == 10.0
