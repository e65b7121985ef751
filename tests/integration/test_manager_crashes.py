"""The manager is killed in the middle of its work, again and again, and comes to the same end as one that nobody disturbed."""

import json
import operator
import re
from collections.abc import Iterator
from operator import itemgetter
from random import Random
from typing import Any

import pytest

from hack.ocm.fleet import Fleet
from hack.processes import wait_until
from tests.support.certificate_requests import Certificates, honest
from tests.support.manager import Membership, Replica, assert_clean, managed_cluster, managing
from tests.support.manager_writes import WriteLog

_CLUSTERS = 30
_KILLS = 8
_MOST_WRITES = 12
_PATIENCE = 60.0
_MADE = ("roles", "rolebindings", "manifestworks")
_GIVEN_BY_THE_SERVER = ("uid", "resourceVersion", "creationTimestamp", "managedFields")

pytestmark = pytest.mark.timeout(300)


def _join(fleet: Fleet, stem: str) -> list[str]:
    """Clusters whose addons are there."""
    clusters = [f"{stem}-{number:02}" for number in range(_CLUSTERS)]
    fleet.apply({"apiVersion": "v1", "kind": "List", "items": [managed_cluster(name) for name in clusters]})
    addons = [Membership(fleet, name) for name in clusters]
    assert wait_until(lambda: all(addon.get("managedclusteraddon") for addon in addons), _PATIENCE)
    return clusters


def _ask(fleet: Fleet, clusters: list[str]) -> list[str]:
    """Each cluster asks for its agent's certificate; the requests' names."""
    certificates = Certificates(fleet.hub)
    return [certificates.ask(certificates.registration_agent(name), name, honest(name)) for name in clusters]


def _done(fleet: Fleet, clusters: list[str]) -> bool:
    """All made, all said; each is counted once by its kind and name."""
    state = _state(fleet, clusters)
    return all(len(items) == 4 for items in state.values()) and all(
        "registrations" in item["status"]
        for items in state.values()
        for item in items
        if item["kind"] == "ManagedClusterAddOn"
    )


def _state(fleet: Fleet, clusters: list[str]) -> dict[str, list[Any]]:
    """What is of the addon in each cluster's namespace."""
    kinds = "roles,rolebindings,manifestworks,managedclusteraddons"
    text = fleet.hub.kubectl("get", kinds, "-A", "-o", "json")
    found: dict[str, list[Any]] = {cluster: [] for cluster in clusters}
    for item in json.loads(text)["items"]:
        if item["metadata"]["namespace"] in found and "managed-serviceaccount" in item["metadata"]["name"]:
            found[item["metadata"]["namespace"]].append(item)
    return found


def _comparable(items: list[Any], cluster: str) -> Any:
    """Without what is another's in every cluster: its name, and what the server gives."""
    for item in items:
        for part in _GIVEN_BY_THE_SERVER:
            item["metadata"].pop(part, None)
        for owner in item["metadata"].get("ownerReferences", ()):
            owner["uid"] = ""
        # Who was first to write a condition is chance: they are a map by type.
        item.get("status", {}).get("conditions", []).sort(key=itemgetter("type"))
    text = json.dumps(items, sort_keys=True).replace(cluster, "CLUSTER")
    return json.loads(re.sub(r'"lastTransitionTime": "[^"]*"', '"lastTransitionTime": ""', text))


def _decisions(fleet: Fleet, requests: list[str]) -> list[list[str]]:
    """The conditions of each request."""
    items = json.loads(fleet.hub.kubectl("get", "csr", *requests, "-o", "json"))["items"]
    return [[condition["type"] for condition in item["status"].get("conditions", ())] for item in items]


@pytest.fixture
def undisturbed(ocm: Fleet) -> dict[str, list[Any]]:
    """Clusters of a manager that was left alone; for all others on this hub, too, there is nothing to be done any more."""
    with managing(ocm.hub, "calm"):
        clusters = _join(ocm, "calm")
        assert wait_until(lambda: _done(ocm, clusters), _PATIENCE)
    return _state(ocm, clusters)


@pytest.fixture
def manager(ocm: Fleet, undisturbed: dict[str, list[Any]]) -> Iterator[Replica]:
    """Not started yet."""
    replica = Replica(ocm.hub, "torn")
    yield replica
    replica.stop()
    assert_clean(replica)


def _kill_at_writes(manager: Replica, log: WriteLog, counts: list[int]) -> None:
    for count in counts:
        manager.start()
        target = log.count() + count
        assert wait_until(lambda: log.count() >= target, _PATIENCE, 0.001)  # noqa: B023 - called at once
        manager.kill()


def test_killed_at_any_write_it_comes_to_the_same_end_and_makes_nothing_twice(
    ocm: Fleet, write_log: WriteLog, undisturbed: dict[str, list[Any]], manager: Replica
) -> None:
    """After a number of writes drawn by chance: between those of one cluster, or between two clusters."""
    clusters, rng = _join(ocm, "torn"), Random(10)
    requests, log = _ask(ocm, clusters), write_log.from_now()
    _kill_at_writes(manager, log, [rng.randint(1, _MOST_WRITES) for _ in range(_KILLS)])
    assert not _done(ocm, clusters), "the last one, too, was killed before all was done"
    manager.start()
    assert wait_until(lambda: _done(ocm, clusters), _PATIENCE)
    assert wait_until(lambda: _decisions(ocm, requests) == [["Approved"]] * _CLUSTERS, _PATIENCE)

    def ends() -> tuple[list[Any], list[Any]]:
        """Of those that were disturbed, and of those that were not."""
        torn, calm = (
            [_comparable(items, name) for name, items in _state(ocm, chosen).items()]
            for chosen in (clusters, list(undisturbed))
        )
        return torn, calm

    # OCM's side may have had its last word on one cluster and not yet on another.
    wait_until(lambda: operator.eq(*ends()), _PATIENCE)
    torn, calm = ends()
    assert torn == calm
    _assert_made_once(log, clusters)


def _assert_made_once(log: WriteLog, clusters: list[str]) -> None:
    """The server may have done what it was asked for by a process that was not there any more: of that, it logs a failure."""
    writes = [write for write in log.writes(*clusters) if write.resource in _MADE and write.succeeded]
    assert {write.verb for write in writes} == {"create"}
    assert len({(write.namespace, write.resource, write.name) for write in writes}) == len(writes)
