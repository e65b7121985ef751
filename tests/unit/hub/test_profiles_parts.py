"""What is sent and kept for ClusterProfiles to the letter, and what is told of it."""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import anyio
import msgspec
import pytest
from attrs import define, evolve, field
from msgspec import Raw
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from msa.api import names
from msa.api.cluster import ClusterSpec, ManagedCluster
from msa.api.clusterprofile import (
    Access,
    ClusterProfile,
    FieldsOf,
    OwnedMeta,
    StoredClusterProfile,
    StoredStatus,
)
from msa.api.core import Secret
from msa.api.meta import OwnerReference
from msa.hub.fanout_causes import Causes
from msa.hub.leaving import Leavers
from msa.hub.profile_access import AccessReconciler
from msa.hub.profile_bodies import copy_patch
from msa.hub.profile_departures import Departures
from msa.hub.profile_ingest import keep_profile, keep_secret
from msa.hub.profile_telemetry import KINDS, ProfileTelemetry
from msa.hub.profile_writes import ProfileWrites
from msa.hub.profiles import PUBLISHED, ProfileCaches
from msa.policy.profiles import Provider, Reason, Rejection, providers_digest
from msa.runtime.errors import ApiError, Conflict, Forbidden, NotFound
from msa.runtime.freshness import Freshness
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecorder, ObjectReference
from msa.runtime.result import Done, Key, RequeueAfter
from msa.runtime.store import Change, StoreWriter, key_of
from tests.support.fanout_hub import binding
from tests.support.fleet import with_
from tests.support.profiles import (
    COPY,
    IDENTITY,
    OURS,
    PROFILE,
    REACHED,
    SOURCE,
    WANTED,
    profile,
    shown,
)
from tests.support.scripted_profiles import caches, groups, wall_clock
from tests.support.sent import Sent

R = TypeVar("R")


def _writes(requests: list[Any], error: ApiError | None = None) -> ProfileWrites:
    return ProfileWrites(Sent("secrets", requests, error), Sent("profiles", requests, error))


async def test_secrets_are_read_made_and_changed_in_their_own_namespaces() -> None:
    requests: list[Any] = []
    writes = _writes(requests)
    body: dict[str, Any] = {"metadata": {"namespace": "argo"}}
    assert (await writes.read("c1", "argocd")).metadata.resource_version == "8"
    assert await writes.create(body) == "8"
    assert await writes.rewrite(COPY.metadata, {"data": {}}) == "8"
    await writes.delete(COPY.metadata)
    assert requests == [
        ["secrets", "c1", "get", "argocd"],
        ["secrets", "argo", "create", body],
        ["secrets", "argo", "patch", "c1-argocd", "", {"data": {}}],
        ["secrets", "argo", "delete", "c1-argocd", "argo-copy-uid"],
    ]


@pytest.mark.parametrize("error", [NotFound("gone"), Conflict("another has its name")])
async def test_a_copy_that_is_gone_already_needs_no_deletion(error: ApiError) -> None:
    """It is no error."""
    await _writes([], error).delete(COPY.metadata)


async def test_a_deletion_that_the_hub_refuses_is_a_failure() -> None:
    with pytest.raises(Forbidden):
        await _writes([], Forbidden("no")).delete(COPY.metadata)


@pytest.mark.parametrize(("providers", "sent"), [(WANTED, WANTED), ([], None)])
async def test_access_is_published_at_the_version_that_was_read(
    providers: list[Provider], sent: list[Provider] | None
) -> None:
    requests: list[Any] = []
    assert await _writes(requests).publish(PROFILE, providers) == "8"
    body = {"metadata": {"resourceVersion": "5"}, "status": {"accessProviders": sent}}
    assert requests == [["profiles", "argo", "patch", "c1", "status", body]]


def test_a_rewrite_takes_away_what_the_source_does_not_have_and_says_nothing_of_owners() -> None:
    patch = copy_patch(COPY.metadata, frozenset(("token", "extra")), SOURCE)
    assert patch == {
        "metadata": {
            "resourceVersion": "9",
            "labels": {names.LABEL_SYNCED_FROM: "c1-argocd", names.LABEL_MANAGED: "true"},
            "annotations": {
                names.ANNOTATION_EXPIRATION: "2026-01-02T00:00:00Z",
                names.ANNOTATION_LAST_REFRESH: None,
            },
        },
        "data": {"extra": None, **(SOURCE.data or {})},
    }


