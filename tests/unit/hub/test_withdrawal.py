"""The addon on its way out, with a scripted hub: in which order, and what is left alone."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from msa.hub.ports import Kind
from msa.runtime.errors import ApiError
from msa.runtime.result import Done
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

RIGHTS = ["delete RoleBinding"]


def _leaving(fleet: Fleet, item: Any) -> None:
    fleet.put(with_(item, deletion_timestamp=fleet.now()))


REASONS: dict[str, Callable[[Fleet], None]] = {
    "the addon is gone": lambda fleet: fleet.take(addon()),
    "the addon is being deleted": lambda fleet: _leaving(fleet, fleet.addon()),
    "the cluster is gone": lambda fleet: fleet.take(cluster()),
    "the cluster is being deleted": lambda fleet: _leaving(fleet, cluster()),
    "the cluster is no longer accepted": lambda fleet: fleet.put(
        with_(cluster(), spec=type(cluster().spec)(hub_accepts_client=False))
    ),
    "the fleet's addon is gone": lambda fleet: fleet.take(fleet_addon()),
    "the fleet's addon is being deleted": lambda fleet: _leaving(fleet, fleet_addon()),
}
EVERY_REASON = pytest.mark.parametrize("happens", REASONS.values(), ids=list(REASONS))


@EVERY_REASON
async def test_the_agent_goes_first_and_then_its_rights_whether_its_cluster_answers_or_not(
    fleet: Fleet, happens: Callable[[Fleet], None]
) -> None:
    await install(fleet)
    happens(fleet)
    reconcile = reconciler_of(fleet)
    assert await settle(fleet, reconcile) == Done()
    assert fleet.writes == ["delete ManifestWork", *RIGHTS]
    assert fleet.has(Kind.WORK), "it waits for its cluster, for ever if need be"
    fleet.take(fleet.get(Kind.WORK))
    assert await reconcile(CLUSTER) == Done()
    assert fleet.writes == ["delete ManifestWork", *RIGHTS]


@pytest.mark.parametrize("missing", [addon(), cluster(), fleet_addon()], ids=["addon", "cluster", "fleet"])
async def test_what_is_merely_missing_takes_nothing_away(fleet: Fleet, missing: Any) -> None:
    """After a start, or a list that was empty or partial: what was really deleted the hub's garbage collector acts on."""
    await install(fleet)
    fleet.miss(missing)
    for reconcile in (reconciler_of(fleet), reconciler_of(fleet)):
        assert await settle(fleet, reconcile) == Done()
    assert not fleet.writes
    fleet.put(missing)
    await settle(fleet, reconciler_of(fleet))
    assert not [write for write in fleet.writes if "status" not in write]


async def test_where_no_agent_was_deployed_the_rights_go_at_once(fleet: Fleet) -> None:
    await install(fleet)
    fleet.take(addon(), fleet.get(Kind.WORK))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == RIGHTS


async def test_a_cluster_on_which_there_is_nothing_of_ours_costs_nothing(fleet: Fleet) -> None:
    fleet.take(addon())
    assert await reconciler_of(fleet)(CLUSTER) == Done()
    assert not fleet.writes


@pytest.mark.parametrize("kind", list(Kind), ids=[kind.value for kind in Kind])
async def test_what_has_its_name_and_is_not_ours_is_left_alone(fleet: Fleet, kind: Kind) -> None:
    fleet.held = False
    await install(fleet)
    fleet.take(addon())
    foreign = {"open-cluster-management.io/addon-name": "other", "app": "managed-serviceaccount"}
    fleet.put(with_(fleet.get(kind), labels=foreign, owner_references=()))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.has(kind)
    assert f"delete {kind.value}" not in fleet.writes
    assert len(fleet.writes) == 1, "the rest of it goes"


@pytest.mark.parametrize("kind", list(Kind), ids=[kind.value for kind in Kind])
@pytest.mark.parametrize("lost", [{"labels": None}, {"owner_references": ()}], ids=["label", "owner"])
async def test_what_lost_its_label_or_its_owner_goes_all_the_same(
    fleet: Fleet, kind: Kind, lost: dict[str, Any]
) -> None:
    """The addon that we replace marked what it made by owners alone."""
    fleet.held = False
    await install(fleet)
    fleet.take(addon())
    fleet.put(with_(fleet.get(kind), **lost))
    await settle(fleet, reconciler_of(fleet))
    assert not fleet.has(kind)


@pytest.mark.parametrize("written", [False, True], ids=["before it is carried out", "before its answer"])
@pytest.mark.parametrize("at", range(2))
async def test_wherever_the_manager_is_killed_a_new_one_removes_the_rest_and_nothing_twice(
    fleet: Fleet, at: int, written: bool
) -> None:
    fleet.held = False
    await install(fleet)
    fleet.take(addon())
    fleet.crash = Crash(at, written)
    with contextlib.suppress(ApiError):
        await settle(fleet, reconciler_of(fleet))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == ["delete ManifestWork", *RIGHTS]
    assert not any(fleet.has(kind) for kind in Kind)


async def test_what_is_on_its_way_out_already_is_not_deleted_again(fleet: Fleet) -> None:
    await install(fleet)
    fleet.take(addon(), fleet.get(Kind.WORK))
    fleet.put(with_(fleet.get(Kind.ROLE_BINDING), deletion_timestamp=fleet.now()))
    await settle(fleet, reconciler_of(fleet))
    assert not fleet.writes


async def test_an_addon_that_comes_back_before_the_agent_is_gone_is_installed_again(fleet: Fleet) -> None:
    await install(fleet)
    fleet.take(addon())
    await settle(fleet, reconciler_of(fleet))
    fleet.put(addon())
    fleet.take(fleet.get(Kind.WORK))
    fleet.writes.clear()
    await settle(fleet, reconciler_of(fleet))
    assert fleet.writes == ["create RoleBinding", "status", "create ManifestWork"]


async def test_why_the_agent_goes_is_told_once_and_each_deletion_once(fleet: Fleet) -> None:
    await install(fleet)
    fleet.take(cluster())
    for _ in range(3):
        await settle(fleet, reconciler_of(fleet))
    fleet.take(fleet.get(Kind.WORK))
    await settle(fleet, reconciler_of(fleet))
    assert fleet.observed == [
        ("deleted", "c1", "ManifestWork"),
        ("withdrawn", "c1", "the cluster is removed"),
        ("deleted", "c1", "RoleBinding"),
    ]


async def test_what_was_gone_before_our_deletion_came_is_not_told_as_deleted_by_us(fleet: Fleet) -> None:
    class Faster(Fleet):
        """The garbage collector was there first, and our copy does not show it yet."""

        async def delete(self, kind: Kind, stored: Any) -> bool:
            await super().delete(kind, stored)
            return False

    faster = Faster(fleet.now, held=False)
    faster.put(cluster(), addon(), fleet_addon())
    await install(faster)
    faster.take(addon())
    await settle(faster, reconciler_of(faster))
    assert not any(entry[0] == "deleted" for entry in faster.observed)
