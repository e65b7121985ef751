"""What is sent and kept for ClusterProfiles to the letter, and what is told of it."""

from typing import Any, TypeVar

import msgspec
import pytest
from attrs import define, evolve, field
from msgspec import Raw
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from msa.api import names
from msa.api.clusterprofile import (
    Access,
    FieldsOf,
    OwnedMeta,
    StoredClusterProfile,
    StoredStatus,
)
from msa.api.core import Secret
from msa.api.meta import OwnerReference
from msa.hub.profile_bodies import copy_patch
from msa.hub.profile_ingest import keep_profile, keep_secret
from msa.hub.profile_telemetry import KINDS, ProfileTelemetry
from msa.hub.profile_writes import ProfileWrites
from msa.policy.profiles import Provider, Reason, Rejection, providers_digest
from msa.runtime.errors import ApiError, Conflict, Forbidden, NotFound
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecorder, ObjectReference
from tests.support.fleet import with_
from tests.support.profiles import (
    COPY,
    IDENTITY,
    OURS,
    PROFILE,
    SOURCE,
    WANTED,
)
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
