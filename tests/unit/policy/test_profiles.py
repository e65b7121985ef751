"""Which copies of a credential ClusterProfiles shall have, and what they shall say of the way to their clusters."""

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from msgspec.structs import replace

from msa.api import names
from msa.api.cluster import ClientConfig, ClusterSpec, ManagedCluster
from msa.api.clusterprofile import Access, ClusterProfile, SecretFacts
from msa.api.core import Secret
from msa.api.fleet_identity import FanOutStatus
from msa.api.meta import Condition, OwnerReference
from msa.hub.profile_ingest import keep_secret
from msa.policy import profiles
from msa.policy.profiles import (
    Plan,
    Reason,
    Situation,
    Write,
    made_for,
    plan,
    providers_digest,
    providers_to_publish,
)
from tests.conftest import START
from tests.support.fleet import cluster, with_
from tests.support.profiles import (
    CA,
    COPY,
    IDENTITY,
    OURS,
    PROFILE,
    REACHED,
    SERVER,
    SOURCE,
    SYNC,
    TOKEN,
    WANTED,
    copy_of,
    identity,
    profile,
    reached,
    shown,
    source,
)


def situation(*copies: Secret, **changes: Any) -> Situation:
    """All is well, with these copies."""
    well = Situation(
        cluster="c1",
        name="argocd",
        identity=IDENTITY,
        member=cluster(),
        source=keep_secret(SOURCE),
        profiles=(PROFILE,),
        copies=tuple(map(keep_secret, copies)),
    )
    return evolve(well, **changes)


def test_a_profile_without_its_copy_gets_one() -> None:
    assert plan(situation()) == Plan(writes=(Write(PROFILE, "c1-argocd", None),))


def test_each_profile_of_the_cluster_gets_one_in_its_own_namespace() -> None:
    others = (profile("fleet"), profile("argo"))
    decided = plan(situation(COPY, profiles=others))
    assert [write.place for write in decided.writes] == ["fleet/c1-argocd"]


def test_a_copy_that_says_what_its_source_says_is_left_as_it_is() -> None:
    assert plan(situation(COPY)) == Plan()


@pytest.mark.parametrize(
    "altered",
    [
        with_(COPY, data={"token": "b3RoZXI=", "ca.crt": "Y2E="}),
        with_(COPY, data={"token": "dG9rZW4x"}),
        with_(COPY, data={**(COPY.data or {}), "extra": "eA=="}),
        with_(COPY, data=None),
        with_(COPY, labels={names.LABEL_SYNCED_FROM: "other", **names.MANAGED_LABELS}),
        with_(COPY, labels={names.LABEL_SYNCED_FROM: "c1-argocd"}),
        with_(COPY, annotations=None),
        with_(
            COPY,
            annotations={**(COPY.metadata.annotations or {}), names.ANNOTATION_LAST_REFRESH: "yesterday"},
        ),
        with_(COPY, type="Other"),
        with_(COPY, immutable=True),
    ],
)
def test_a_copy_that_says_something_else_is_written(altered: Secret) -> None:
    (write,) = plan(situation(altered)).writes
    assert write.stored == keep_secret(altered)
    assert write.anew == (altered.immutable or altered.type != "Opaque")


def test_what_others_add_to_a_copys_labels_and_annotations_is_no_reason_to_write() -> None:
    labels, annotations = COPY.metadata.labels or {}, COPY.metadata.annotations or {}
    assert plan(
        situation(with_(COPY, labels={"x": "y", **labels}, annotations={"x": "y", **annotations}))
    ) == (Plan())


@pytest.mark.parametrize("value", ["true", "", "yes"])
def test_any_other_value_of_the_label_asks_for_copies(value: str) -> None:
    assert plan(situation(identity=with_(IDENTITY, labels={SYNC: value}))).writes


def test_while_nobody_knows_which_profiles_there_are_nothing_is_written() -> None:
    assert plan(situation(profiles=None)) == Plan()


@pytest.mark.parametrize(
    "unwanted",
    [
        {"identity": None},
        {"identity": with_(IDENTITY, labels={SYNC: "false"})},
        {"identity": with_(IDENTITY, deletion_timestamp=START)},
        {"member": None},
        {"member": cluster(deletion_timestamp=START)},
        {"profiles": (with_(PROFILE, deletion_timestamp=START),)},
        {"profiles": (with_(PROFILE, labels=None),)},
    ],
)
def test_where_no_copy_belongs_none_is_written(unwanted: dict[str, Any]) -> None:
    altered = with_(COPY, data={"token": "b3RoZXI=", "ca.crt": "Y2E="})
    assert plan(situation(**unwanted)) == plan(situation(altered, **unwanted)) == Plan()


def test_the_copy_of_an_earlier_profile_is_not_written() -> None:
    altered = with_(COPY, data={"token": "b3RoZXI=", "ca.crt": "Y2E="})
    assert plan(situation(altered, profiles=(with_(PROFILE, uid="another-profile"),))) == Plan()


