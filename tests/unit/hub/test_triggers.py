"""Which keys are looked at when something on the hub comes, changes or goes."""

from collections.abc import Callable
from random import Random
from typing import Any

import anyio
import pytest
from attrs import frozen
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from msa.api import names
from msa.api.addon import AddonConfig, AddonSpec, AddonStatus
from msa.api.certificates import SigningRequest, SigningRequestStatus
from msa.api.core import Secret
from msa.api.meta import Condition, ObjectMeta
from msa.api.rbac import RoleBinding
from msa.api.work import Work
from msa.hub.triggers import BY_CLUSTER, Triggers, cluster_of
from msa.runtime.backoff import Backoff
from msa.runtime.metrics import Metrics
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.result import Key
from msa.runtime.store import Change, Store, key_of
from tests.support.candidates import candidate
from tests.support.fleet import Fleet, addon, cluster, config, fleet_addon, reference, with_

OURS = ObjectMeta(name="managed-serviceaccount-addon-agent", namespace="c1")
ADDON = "managed-serviceaccount"


@frozen
class Queues:
    """The manager's queues, and what is in them."""

    addons: WorkQueue
    fleet: WorkQueue
    requests: WorkQueue

    @property
    def keys(self) -> tuple[set[str], set[str], set[str]]:
        return (set(self.addons._dirty), set(self.fleet._dirty), set(self.requests._dirty))

    @property
    def lanes(self) -> set[Lane]:
        return {lane for queue in (self.addons, self.fleet, self.requests) for lane in queue._dirty.values()}


@pytest.fixture
def hub(fleet: Fleet) -> Fleet:
    """Of three clusters the first uses one configuration, the second asks for another; the first has asked for a certificate."""
    fleet.requests = Store({BY_CLUSTER: cluster_of})
    used = AddonStatus(config_references=(reference(config("slim")),))
    asked = AddonConfig("addon.open-cluster-management.io", "addondeploymentconfigs", "fat", "hub")
    fleet.put(
        with_(addon("c1"), status=used), with_(addon("c2"), spec=AddonSpec(configs=(asked,))), addon("c3")
    )
    fleet.put(_request("open"), _request("decided", SigningRequestStatus((Condition("Denied", "True"),))))
    return fleet


@pytest.fixture
async def queues() -> Queues:
    metrics = Metrics(CollectorRegistry())
    return Queues(*(WorkQueue(name, Backoff(Random(1)), metrics) for name in ("a", "f", "r")))


@pytest.fixture
def triggers(hub: Fleet, queues: Queues) -> Triggers:
    return Triggers(
        hub.caches,
        hub.requests,
        lambda request: request.spec.request,
        queues.addons,
        queues.fleet,
        queues.requests,
    )


def _request(name: str, status: SigningRequestStatus | None = None) -> SigningRequest:
    stored = with_(candidate().request, name=name)
    return replace(stored, status=status or SigningRequestStatus())


def came(item: Any) -> Change[Any]:
    return Change(key_of(item), None, item)


def went(item: Any) -> Change[Any]:
    return Change(key_of(item), item, None)


ONE: dict[str, tuple[str, Any]] = {
    "a cluster": ("cluster", cluster()),
    "an addon": ("addon", addon()),
}


@pytest.mark.parametrize(("handler", "item"), ONE.values(), ids=list(ONE))
@pytest.mark.parametrize("happens", [came, went])
async def test_a_cluster_or_its_addon_brings_the_cluster_and_its_open_requests(
    triggers: Triggers, queues: Queues, handler: str, item: Any, happens: Callable[[Any], Change[Any]]
) -> None:
    getattr(triggers, handler)(happens(item))
    assert queues.keys == ({"c1"}, set(), {"open"})