def _stored(access: bytes = b"[]", older: bytes = b"[]", *owners: tuple[str, bytes]) -> StoredClusterProfile:
    fields = tuple(FieldsOf(manager, Raw(what)) for manager, what in owners)
    metadata = msgspec.convert(msgspec.to_builtins(PROFILE.metadata), OwnedMeta)
    return StoredClusterProfile(
        replace(metadata, managed_fields=fields), StoredStatus(Raw(access), Raw(older))
    )


ACCESS = msgspec.json.encode(WANTED)
WROTE = b'{"f:status":{"f:accessProviders":{}}}'


@pytest.mark.parametrize(
    ("stored", "access"),
    [
        (_stored(), Access()),
        (_stored(b"null", b"null"), Access()),
        (_stored(ACCESS, b"[]", ("msa", WROTE)), OURS),
        (
            _stored(ACCESS, b"[]", ("msa", WROTE), ("ocm", b'{"f:status":{"f:conditions":{}}}')),
            OURS,
        ),
        (
            _stored(ACCESS, b"[]", ("msa", WROTE), ("ocm", WROTE)),
            evolve(OURS, publishers=frozenset(("msa", "ocm"))),
        ),
        (_stored(ACCESS), evolve(OURS, publishers=frozenset())),
        (
            _stored(b"[]", ACCESS, ("ocm", b'{"f:status":{"f:credentialProviders":{}}}')),
            Access(OURS.names, frozenset(("ocm",)), ""),
        ),
        (_stored(b'{"not": "a list"}'), Access(names=("",))),
        (_stored(b"[1]"), Access(names=("",))),
    ],
)
def test_of_a_profile_is_kept_who_says_how_its_cluster_is_reached(
    stored: StoredClusterProfile, access: Access
) -> None:
    assert keep_profile(stored).access == access


def test_of_a_profile_and_a_secret_no_more_marks_are_kept_than_are_needed() -> None:
    many = {"x": "y", **(PROFILE.metadata.labels or {})}
    fat = replace(_stored(), metadata=replace(_stored().metadata, labels=many, annotations={"x": "y" * 1000}))
    assert keep_profile(fat).metadata == PROFILE.metadata
    kept = keep_secret(with_(COPY, labels={"x": "y", **(COPY.metadata.labels or {})}, finalizers=("f",)))
    assert kept == keep_secret(COPY)


@pytest.mark.parametrize(
    "providers",
    [
        b"[" * 5000 + b"]" * 5000,
        b'[{"name":' + b"[" * 5000 + b"]" * 5000 + b"}]",
        msgspec.json.encode(WANTED * 1000),
    ],
    ids=["deep", "deep name", "large"],
)
def test_providers_that_are_too_deep_or_too_large_are_somebody_elses(providers: bytes) -> None:
    """RecursionError at 960 levels once ended the manager under Python 3.11."""
    for stored in (_stored(providers), _stored(b"[]", providers)):
        assert keep_profile(stored).access == Access(names=("",))


def _size(kept: object) -> int:
    return len(repr(kept))


def test_what_is_kept_of_hostile_profiles_and_secrets_is_bounded() -> None:
    owners = tuple(OwnerReference("v1", "ConfigMap", f"n{number}", f"u{number}") for number in range(10_000))
    writers = tuple((f"{number}" * 50, WROTE) for number in range(1000))
    profile = _stored(msgspec.json.encode([{"name": "x" * 500}] * 100), b"[]", *writers)
    profile = replace(profile, metadata=replace(profile.metadata, owner_references=owners))
    assert _size(keep_profile(profile)) < 16 * 1024
    marks = {names.ANNOTATION_LAST_REFRESH: "x" * 250_000}
    data = {f"key{number}": "" for number in range(50_000)}
    secret = with_(COPY, data=data, annotations=marks, owner_references=owners, type="x" * 100_000)
    assert _size(keep_secret(secret)) < 16 * 1024


def test_a_profile_is_read_from_the_wire() -> None:
    wire = b"""{"metadata": {"name": "c1", "namespace": "argo", "managedFields": [{"manager": "msa", "operation": "Update",
      "fieldsV1": {"f:status": {"f:accessProviders": {}}}}]}, "status": {"accessProviders": [{"name": "x", "cluster": {}}]}}"""
    kept = keep_profile(msgspec.json.decode(wire, type=StoredClusterProfile))
    assert kept.access == Access(
        ("x",), frozenset(("msa",)), providers_digest([{"name": "x", "cluster": {}}])
    )


