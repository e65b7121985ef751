"""Conditions that other programs write, which the manager keeps when it writes its own."""

from collections.abc import Callable
from datetime import datetime

import anyio
import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from msa.api.addon import AddonStatus, StoredClusterAddOn
from msa.api.meta import Condition
from msa.hub.ingest import keep_addon
from tests.support.fanout_hub import ORIGIN, FanOutHub, binding, cluster_set, settle
from tests.support.fanout_hub import cluster as member
from tests.support.fanout_hub import reconciler_of as fan_out_of
from tests.support.fleet import CLUSTER, Fleet, addon, cluster, fleet_addon, reconciler_of, with_

OTHERS = tuple(Condition(f"Backup{number}", "True", "R", f"{number}\n" + "m" * 3000) for number in range(40))
"""So many, and so long, that the manager's own copy of them is cut."""


@pytest.fixture
def fleet(now: Callable[[], datetime]) -> Fleet:
    """One cluster where the addon is wanted."""
    fleet = Fleet(now)
    fleet.put(cluster(), addon(), fleet_addon())
    return fleet


@pytest.fixture
def hub(now: Callable[[], datetime]) -> FanOutHub:
    """A set of two clusters, bound to a namespace."""
    hub = FanOutHub(now)
    hub.synced()
    hub.put(cluster_set(), binding(), member("c1"), member("c2"))
    return hub


def _messages(hub: FanOutHub) -> dict[str, str]:
    return {item["type"]: item["message"] for item in hub.stored[ORIGIN]["status"]["conditions"]}


@pytest.mark.parametrize("count", [1, 40], ids=["a few", "more than are kept"])
async def test_those_of_one_that_is_fanned_out_stay_word_for_word(hub: FanOutHub, count: int) -> None:
    others = [msgspec.to_builtins(item) for item in OTHERS[:count]]
    hub.apply(ORIGIN, status={"conditions": others})
    reconcile = fan_out_of(hub)
    await settle(hub, reconcile)
    await anyio.sleep(1)
    hub.report("c1")
    await settle(hub, reconcile)
    found = _messages(hub)
    assert {item["type"]: found.get(item["type"]) for item in others} == {
        item["type"]: item["message"] for item in others
    }
    assert set(found) - {item["type"] for item in others} == {
        "Ready",
        "AllServiceAccountsPresent",
        "AllTokensReported",
    }
    written = hub.writes.count(f"status {ORIGIN}")
    assert hub.reads.count(ORIGIN) == written, (
        "they are long: the copy is cut, and the whole is read before a write"
    )
    await anyio.sleep(60)
    await settle(hub, reconcile)
    assert hub.writes.count(f"status {ORIGIN}") == written, "and nobody is fought"


async def test_what_an_agent_said_that_is_not_here_any_more_goes(hub: FanOutHub) -> None:
    agents = [
        {"type": kind, "status": "True", "reason": "R"} for kind in ("TokenReported", "Ready", "TTLIgnored")
    ]
    hub.apply(ORIGIN, status={"conditions": [*agents, {"type": "Backup", "status": "True", "reason": "R"}]})
    await settle(hub, fan_out_of(hub))
    types = {item["type"] for item in hub.stored[ORIGIN]["status"]["conditions"]}
    assert types == {"Backup", "Ready", "AllServiceAccountsPresent", "AllTokensReported"}


async def test_those_of_an_addon_stay_word_for_word_though_the_copy_of_them_is_cut(fleet: Fleet) -> None:
    whole = with_(addon(), status=AddonStatus(conditions=OTHERS))
    stored = StoredClusterAddOn(whole.metadata, status=Raw(msgspec.json.encode(whole.status)))
    fleet.put(keep_addon(stored))
    fleet.whole["c1"] = with_(whole, resource_version=str(fleet.version))
    await reconciler_of(fleet)(CLUSTER)
    (patch,) = fleet.patches
    assert patch["conditions"][:40] == whole.status.conditions
    assert [item.type for item in patch["conditions"][40:]] == ["RegistrationApplied"]
    assert fleet.reads == ["c1"]


async def test_of_an_addon_that_is_gone_meanwhile_no_status_is_written(fleet: Fleet) -> None:
    fleet.put(replace(addon(), abridged=True))
    await reconciler_of(fleet)(CLUSTER)
    assert fleet.reads == ["c1"]
    assert fleet.patches == []