@pytest.mark.parametrize(
    "missing",
    [
        None,
        with_(SOURCE, labels=None),
        with_(SOURCE, owner_references=()),
        with_(SOURCE, owner_references=(OwnerReference("g/v1", names.KIND, "argocd", "earlier-uid"),)),
        with_(SOURCE, data={"ca.crt": "Y2E="}),
        with_(SOURCE, data={"token": "", "ca.crt": "Y2E="}),
    ],
)
def test_while_the_source_is_missing_or_not_the_identitys_own_the_copies_stay_as_they_are(
    missing: Secret | None,
) -> None:
    altered = with_(COPY, data={"token": "b3RoZXI=", "ca.crt": "Y2E="})
    found = keep_secret(missing) if missing is not None else None
    assert plan(situation(altered, source=found)) == Plan()
    assert plan(situation(source=found)) == Plan()


def test_a_source_owned_by_nobody_is_not_that_of_an_identity_without_uid() -> None:
    stray = with_(SOURCE, owner_references=())
    assert not plan(situation(source=keep_secret(stray), identity=with_(IDENTITY, uid=""))).writes


def test_what_else_is_in_the_source_is_not_copied_and_no_reason_to_write() -> None:
    fat = with_(SOURCE, data={**(SOURCE.data or {}), "extra": "eA=="})
    assert plan(situation(COPY, source=keep_secret(fat))) == Plan()


def test_a_secret_of_another_identity_with_the_same_name_is_refused_and_named() -> None:
    """Cluster a-b and identity c, cluster a and identity b-c."""
    first, second = identity("c", "a-b"), identity("b-c", "a")
    copy = copy_of(source(first), profile("argo", "a-b"))
    decided = plan(
        situation(
            copy,
            cluster="a",
            name="b-c",
            identity=second,
            member=cluster("a"),
            source=keep_secret(source(second)),
            profiles=(profile("argo", "a"), profile("fleet", "a")),
        )
    )
    assert [write.place for write in decided.writes] == ["fleet/a-b-c"]
    (rejection,) = decided.rejections
    assert rejection.reason is Reason.CONFLICT
    assert "argo/a-b-c" in rejection.message
    assert "ManagedServiceAccount a-b/c" in rejection.message


@pytest.mark.parametrize(
    ("api_version", "kind", "name", "controller"),
    [
        ("multicluster.x-k8s.io/v1alpha1", "ClusterProfile", "c1", False),
        ("multicluster.x-k8s.io/v1alpha1", "ClusterProfile", "c2", True),
        ("multicluster.x-k8s.io/v1alpha1", "ClusterProfile", "c1-argocd", True),
        ("multicluster.x-k8s.io/v1alpha1", "Other", "c1", True),
        ("example.com/v1", "ClusterProfile", "c1", True),
    ],
)
def test_a_secret_that_a_profile_of_the_cluster_does_not_control_is_refused_and_never_deleted(
    api_version: str, kind: str, name: str, controller: bool
) -> None:
    owner = OwnerReference(api_version, kind, name, PROFILE.metadata.uid, controller=controller)
    foreign = with_(COPY, owner_references=(owner,))
    decided = plan(situation(foreign))
    assert decided.writes == ()
    assert [rejection.reason for rejection in decided.rejections] == [Reason.CONFLICT]
    assert situation(foreign, identity=None).ours == ()


@pytest.mark.parametrize(
    ("status", "reason", "stays"),
    [
        ("False", "TokenExpired", False),
        ("False", "AddonRemoved", False),
        ("Unknown", "AgentUnavailable", True),
        ("False", "SecretContested", True),
        ("True", "TokenFresh", True),
    ],
)
def test_of_a_token_that_can_be_used_no_more_no_copy_is_made(
    status: str, reason: str, *, stays: bool
) -> None:
    ready = FanOutStatus(conditions=(Condition("Ready", status, reason),))
    anew = plan(situation(identity=replace(IDENTITY, status=ready)))
    assert bool(anew.writes) is stays


def test_a_secret_without_our_label_is_nobodys_copy() -> None:
    assert made_for(keep_secret(with_(COPY, labels=names.MANAGED_LABELS))) is None
    assert made_for(keep_secret(COPY)) == "c1/argocd"


def test_a_copy_of_a_later_version_of_the_profile_api_is_ours_too() -> None:
    (owner,) = COPY.metadata.owner_references
    later = replace(owner, api_version="multicluster.x-k8s.io/v1")
    assert made_for(keep_secret(with_(COPY, owner_references=(later,)))) == "c1/argocd"


@pytest.mark.parametrize(("length", "refused"), [(60, False), (61, True)])
def test_a_name_that_is_too_long_for_a_label_is_refused(length: int, refused: bool) -> None:
    """With the cluster's and a hyphen it is three longer."""
    long = identity("m" * length)
    decided = plan(situation(name=long.metadata.name, identity=long, source=keep_secret(source(long))))
    assert bool(decided.writes) is not refused
    assert [item.reason for item in decided.rejections] == ([Reason.NAME_TOO_LONG] if refused else [])


