"""What the manager asks a hub for before it starts, with the hub's answers as a table."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import pytest

from msa.hub.discovery import Served, addon_version
from msa.runtime.supervisor import StartError

ADDON = "addon.open-cluster-management.io"
BOTH = frozenset({"clustermanagementaddons", "managedclusteraddons"})
OURS = ("authentication.open-cluster-management.io", "v1beta1")
CLUSTERS = ("cluster.open-cluster-management.io", "v1")
WORKS = ("work.open-cluster-management.io", "v1")
HUB: Mapping[tuple[str, str], AbstractSet[str]] = {
    OURS: {"managedserviceaccounts"},
    CLUSTERS: {"managedclusters", "managedclustersetbindings"},
    WORKS: {"manifestworks"},
    (ADDON, "v1alpha1"): BOTH | {"addondeploymentconfigs"},
    (ADDON, "v1beta1"): BOTH,
}


def _hub(answers: Mapping[tuple[str, str], AbstractSet[str]]) -> Served:
    async def served(group: str, version: str) -> AbstractSet[str]:
        return answers.get((group, version), frozenset())

    return served


def _without(*absent: tuple[str, str]) -> Mapping[tuple[str, str], AbstractSet[str]]:
    return {key: kinds for key, kinds in HUB.items() if key not in absent}


async def test_the_newer_version_is_spoken_where_it_serves_both_kinds() -> None:
    assert await addon_version(_hub(HUB)) == "v1beta1"


@pytest.mark.parametrize("newer", [frozenset[str](), {"managedclusteraddons"}])
async def test_the_older_version_is_spoken_where_the_newer_one_lacks_a_kind(newer: AbstractSet[str]) -> None:
    assert await addon_version(_hub(dict(HUB) | {(ADDON, "v1beta1"): newer})) == "v1alpha1"


@pytest.mark.parametrize(
    ("group", "told"),
    [
        (
            OURS,
            "managedserviceaccounts.authentication.open-cluster-management.io/v1beta1 is not served by the hub: install this addon's CRD",
        ),
        (
            CLUSTERS,
            "managedclusters.cluster.open-cluster-management.io/v1 is not served by the hub: install Open Cluster Management",
        ),
        (
            WORKS,
            "manifestworks.work.open-cluster-management.io/v1 is not served by the hub: install Open Cluster Management",
        ),
    ],
)
async def test_what_is_missing_is_named_with_its_remedy(group: tuple[str, str], told: str) -> None:
    with pytest.raises(StartError, match="^" + told.replace(".", r"\.")):
        await addon_version(_hub(_without(group)))


async def test_all_that_is_missing_is_told_at_once() -> None:
    with pytest.raises(StartError) as refused:
        await addon_version(_hub({}))
    assert [part.partition(" ")[0] for part in str(refused.value).split("; ")] == [
        "managedserviceaccounts.authentication.open-cluster-management.io/v1beta1",
        "managedclusters.cluster.open-cluster-management.io/v1",
        "manifestworks.work.open-cluster-management.io/v1",
        f"clustermanagementaddons.{ADDON}",
        f"managedclusteraddons.{ADDON}",
    ]


async def test_only_the_kind_that_no_version_serves_is_called_missing() -> None:
    answers = dict(_without((ADDON, "v1beta1"))) | {(ADDON, "v1alpha1"): {"managedclusteraddons"}}
    with pytest.raises(StartError, match=f"^clustermanagementaddons.{ADDON} is not served") as refused:
        await addon_version(_hub(answers))
    assert ";" not in str(refused.value)


async def test_kinds_spread_over_versions_are_no_version_to_speak() -> None:
    spread = {
        (ADDON, "v1alpha1"): {"managedclusteraddons"},
        (ADDON, "v1beta1"): {"clustermanagementaddons"},
    }
    with pytest.raises(StartError, match=r"clustermanagementaddons.*managedclusteraddons"):
        await addon_version(_hub(dict(HUB) | spread))