@pytest.mark.parametrize(
    ("handler", "item"), [("binding", RoleBinding(OURS)), ("work", Work(OURS, "", (), {}, ()))]
)
@pytest.mark.parametrize("happens", [came, went])
async def test_what_is_ours_in_a_clusters_namespace_brings_that_cluster(
    triggers: Triggers, queues: Queues, handler: str, item: Any, happens: Callable[[Any], Change[Any]]
) -> None:
    getattr(triggers, handler)(happens(item))
    assert queues.keys == ({"c1"}, set(), set())


BESIDE = Work(replace(OURS, generation=1), "", (), {}, ())


def _said(status: str, *failed: str) -> Work:
    return with_(BESIDE, conditions=(Condition("Applied", status, observed_generation=1),), failed=failed)


@pytest.mark.parametrize(
    ("states", "brings"),
    [
        ((None, BESIDE), False),
        ((BESIDE, _said("True")), False),
        ((_said("True"), None), False),
        ((_said("True"), _said("False", "ConfigMap a: refused")), True),
        ((_said("False", "ConfigMap a: refused"), _said("False", "ConfigMap a: full")), True),
        ((_said("False"), _said("True")), True),
        ((_said("False"), None), True),
    ],
    ids=["made", "applied", "deleted", "refused", "refused otherwise", "applied at last", "deleted at last"],
)
async def test_the_work_that_identities_hang_on_brings_an_addon_that_runs_only_with_trouble(
    triggers: Triggers, queues: Queues, hub: Fleet, states: tuple[Work | None, Work | None], brings: bool
) -> None:
    hub.put(with_(addon("c1"), status=AddonStatus(namespace="agents")))
    triggers.identities_work(Change(Key("c1/w"), *states))
    assert queues.keys[0] == ({"c1"} if brings else set())


async def test_the_work_that_identities_hang_on_brings_an_addon_that_has_no_namespace_yet(
    triggers: Triggers, queues: Queues
) -> None:
    triggers.identities_work(came(BESIDE))
    assert queues.keys[0] == {"c1"}


async def test_the_work_that_identities_hang_on_brings_an_addon_whose_own_work_waits_for_it(
    triggers: Triggers, queues: Queues, hub: Fleet
) -> None:
    hub.put(with_(addon("c1"), status=AddonStatus(namespace="agents")))
    hub.put(with_(BESIDE, name=names.DEPLOY_WORK, carries_anchor=True))
    triggers.identities_work(Change(Key("c1/w"), BESIDE, _said("True")))
    assert queues.keys[0] == {"c1"}


async def test_a_request_brings_itself(triggers: Triggers, queues: Queues) -> None:
    triggers.request(came(_request("new")))
    assert queues.keys == (set(), set(), {"new"})


@pytest.mark.parametrize("happens", [came, went])
async def test_the_fleets_addon_that_comes_or_goes_brings_all_clusters(
    triggers: Triggers, queues: Queues, happens: Callable[[Any], Change[Any]]
) -> None:
    triggers.fleet_addon(happens(fleet_addon()))
    assert queues.keys == ({"c1", "c2", "c3"}, {ADDON}, set())


async def test_the_fleets_addon_that_is_being_deleted_brings_all_clusters(
    triggers: Triggers, queues: Queues, hub: Fleet
) -> None:
    """An API server raises the generation with the time of the deletion."""
    before = fleet_addon()
    after = with_(before, deletion_timestamp=hub.now(), generation=2)
    triggers.fleet_addon(Change(key_of(before), before, after))
    assert queues.keys == ({"c1", "c2", "c3"}, {ADDON}, set())


async def test_a_status_of_the_fleets_addon_brings_itself_alone(triggers: Triggers, queues: Queues) -> None:
    """OCM writes it with every step of a rollout, and each step reaches a cluster by its own addon."""
    before = fleet_addon()
    triggers.fleet_addon(Change(key_of(before), before, with_(before, resource_version="9")))
    assert queues.keys == (set(), {ADDON}, set())


