"""The ManifestWork that carries what identities hang on: when it is written, and that the agent's waits for it where it must."""

from random import Random
from typing import Any

import anyio
import msgspec
import pytest
from attrs import define, field
from prometheus_client import CollectorRegistry

from msa.api import names
from msa.api.addon import AddonStatus
from msa.api.meta import Condition, ObjectMeta
from msa.api.work import APPLIED, ManifestWork, Work
from msa.hub import render
from msa.hub.identities_work import IdentitiesWorkReconciler, Triggers
from msa.hub.ingest import keep_work
from msa.hub.objects import R
from msa.hub.ports import Kind
from msa.runtime.backoff import Backoff
from msa.runtime.freshness import Freshness
from msa.runtime.metrics import Metrics
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.result import Key
from msa.runtime.store import Change, StoreWriter
from tests.support.fleet import CLUSTER, Fleet, addon, install, reconciler_of, settle, with_

NAMESPACE = "agents"


@define
class Works:
    """The resource, scripted: `hub.objects.Objects`, as far as it is used."""

    fleet: Fleet
    sent: list[str] = field(factory=list)
    body: dict[str, Any] = field(factory=dict)

    def within(self, namespace: str) -> "Works":
        assert namespace == CLUSTER
        return self

    async def create(self, body: Any, *, into: type[R]) -> R:
        self.sent.append("create")
        return self._keep(body, into)

    async def json_patch(self, _name: str, operations: Any, *, into: type[R]) -> R:
        self.sent.append("patch")
        spec = next(item["value"] for item in operations if item["path"] == "/spec")
        return self._keep({**self.body, "spec": spec}, into)

    def _keep(self, body: dict[str, Any], into: type[R]) -> R:
        self.body = body
        self.fleet.version += 1
        version = str(self.fleet.version)
        stored = keep_work(msgspec.json.decode(msgspec.json.encode(body), type=ManifestWork))
        StoreWriter(self.fleet.identities_works).put(with_(stored, resource_version=version))
        return into(ObjectMeta(resource_version=version))  # type: ignore[call-arg]  # Written

    async def get(self, name: str, *, into: type[R]) -> R:
        raise NotImplementedError

    async def patch(self, name: str, body: object, *, into: type[R], subresource: str = "") -> R:
        raise NotImplementedError

    async def delete(self, name: str, *, uid: str = "") -> None:
        raise NotImplementedError


@pytest.fixture
def works(fleet: Fleet) -> Works:
    fleet.put(with_(addon(), status=AddonStatus(namespace=NAMESPACE)))
    return Works(fleet)


def _reconciler(works: Works) -> IdentitiesWorkReconciler:
    return IdentitiesWorkReconciler(works.fleet.addons, works.fleet.identities_works, works, Freshness())


def _objects(works: Works) -> list[tuple[str, str, str]]:
    return [
        (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])
        for item in works.body["spec"]["workload"]["manifests"]
    ]


async def test_it_is_written_once_beside_the_agents_own_and_goes_with_the_addon_alone(works: Works) -> None:
    reconcile = _reconciler(works)
    await reconcile(CLUSTER)
    await reconcile(CLUSTER)
    assert works.sent == ["create"]
    assert _objects(works) == [("Namespace", "", NAMESPACE), ("ConfigMap", NAMESPACE, names.ANCHOR)]
    metadata = works.body["metadata"]
    assert metadata["name"] == "addon-managed-serviceaccount-identities"
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("ManagedClusterAddOn", names.ADDON)
    assert "open-cluster-management.io/addon-name" not in metadata["labels"], "OCM's framework deletes such"
    rules = works.body["spec"]["deleteOption"]["selectivelyOrphans"]["orphaningRules"]
    assert [(rule["resource"], rule["name"]) for rule in rules] == [("namespaces", NAMESPACE)]


async def test_it_follows_the_namespace_of_the_addon_and_is_put_right(works: Works) -> None:
    reconcile = _reconciler(works)
    await reconcile(CLUSTER)
    works.fleet.put(with_(works.fleet.addon(), status=AddonStatus(namespace="other")))
    await reconcile(CLUSTER)
    await reconcile(CLUSTER)
    assert works.sent == ["create", "patch"]
    assert _objects(works)[1] == ("ConfigMap", "other", names.ANCHOR)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": AddonStatus()},
        {"status": AddonStatus(namespace="../default")},
        {"owner_references": ()},
        {"deletion_timestamp": "now"},
    ],
    ids=["no namespace yet", "no namespace's name", "not the fleet's yet", "on its way out"],
)
async def test_nothing_is_written_for_an_addon_that_is_not_installed(
    works: Works, changes: dict[str, Any]
) -> None:
    moment = {name: works.fleet.now() if value == "now" else value for name, value in changes.items()}
    works.fleet.put(with_(works.fleet.addon(), **moment))
    await _reconciler(works)(CLUSTER)
    assert not works.sent