def test_no_credential_is_copied_to_where_another_clusters_agent_could_read_it() -> None:
    there, here = profile("c2"), profile("argo")
    stale = copy_of(SOURCE, there)
    decided = plan(situation(stale, profiles=(there, here), foreign=frozenset({"c2"})))
    assert [write.place for write in decided.writes] == ["argo/c1-argocd"]
    assert [item.reason for item in decided.rejections] == [Reason.FOREIGN_CLUSTER]
    assert "bind the cluster set to another namespace" in decided.rejections[0].message


def test_a_name_that_is_too_long_is_nobodys_trouble_where_there_is_no_profile() -> None:
    assert plan(situation(name="m" * 100, identity=identity("m" * 100), profiles=())) == Plan()


def test_a_copy_that_somebody_holds_while_it_is_being_deleted_is_not_written() -> None:
    held = with_(COPY, deletion_timestamp=START, data=None)
    assert plan(situation(held)) == Plan()


def publish(stored: ClusterProfile, member: ManagedCluster | None = REACHED) -> list[Any] | None:
    decided = providers_to_publish(stored, member)
    return None if decided is None else list(decided)


def test_a_profile_that_says_nothing_gets_the_clusters_first_address_for_cp_creds() -> None:
    assert publish(shown(Access())) == WANTED


def test_without_a_ca_the_systems_authorities_are_trusted() -> None:
    published = publish(shown(Access()), reached(ClientConfig(SERVER)))
    assert published is not None
    assert published[0]["cluster"].keys() == {"server", "extensions"}


@pytest.mark.parametrize(
    ("stored", "published"),
    [
        (lambda ca: "# für c1\n".encode() + ca, lambda ca: ca),
        (lambda ca: ca, lambda ca: ca),
        (lambda _: b"none", lambda _: b"none"),
    ],
    ids=["with text", "alone", "none"],
)
def test_of_a_cas_bundle_what_every_client_takes_is_published(
    ca: bytes, stored: Callable[[bytes], bytes], published: Callable[[bytes], bytes]
) -> None:
    """Where there is no certificate in it, a client must not trust the system's in its place."""
    found = publish(shown(Access()), reached(ClientConfig(SERVER, b64encode(stored(ca)).decode())))
    assert found is not None
    assert b64decode(found[0]["cluster"]["certificate-authority-data"]) == published(ca)


def test_what_is_published_already_is_not_written_again() -> None:
    assert publish(shown(OURS)) is None


def test_an_address_that_changed_is_published_over_ours() -> None:
    assert publish(shown(evolve(OURS, digest="of-the-old-one"))) == WANTED


@pytest.mark.parametrize(
    "others",
    [
        evolve(OURS, digest="another", publishers=frozenset(("registration-controller",))),
        evolve(OURS, digest="another", publishers=frozenset(("registration-controller", "msa"))),
        evolve(OURS, digest="another", publishers=frozenset()),
        evolve(OURS, digest="another", names=("somebody",)),
        evolve(OURS, digest="another", names=("open-cluster-management", "somebody")),
        evolve(OURS, digest="another", names=("open-cluster-management",) * 2),
    ],
)
def test_providers_that_somebody_else_wrote_are_left_to_him(others: Access) -> None:
    assert publish(shown(others)) is None
    assert publish(shown(others), None) is None


@pytest.mark.parametrize(
    "member",
    [
        None,
        cluster(),
        with_(REACHED, deletion_timestamp=START),
        with_(
            REACHED,
            spec=ClusterSpec(
                hub_accepts_client=False, managed_cluster_client_configs=(ClientConfig(SERVER, CA),)
            ),
        ),
        reached(ClientConfig("")),
    ],
)
def test_ours_is_withdrawn_when_the_cluster_is_not_to_be_reached_any_more(
    member: ManagedCluster | None,
) -> None:
    assert publish(shown(OURS), member) == []
    assert publish(shown(Access()), member) is None


def test_profiles_of_other_managers_are_not_published() -> None:
    assert publish(shown(Access(), labels=None)) is None
    assert publish(shown(Access(), deletion_timestamp=START)) is None


def test_the_digest_of_providers_does_not_depend_on_the_order_of_their_fields() -> None:
    (wanted,) = WANTED
    assert providers_digest([dict(reversed(wanted.items()))]) == providers_digest(WANTED)
    assert providers_digest([{**wanted, "name": "x"}]) != providers_digest(WANTED)


def test_facts_hold_no_token() -> None:
    facts: SecretFacts = keep_secret(SOURCE)
    assert TOKEN not in repr(facts)
    assert len(facts.digest) == 64
    assert profiles.LONGEST_NAME == 63
