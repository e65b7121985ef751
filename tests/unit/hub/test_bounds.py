"""What is kept of objects that are as large as etcd lets them be: a stated bound for each kind, and what honest objects have is kept."""

import time
from collections.abc import Callable
from typing import Any

import attrs
import msgspec
import pytest
from msgspec import Raw, Struct

from msa.api import names
from msa.api.addon import AddOnDeploymentConfig, AddonSpec, ClusterManagementAddOn, StoredClusterAddOn
from msa.api.certificates import SigningRequest, SigningRequestSpec
from msa.api.cluster import ClientConfig, ClusterSpec, ManagedCluster
from msa.api.clusterset import (
    BindingSpec,
    Decision,
    Decisions,
    ManagedClusterSet,
    ManagedClusterSetBinding,
    PlacementDecision,
)
from msa.api.fleet_identity import StoredFleetIdentity
from msa.api.meta import ObjectMeta, OwnerReference
from msa.api.rbac import StoredRoleBinding
from msa.api.work import ManifestWork
from msa.hub import ingest
from msa.hub.render import spec_digest
from msa.hub.request_texts import RequestTexts

LARGE = 1_400_000
KIB = 1024
TEXT = "x" * LARGE
PREFIX = "open-cluster-management.io/"
OURS = f"{names.GROUP}/"