async def test_what_the_cluster_reports_of_it_is_no_reason_to_look_and_an_edit_of_it_is(works: Works) -> None:
    queue = WorkQueue("identitieswork", Backoff(Random(1)), Metrics(CollectorRegistry()))
    triggers, key = Triggers(queue), Key(f"{CLUSTER}/{names.IDENTITIES_WORK}")
    await _reconciler(works)(CLUSTER)
    stored = works.fleet.identities_works.get(key)
    assert stored is not None
    applied = with_(stored, conditions=(Condition(APPLIED, "True", "R", "", None, 1),), generation=1)
    triggers.work(Change(key, with_(stored, generation=1), applied))
    assert queue.statistics().ready[Lane.LIVE] == 0
    triggers.work(Change(key, applied, with_(applied, digest="another")))
    assert queue.statistics().ready[Lane.LIVE] == 1


async def test_an_addon_that_is_missing_takes_nothing_away(works: Works) -> None:
    await _reconciler(works)(CLUSTER)
    works.fleet.take(addon())
    await _reconciler(works)(CLUSTER)
    assert works.sent == ["create"], "the hub's garbage collector deletes it with the addon"


async def test_the_agents_work_that_carried_the_config_map_itself_waits_until_the_other_is_applied(
    fleet: Fleet,
) -> None:
    """Before ADR 0011: the work agent would delete what is no longer listed, unless another work owns it, too."""
    await install(fleet)
    stored = fleet.get(Kind.WORK)
    fleet.put(_with_anchor(stored))
    reconcile = reconciler_of(fleet)
    await settle(fleet, reconcile)
    assert "rewrite ManifestWork" not in fleet.writes
    work = render.identities_work(fleet.addon(), NAMESPACE)
    kept = keep_work(msgspec.json.decode(msgspec.json.encode(work), type=ManifestWork))
    said = Condition(APPLIED, "True", "R", "", fleet.now(), 1)
    applied = with_(kept, conditions=(said,), generation=1, resource_version="90")
    StoreWriter(fleet.identities_works).put(applied)
    await settle(fleet, reconcile)
    assert "rewrite ManifestWork" in fleet.writes


def _with_anchor(stored: Work) -> Work:
    return with_(stored, digest="older", carries_anchor=True)


def test_which_work_carries_the_config_map_is_seen_in_its_spec() -> None:
    listed = {"workload": {"manifests": [{"kind": "ConfigMap", "metadata": {"name": names.ANCHOR}}]}}
    named = {"workload": {"manifests": [{"kind": "Role", "rules": [{"resourceNames": [names.ANCHOR]}]}]}}
    found = [
        keep_work(ManifestWork(ObjectMeta(), msgspec.Raw(msgspec.json.encode(spec)))).carries_anchor
        for spec in (listed, named)
    ]
    assert found == [True, False]


async def test_what_else_is_written_of_an_addon_costs_no_look_and_a_duel_two_a_second(works: Works) -> None:
    queue = WorkQueue("identitieswork", Backoff(Random(1)), Metrics(CollectorRegistry()))
    triggers, looks, known = Triggers(queue), 0, addon()
    said = AddonStatus(namespace=known.status.namespace, conditions=(Condition("Available", "True"),))
    triggers.addon(Change(CLUSTER, known, with_(known, status=said)))
    assert sum(queue.statistics().ready.values()) == queue.statistics().delayed == 0
    await _reconciler(works)(CLUSTER)
    ours = works.fleet.identities_works.get(f"{CLUSTER}/{names.IDENTITIES_WORK}")
    assert ours is not None

    async def look() -> None:
        nonlocal looks
        while True:
            queue.done(await queue.get())
            looks += 1

    async with anyio.create_task_group() as group:
        group.start_soon(queue.run)
        group.start_soon(look)
        for number in range(1000):
            triggers.work(Change(CLUSTER, ours, with_(ours, digest=str(number))))
            await anyio.sleep(0.01)
        await anyio.sleep(1)
        group.cancel_scope.cancel()
    assert 20 <= looks <= 50