@define
class Publishing:
    """Of `ProfileHub`, `FreshHub` and `ProfileObserver` what the publishing needs."""

    error: ApiError | None = None
    bound: bool = False
    sent: list[Any] = field(factory=list)
    told: list[Any] = field(factory=list)
    held_now: dict[str, int] = field(factory=dict)

    async def publish(self, profile: ClusterProfile, providers: Sequence[Provider]) -> str:
        if self.error is not None:
            raise self.error
        self.sent.append((key_of(profile), list(providers)))
        return "70"

    def published(self, profile: str, *, withdrawn: bool) -> None:
        self.told.append((profile, withdrawn))

    async def may_use(self, _namespace: str, _cluster: str) -> bool:
        return self.bound

    def held(self, profile: ClusterProfile) -> None:
        self.told.append(("held", profile.metadata.name))

    def holding(self, kind: str, count: int) -> None:
        self.held_now[kind] = count


def _publisher(hub: Any, known: ProfileCaches, freshness: Freshness | None = None) -> AccessReconciler:
    profiles, causes = known.profiles, Causes(known.groups.sets, known.groups.bindings)
    leavers = Leavers(profiles, lambda: profiles.count(PUBLISHED, ""), partial(hub.holding, "access"))
    departures = Departures(leavers, hub, wall_clock)
    return AccessReconciler(known, hub, freshness or Freshness(), hub, causes, hub, departures)


async def _publish(
    hub: Any, *profiles: ClusterProfile, member: ManagedCluster = REACHED, bound: bool = True
) -> Freshness:
    known, freshness = evolve(caches(), groups=groups("argo") if bound else groups()), Freshness()
    for item in profiles:
        StoreWriter(known.profiles).put(item)
    StoreWriter(known.clusters).put(with_(member, resource_version="3"))
    assert await _publisher(hub, known, freshness)(Key("argo/c1")) == Done()
    return freshness


async def test_a_profile_is_told_how_to_reach_its_cluster_and_waits_until_the_cache_shows_it() -> None:
    hub = Publishing()
    freshness = await _publish(hub, shown(Access()))
    assert hub.sent == [("argo/c1", WANTED)]
    assert hub.told == [("argo/c1", False)]
    assert freshness.lag(Key("argo/c1"), 0.0) is not None


async def test_a_withdrawal_is_told_as_one() -> None:
    hub = Publishing()
    await _publish(hub, shown(OURS), member=with_(REACHED, spec=ClusterSpec(hub_accepts_client=False)))
    assert hub.sent == [("argo/c1", [])]
    assert hub.told == [("argo/c1", True)]


async def test_the_way_to_a_cluster_is_not_shown_where_no_set_with_it_is_bound() -> None:
    hub = Publishing()
    await _publish(hub, shown(Access()), bound=False)
    assert hub.sent == []


def _shown_with(known: ProfileCaches) -> Key:
    StoreWriter(known.profiles).put(shown(OURS))
    StoreWriter(known.clusters).put(with_(REACHED, resource_version="3"))
    return Key("argo/c1")


async def test_the_way_is_withdrawn_at_once_where_a_binding_was_seen_being_deleted() -> None:
    hub, known = Publishing(), evolve(caches(), groups=groups("argo"))
    key, publisher = _shown_with(known), _publisher(hub, known)
    assert await publisher(key) == Done()
    change = StoreWriter(known.groups.bindings).remove(binding("global", "argo"))
    assert change is not None
    publisher.causes.binding(change)
    assert await publisher(key) == Done()
    assert hub.sent == [("argo/c1", [])]


async def test_where_a_binding_is_only_missing_the_way_is_shown_until_the_hub_was_asked_once_more() -> None:
    hub, known = Publishing(), evolve(caches(), groups=groups())
    key, publisher = _shown_with(known), _publisher(hub, known)
    hub.bound = True
    for _ in range(3):
        assert await publisher(key) == RequeueAfter(60.0)
        await anyio.sleep(60)
    assert hub.sent == []
    hub.bound = False
    assert await publisher(key) == Done()
    assert hub.sent == [("argo/c1", [])]


async def test_while_a_cluster_is_only_missing_the_way_to_it_stays() -> None:
    hub, known = Publishing(), evolve(caches(), groups=groups("argo"))
    StoreWriter(known.profiles).put(shown(OURS))
    publisher = _publisher(hub, known)
    assert await publisher(Key("argo/c1")) == Done()
    assert hub.sent == []
    publisher.causes.cluster(Change(Key("c1"), REACHED, None))
    assert await publisher(Key("argo/c1")) == Done()
    assert hub.sent == [("argo/c1", [])]