def _marks(prefix: str) -> dict[str, str]:
    return {f"{prefix}{number}": "v" * 40 for number in range(LARGE // 60)}


FULL = ObjectMeta(
    name="one",
    namespace="c1",
    uid="u",
    resource_version="1",
    labels=_marks(PREFIX) | _marks(OURS),
    annotations={**_marks(PREFIX), **_marks(OURS), f"{PREFIX}image-registries": TEXT},
    owner_references=tuple(OwnerReference("v1", "K", TEXT[:2000], str(number)) for number in range(700)),
    finalizers=tuple(f"example.com/{number}" for number in range(60_000)),
)
CONDITION = {"type": "Applied", "status": "False", "reason": "R", "message": "m" * 400}
STATUS = Raw(
    msgspec.json.encode(
        {
            "conditions": [{**CONDITION, "type": f"T{number}"} for number in range(2500)],
            "registrations": [{"signerName": TEXT[:1000], "subject": {"groups": [TEXT[:1000]] * 50}}] * 4,
            "audiences": [TEXT[:100]] * 1000,
            "resourceStatus": {
                "manifests": [
                    {
                        "resourceMeta": {"kind": "Deployment", "name": names.AGENT_DEPLOYMENT},
                        "conditions": [CONDITION],
                    }
                ]
                * 2000
            },
        }
    )
)
SPEC = Raw(
    msgspec.json.encode({"workload": [{"a": number} for number in range(LARGE // 10)], "text": TEXT[:1000]})
)
REQUEST = SigningRequest(
    FULL,
    SigningRequestSpec(TEXT, TEXT, ("any",) * 100_000, None, TEXT, tuple(TEXT[:14] for _ in range(100_000))),
)

KINDS: dict[str, tuple[Callable[[], Any], int]] = {
    "ManagedCluster": (
        lambda: ingest.keep_cluster(
            ManagedCluster(FULL, ClusterSpec(managed_cluster_client_configs=(ClientConfig("u", TEXT),) * 100))
        ),
        128 * KIB,
    ),
    "ManagedClusterAddOn": (
        lambda: ingest.keep_addon(StoredClusterAddOn(FULL, AddonSpec(TEXT), STATUS)),
        256 * KIB,
    ),
    "ClusterManagementAddOn": (lambda: ingest.keep_fleet(ClusterManagementAddOn(FULL)), 96 * KIB),
    "ManifestWork": (lambda: ingest.keep_work(ManifestWork(FULL, SPEC, STATUS)), 160 * KIB),
    "AddOnDeploymentConfig": (lambda: ingest.keep_config(AddOnDeploymentConfig(FULL, SPEC)), 96 * KIB),
    "RoleBinding": (
        lambda: ingest.keep_binding(StoredRoleBinding(FULL, subjects=Raw(b'["' + TEXT.encode() + b'"]'))),
        96 * KIB,
    ),
    "ManagedServiceAccount": (
        lambda: ingest.keep_identity(StoredFleetIdentity(FULL, status=STATUS)),
        128 * KIB,
    ),
    "ManagedClusterSet": (lambda: ingest.keep_set(ManagedClusterSet(FULL)), 96 * KIB),
    "ManagedClusterSetBinding": (
        lambda: ingest.keep_set_binding(ManagedClusterSetBinding(FULL, BindingSpec(TEXT))),
        96 * KIB,
    ),
    "PlacementDecision": (
        lambda: ingest.keep_decision(PlacementDecision(FULL, Decisions((Decision("c" * 300),) * 50_000))),
        512 * KIB,
    ),
    "CertificateSigningRequest": (lambda: RequestTexts().keep(REQUEST), 64 * KIB),
}


@pytest.mark.parametrize(("keep", "bound"), KINDS.values(), ids=list(KINDS))
def test_of_an_object_at_etcds_limit_no_more_is_kept_than_is_stated(
    keep: Callable[[], Any], bound: int
) -> None:
    start = time.thread_time()
    kept = keep()
    assert _size(kept) <= bound
    assert time.thread_time() - start < 1.0  # some 50 ms; linear


def test_a_work_larger_than_we_write_is_told_by_its_bytes_and_not_read() -> None:
    kept = ingest.keep_work(ManifestWork(ObjectMeta(name="w"), SPEC))
    assert len(kept.digest) == len(spec_digest({}))
    assert kept.digest != spec_digest(msgspec.json.decode(SPEC))


def test_conditions_of_an_honest_size_are_kept_to_the_letter() -> None:
    long = {**CONDITION, "message": "m" * 30_000}
    stored = StoredClusterAddOn(ObjectMeta(), status=Raw(msgspec.json.encode({"conditions": [long]})))
    assert len(ingest.keep_addon(stored).status.conditions[0].message) == 30_000


def test_of_a_status_that_cannot_be_read_the_rest_is_kept() -> None:
    bad, good = {**CONDITION, "lastTransitionTime": "2016-12-31T23:59:60Z"}, CONDITION
    content = {"conditions": [bad, good, 7], "namespace": "agents", "registrations": 5}
    kept = ingest.keep_addon(
        StoredClusterAddOn(ObjectMeta(), status=Raw(msgspec.json.encode(content)))
    ).status
    assert [item.type for item in kept.conditions] == ["Applied"]
    assert kept.namespace == "agents"
    assert kept.registrations == ()


def test_a_message_with_control_characters_is_kept_escaped() -> None:
    condition = {"type": "Ready", "status": "False", "reason": "R", "message": "a\x1b[2Jb\u202ec\n"}
    status = Raw(msgspec.json.encode({"conditions": [condition]}))
    kept = ingest.keep_identity(StoredFleetIdentity(ObjectMeta(), status=status))
    assert kept.status.conditions[0].message == "a\\x1b[2Jb\\u202ec\\n"


def _size(kept: Any) -> int:
    """About the bytes of memory: 64 for each value, and its text."""
    match kept:
        case str() | bytes():
            return 64 + len(kept)
        case tuple() | list() | frozenset():
            return 64 + sum(map(_size, kept))
        case dict():
            return 64 + sum(_size(key) + _size(value) for key, value in kept.items())
        case Struct():
            return 64 + sum(_size(getattr(kept, name)) for name in kept.__struct_fields__)
        case _ if attrs.has(type(kept)):
            return 64 + sum(_size(getattr(kept, item.name)) for item in attrs.fields(type(kept)))
    return 8