@pytest.mark.parametrize(("name", "clusters"), [("slim", {"c1"}), ("fat", {"c2"}), ("other", set())])
@pytest.mark.parametrize("happens", [came, went])
async def test_a_configuration_brings_the_fleets_addon_and_the_clusters_that_use_it_or_ask_for_it(
    triggers: Triggers, queues: Queues, name: str, clusters: set[str], happens: Callable[[Any], Change[Any]]
) -> None:
    triggers.config(happens(config(name)))
    assert queues.keys == (clusters, {ADDON}, set())


async def test_the_pull_secret_brings_all_clusters(triggers: Triggers, queues: Queues) -> None:
    triggers.pull_secret(came(Secret(ObjectMeta(name="pull", namespace="hub"))))
    assert queues.keys == ({"c1", "c2", "c3"}, set(), set())


async def test_what_happens_on_one_cluster_goes_before_what_was_there_and_before_what_concerns_all(
    triggers: Triggers, queues: Queues
) -> None:
    triggers.pull_secret(came(Secret(ObjectMeta(name="pull", namespace="hub"))))
    triggers.cluster(replace(came(cluster("c4")), initial=True))
    triggers.request(replace(came(_request("new")), initial=True))
    assert queues.lanes == {Lane.INITIAL}
    triggers.addon(came(addon("c3")))
    assert queues.addons._dirty[Key("c3")] is Lane.LIVE


async def test_updates_of_a_cluster_that_nothing_depends_on_bring_nothing_however_many_requests_wait(
    triggers: Triggers, queues: Queues, hub: Fleet
) -> None:
    """500 undecided requests and 12 updates a second: what the cluster says of its health, its labels, its Lease."""
    hub.put(*(_request(f"csr-{number}") for number in range(500)))
    before = cluster()
    for number in range(120):
        after = with_(before, labels={"beat": str(number)}, resource_version=str(100 + number))
        triggers.cluster(Change(key_of(before), before, after))
        before = after
    healthy = with_(addon("c1"), status=AddonStatus((Condition("Available", "True"),)))
    sick = with_(addon("c1"), status=AddonStatus((Condition("Available", "False"),)))
    for old, new in ((healthy, sick), (sick, healthy)) * 60:
        triggers.addon(Change(key_of(new), old, new))
    assert queues.keys == (set(), set(), set())


async def test_requests_are_judged_again_when_their_cluster_is_accepted_or_their_addon_comes(
    triggers: Triggers, queues: Queues
) -> None:
    accepted = cluster()
    unaccepted = replace(accepted, spec=replace(accepted.spec, hub_accepts_client=False))
    triggers.cluster(Change(key_of(accepted), unaccepted, accepted))
    assert queues.keys == ({"c1"}, set(), {"open"})


async def test_a_cluster_that_writes_on_and_on_is_looked_at_twice_a_second_and_another_at_once(
    triggers: Triggers, queues: Queues
) -> None:
    looks = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queues.addons.run)
        for number in range(1200):  # 12 a second, for 100 s
            old = with_(addon("c1"), status=AddonStatus(namespace=f"n{number}"))
            new = with_(addon("c1"), status=AddonStatus(namespace=f"n{number + 1}"))
            triggers.addon(Change(key_of(new), old, new))
            if Key("c1") in queues.addons._dirty:
                looks += 1
                queues.addons.done(await queues.addons.get())
            await anyio.sleep(1 / 12)
        triggers.addon(came(addon("c2")))
        assert Key("c2") in queues.addons._dirty
        tasks.cancel_scope.cancel()
    assert 100 < looks < 250


async def test_a_flood_of_requests_of_one_cluster_waits_for_itself_alone(
    triggers: Triggers, queues: Queues
) -> None:
    flood = [
        with_(candidate(username="system:open-cluster-management:c2:a").request, name=f"f{n}")
        for n in range(1000)
    ]
    for item in flood:
        triggers.request(came(item))
    triggers.request(came(_request("honest")))
    assert len(queues.requests._dirty) <= 21
    assert Key("honest") in queues.requests._dirty