async def test_most_ways_at_once_are_held() -> None:
    hub, known = Publishing(), evolve(caches(), groups=groups())
    names_ = [f"c{number}" for number in range(1, 7)]
    for name in names_:
        StoreWriter(known.profiles).put(evolve(profile("argo", name), access=OURS))
        StoreWriter(known.clusters).put(with_(REACHED, name=name, resource_version="3"))
    publisher = _publisher(hub, known)
    for seconds in (60, 830):
        for name in names_:
            assert isinstance(await publisher(Key(f"argo/{name}")), RequeueAfter)
        await anyio.sleep(seconds)
    assert (hub.sent, hub.held_now) == ([], {"access": 6})
    await anyio.sleep(11)
    for name in names_:
        await publisher(Key(f"argo/{name}"))
    assert len(hub.sent) == 6


async def test_what_is_published_or_gone_is_not_written() -> None:
    hub = Publishing()
    await _publish(hub, shown(OURS))
    await _publish(hub)
    assert hub.sent == []
    hub.error = NotFound("it went meanwhile")
    await _publish(hub, shown(Access()))
    assert hub.told == []


@define
class Listener(EventRecorder):
    heard: list[tuple[ObjectReference, str, str, str]] = field(factory=list)

    def record(
        self, regarding: ObjectReference, type_: str, reason: str, message: str, *, lasting: bool = False
    ) -> None:
        self.heard.append((regarding, type_, reason, message))


def _value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_a_refusal_is_counted_each_time_and_told_by_one_event_on_the_identity(logged: list[Any]) -> None:
    metrics, listener = Metrics(CollectorRegistry()), Listener()
    telemetry = ProfileTelemetry(metrics, listener)
    assert _value(metrics.registry, "msa_profile_refusals_total", reason="ProfileSecretNameTooLong") == 0
    rejection = Rejection(Reason.CONFLICT, "delete it")
    telemetry.refused(IDENTITY, rejection, repeated=False)
    telemetry.refused(IDENTITY, rejection, repeated=True)
    ((regarding, *event),) = listener.heard
    assert event == ["Warning", "ProfileSecretConflict", "delete it"]
    assert regarding == ObjectReference(
        "authentication.open-cluster-management.io/v1beta1",
        "ManagedServiceAccount",
        "c1",
        "argocd",
        "c1-argocd-uid",
    )
    assert _value(metrics.registry, "msa_profile_refusals_total", reason="ProfileSecretConflict") == 2
    assert [line["log_level"] for line in logged] == ["warning", "debug"]
    assert logged[0]["reason"] == "ProfileSecretConflict"


def test_a_hold_is_an_event_on_the_profile_that_says_how_to_end_it_and_a_gauge(logged: list[Any]) -> None:
    metrics, listener = Metrics(CollectorRegistry()), Listener()
    telemetry = ProfileTelemetry(metrics, listener)
    telemetry.held(PROFILE)
    telemetry.holding("copy", 6)
    ((regarding, type_, reason, message),) = listener.heard
    assert regarding == ObjectReference(
        "multicluster.x-k8s.io/v1alpha1", "ClusterProfile", "argo", "c1", "argo-c1-uid"
    )
    assert (type_, reason) == ("Warning", "RemovalHeld")
    assert "kubectl annotate --overwrite clusterprofile -n argo c1 " in message
    held = {kind: _value(metrics.registry, "msa_profile_removals_held", kind=kind) for kind in KINDS}
    assert held == {"copy": 6, "access": 0}
    assert [line["event"] for line in logged] == ["profile_removal_held"]


def test_writes_are_counted_by_verb_and_logged(logged: list[Any]) -> None:
    metrics = Metrics(CollectorRegistry())
    telemetry = ProfileTelemetry(metrics, Listener())
    telemetry.wrote("argo/c1-argocd", new=True)
    telemetry.wrote("argo/c1-argocd", new=False)
    telemetry.deleted("argo/c1-argocd")
    telemetry.published("argo/c1", withdrawn=False)
    telemetry.published("argo/c1", withdrawn=True)
    verbs = ("create", "rewrite", "delete")
    assert [_value(metrics.registry, "msa_profile_writes_total", verb=verb) for verb in verbs] == [1, 1, 1]
    assert [line["event"] for line in logged] == [
        "profile_secret_written",
        "profile_secret_written",
        "profile_secret_deleted",
        "access_published",
        "access_withdrawn",
    ]


def test_a_secret_from_the_wire_is_kept_without_its_content() -> None:
    wire = msgspec.json.encode(SOURCE)
    kept = keep_secret(msgspec.json.decode(wire, type=Secret))
    assert kept == keep_secret(SOURCE)
    assert kept.keys == {"token", "ca.crt"}
