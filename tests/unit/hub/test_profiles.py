"""Copies of credentials for ClusterProfiles, with a scripted hub: what is asked of it, what is told, and when it is looked at again."""

from typing import Any

import anyio
import pytest
from attrs import evolve

from msa.api import names
from msa.api.cluster import ClusterSpec
from msa.api.clusterset import LABEL_CLUSTER_SET, BindingStatus, ManagedClusterSetBinding
from msa.api.meta import Condition
from msa.hub.cluster_sets import BINDINGS_BY_NAMESPACE, ClusterSets, by_namespace
from msa.hub.profile_pace import Pace
from msa.runtime.backoff import Backoff
from msa.runtime.errors import AlreadyExists, ApiError, Conflict, Forbidden, Network, NotFound
from msa.runtime.result import Done, Key, RequeueAfter, Result, Terminal
from msa.runtime.store import Store, StoreWriter
from tests.support.fanout_hub import binding, cluster_set
from tests.support.fleet import cluster, with_
from tests.support.profiles import (
    COPY,
    IDENTITY,
    PROFILE,
    SOURCE,
    identity,
    profile,
    source,
)
from tests.support.scripted_profiles import PLACE, Hub, Latest, groups

KEY = Key("c1/argocd")
ENDING = Forbidden(
    'secrets "c1-argocd" is forbidden: unable to create new content in namespace argo because it is being terminated'
)


@pytest.fixture
def hub() -> Hub:
    """An identity whose copies are asked for, and one profile that has none yet."""
    hub = Hub()
    hub.sync()
    hub.put(cluster(), IDENTITY, SOURCE, PROFILE)
    return hub


async def test_a_new_copy_takes_one_read_and_one_write(hub: Hub) -> None:
    assert await hub.reconcile(KEY) == Done()
    assert hub.requests == ["get c1/argocd", f"create {PLACE}"]
    assert hub.told == [("wrote", PLACE, True)]
    (body,) = hub.bodies
    assert body["type"] == "Opaque"
    assert body["data"] == SOURCE.data
    metadata = body["metadata"]
    assert metadata["labels"] == {
        "authentication.open-cluster-management.io/synced-from": "c1-argocd",
        "authentication.open-cluster-management.io/is-managed-serviceaccount": "true",
    }
    assert metadata["annotations"] == {
        "authentication.open-cluster-management.io/expirationTimestamp": "2026-01-02T00:00:00Z"
    }
    assert metadata["ownerReferences"] == [
        {
            "apiVersion": "multicluster.x-k8s.io/v1alpha1",
            "kind": "ClusterProfile",
            "name": "c1",
            "uid": "argo-c1-uid",
            "controller": True,
        }
    ]


async def test_where_all_is_right_a_manager_that_starts_asks_nothing(hub: Hub) -> None:
    await hub.reconcile(KEY)
    hub.restart()
    assert await hub.reconcile(KEY) == Done()
    assert hub.requests == []


async def test_all_profiles_of_the_cluster_get_their_copies_by_one_read(hub: Hub) -> None:
    hub.put(profile("fleet"), profile("other", "c2"))
    await hub.reconcile(KEY)
    assert hub.requests == ["get c1/argocd", f"create {PLACE}", "create fleet/c1-argocd"]


async def test_a_renewed_token_takes_one_read_and_one_write(hub: Hub) -> None:
    await hub.reconcile(KEY)
    hub.restart()
    renewed = source(IDENTITY, "bmV3", annotations={names.ANNOTATION_LAST_REFRESH: "2026-01-01T12:00:00Z"})
    hub.put(renewed)
    assert await hub.reconcile(KEY) == Done()
    assert hub.requests == ["get c1/argocd", f"patch {PLACE}"]
    assert hub.told == [("wrote", PLACE, False)]
    assert hub.said() == renewed.data
    assert hub.secrets[PLACE].metadata.annotations == renewed.metadata.annotations  # the old expiry is gone


async def test_what_others_put_on_a_copy_survives_every_change(hub: Hub) -> None:
    await hub.reconcile(KEY)
    marks = {"backup": "yes"}
    made = hub.secrets[PLACE]
    hub.put(
        with_(
            made,
            labels={**marks, **(made.metadata.labels or {})},
            annotations={**marks, **(made.metadata.annotations or {})},
        )
    )
    hub.put(source(IDENTITY, "bmV3"))
    await anyio.sleep(1)
    await hub.reconcile(KEY)
    metadata = hub.secrets[PLACE].metadata
    assert (metadata.label("backup"), metadata.annotation("backup")) == ("yes", "yes")
    assert hub.said()["token"] == "bmV3"


async def test_a_copy_that_somebody_altered_is_put_right_and_what_was_added_goes(hub: Hub) -> None:
    await hub.reconcile(KEY)
    hub.put(with_(hub.secrets[PLACE], data={"token": "b3RoZXI=", "more": "eA=="}))
    await anyio.sleep(1)
    await hub.reconcile(KEY)
    assert hub.said() == SOURCE.data


async def test_what_is_written_is_what_was_read_and_the_key_waits_until_the_cache_shows_that(
    hub: Hub,
) -> None:
    newer = with_(source(IDENTITY, "bmV3"), resource_version="150")
    hub.secrets["c1/argocd"] = newer
    await hub.reconcile(KEY)
    assert hub.said() == newer.data
    StoreWriter(hub.caches.copies).progress(str(hub.version))
    assert hub.freshness.lag(KEY, anyio.current_time()) == pytest.approx(10.0)
    StoreWriter(hub.caches.sources).progress("150")
    assert hub.freshness.lag(KEY, anyio.current_time()) is None


async def test_a_key_waits_until_the_cache_of_copies_shows_our_write(hub: Hub) -> None:
    await hub.reconcile(KEY)
    StoreWriter(hub.caches.sources).progress(str(hub.version))
    assert hub.freshness.lag(KEY, anyio.current_time()) == pytest.approx(10.0)
    StoreWriter(hub.caches.copies).progress(str(hub.version))
    assert hub.freshness.lag(KEY, anyio.current_time()) is None


@pytest.mark.parametrize("gone", ["missing", "stolen"])
async def test_a_source_that_goes_between_cache_and_read_is_not_copied(hub: Hub, gone: str) -> None:
    if gone == "missing":
        del hub.secrets["c1/argocd"]
    else:
        hub.secrets["c1/argocd"] = with_(SOURCE, owner_references=())
    assert await hub.reconcile(KEY) == Done()
    assert hub.requests == ["get c1/argocd"]


@pytest.mark.parametrize("what", ["identity", "cluster", "label"])
async def test_a_copy_goes_at_once_with_what_it_was_made_for(hub: Hub, what: str) -> None:
    await hub.reconcile(KEY)
    hub.restart()
    match what:
        case "identity":
            hub.take(IDENTITY)
        case "cluster":
            hub.take(cluster())
        case "label":
            hub.put(with_(IDENTITY, labels=None))
    assert await hub.reconcile(KEY) == Done()
    assert hub.requests == [f"delete {PLACE}"]
    assert hub.told == [("deleted", PLACE)]
    assert PLACE not in hub.secrets


async def test_the_copy_of_an_earlier_profile_of_that_name_is_made_anew_once_it_is_gone(hub: Hub) -> None:
    await hub.reconcile(KEY)
    hub.restart()
    hub.put(with_(PROFILE, uid="later-uid"))
    await hub.reconcile(KEY)
    assert hub.requests == [f"delete {PLACE}"]
    await anyio.sleep(1)
    await hub.reconcile(KEY)
    assert hub.secrets[PLACE].metadata.owner_references[0].uid == "later-uid"


async def test_before_the_profiles_are_known_no_copy_is_deleted(hub: Hub) -> None:
    hub = Hub()
    hub.put(cluster(), IDENTITY, SOURCE, COPY)
    assert await hub.reconcile(KEY) == Done()
    assert hub.requests == []


@pytest.mark.parametrize("altered", [{"immutable": True}, {"type": "Other"}])
async def test_a_copy_that_cannot_be_changed_is_made_anew_and_the_credential_is_at_hand_before_it_goes(
    hub: Hub, altered: dict[str, Any]
) -> None:
    hub.put(with_(COPY, **altered))
    assert await hub.reconcile(KEY) == Done()
    assert hub.requests == ["get c1/argocd", f"delete {PLACE}", f"create {PLACE}"]
    assert not hub.secrets[PLACE].immutable
    assert hub.secrets[PLACE].type == "Opaque"


async def test_a_copy_that_cannot_be_changed_and_is_held_by_somebody_is_tried_again_later(hub: Hub) -> None:
    hub.stuck = True
    hub.put(with_(COPY, immutable=True))
    with pytest.raises(Conflict):
        await hub.reconcile(KEY)
    assert not hub.told


FOREIGN = with_(COPY, labels={"app": "theirs"}, owner_references=(), data={"password": "eA=="})


async def test_a_foreign_secret_is_refused_told_once_and_looked_at_again_in_a_minute(hub: Hub) -> None:
    hub.put(FOREIGN)
    for _ in range(3):
        assert await hub.reconcile(KEY) == RequeueAfter(60.0)
    assert hub.said() == {"password": "eA=="}
    refusal = ("refused", "argocd", "ProfileSecretConflict")
    assert hub.told == [(*refusal, False), (*refusal, True), (*refusal, True)]


async def test_a_copy_is_made_once_the_foreign_secret_is_gone_and_another_refusal_is_told_anew(
    hub: Hub,
) -> None:
    hub.put(FOREIGN)
    await hub.reconcile(KEY)
    foreign = hub.secrets[PLACE]
    hub.take(foreign)
    assert await hub.reconcile(KEY) == Done()
    assert hub.said() == SOURCE.data
    hub.take(hub.secrets[PLACE])
    hub.put(foreign)
    await anyio.sleep(1)
    await hub.reconcile(KEY)
    assert [entry for entry in hub.told if entry[0] == "refused"] == [
        ("refused", "argocd", "ProfileSecretConflict", False)
    ] * 2


async def test_one_foreign_secret_does_not_keep_other_profiles_from_their_copies(hub: Hub) -> None:
    hub.put(FOREIGN, profile("fleet"))
    assert await hub.reconcile(KEY) == RequeueAfter(60.0)
    assert hub.said("fleet/c1-argocd") == SOURCE.data


async def test_a_failure_in_one_namespace_does_not_keep_other_profiles_from_their_copies(hub: Hub) -> None:
    hub.put(profile("fleet"))
    hub.errors[f"create {PLACE}"] = Forbidden("exceeded quota")
    with pytest.raises(Forbidden):
        await hub.reconcile(KEY)
    assert hub.said("fleet/c1-argocd") == SOURCE.data


async def test_of_two_identities_whose_copies_have_one_name_the_second_is_refused(hub: Hub) -> None:
    first, second = identity("c", "a-b"), identity("b-c", "a")
    hub.put(cluster("a-b"), first, source(first), profile("argo", "a-b"))
    hub.put(cluster("a"), second, source(second, "bmV3"), profile("argo", "a"))
    assert await hub.reconcile(Key("a-b/c")) == Done()
    assert await hub.reconcile(Key("a/b-c")) == RequeueAfter(60.0)
    assert hub.said("argo/a-b-c") == source(first).data
    assert await hub.reconcile(Key("a-b/c")) == Done()
    hub.take(first)
    await hub.reconcile(Key("a-b/c"))
    await anyio.sleep(1)
    await hub.reconcile(Key("a/b-c"))
    assert hub.said("argo/a-b-c") == source(second, "bmV3").data


async def test_a_name_that_is_too_long_is_refused_and_tried_no_more(hub: Hub) -> None:
    long = identity("m" * 61)
    hub.put(long, source(long))
    assert await hub.reconcile(Key(f"c1/{'m' * 61}")) == Terminal("ProfileSecretNameTooLong")
    assert hub.requests == []


async def test_a_copy_that_the_cache_does_not_show_yet_is_no_conflict(hub: Hub) -> None:
    hub.secrets[PLACE] = COPY
    with pytest.raises(Conflict):
        await hub.reconcile(KEY)
    assert not hub.told


async def test_what_was_in_the_way_and_is_gone_again_is_no_conflict(hub: Hub) -> None:
    hub.errors[f"create {PLACE}"] = AlreadyExists("it was there")
    with pytest.raises(Conflict):
        await hub.reconcile(KEY)
    assert not hub.told


@pytest.mark.parametrize("error", [ENDING, NotFound('namespaces "argo" not found')])
async def test_a_namespace_that_is_being_deleted_is_nobodys_trouble(hub: Hub, error: ApiError) -> None:
    hub.errors[f"create {PLACE}"] = error
    assert await hub.reconcile(KEY) == Done()
    assert not hub.told


async def test_a_copy_that_goes_before_it_is_rewritten_is_left_to_its_own_event(hub: Hub) -> None:
    hub.put(with_(COPY, data={"token": "b2xk"}))
    del hub.secrets[PLACE]
    assert await hub.reconcile(KEY) == Done()
    assert not hub.told


@pytest.mark.parametrize("verb", ["get c1/argocd", f"create {PLACE}"])
async def test_a_hub_that_does_not_answer_is_a_failure(hub: Hub, verb: str) -> None:
    hub.errors[verb] = Network("reset")
    with pytest.raises(Network):
        await hub.reconcile(KEY)
    assert not hub.told


async def test_somebody_who_alters_a_copy_again_and_again_is_answered_ever_more_slowly(hub: Hub) -> None:
    """At once at first; then 5 ms x 2^n, at most five minutes."""
    for _ in range(60):
        answer: Result = await hub.reconcile(KEY)
        if isinstance(answer, RequeueAfter):
            await anyio.sleep(answer.seconds)
        else:
            hub.put(with_(hub.secrets[PLACE], data={"token": "b3RoZXI="}))
    writes = [request for request in hub.requests if request.startswith(("create", "patch"))]
    assert len(writes) == 30, "every other look waits"
    assert anyio.current_time() > 3600.0


async def test_a_token_renewed_every_few_minutes_never_waits(hub: Hub) -> None:
    for number in range(40):
        hub.put(source(IDENTITY, f"dG9rZW4{number % 10}"))
        assert await hub.reconcile(KEY) == Done()
        await anyio.sleep(120.0)
    assert not hub.reconcile.pace._due or len(hub.reconcile.pace._due) == 1


async def test_of_copies_that_were_written_long_ago_nothing_is_remembered() -> None:
    pace = Pace(Backoff(Latest()))
    for number in range(50):
        pace.wrote(f"ns/{number}", float(number * 100))
    assert len(pace._due) == 1
    assert len(pace.backoff._failing) == 1


async def test_a_fight_over_one_copy_does_not_slow_another() -> None:
    pace, now = Pace(Backoff(Latest())), 0.0
    for _ in range(20):
        pace.wrote("fought/over", now)
        now += pace.wait("fought/over", now)
    last = now - 300.0
    pace.wrote("calm/one", last)
    pace.wrote("calm/one", last + 100.0)
    assert pace.wait("calm/one", last + 100.0) == pytest.approx(0.005)


async def test_no_token_is_in_what_the_manager_keeps(hub: Hub) -> None:
    await hub.reconcile(KEY)
    kept = [
        *hub.caches.sources.values(),
        *hub.caches.copies.values(),
        hub.reconcile._told,
        hub.reconcile.pace,
    ]
    assert not any("dG9rZW4x" in repr(item) for item in kept)


@pytest.mark.parametrize(
    ("place", "accepted", "copied"), [("c2", True, False), ("c2", False, True), ("c1", True, True)]
)
async def test_only_a_namespace_of_another_cluster_that_is_accepted_gets_no_copy(
    hub: Hub, place: str, *, accepted: bool, copied: bool
) -> None:
    hub.put(with_(cluster("c2"), spec=ClusterSpec(hub_accepts_client=accepted)), profile(place))
    hub.put(binding("global", place))
    await hub.reconcile(KEY)
    assert (f"{place}/c1-argocd" in hub.secrets) is copied


def _condition(hub: Hub) -> list[tuple[str, str, str]]:
    found = hub.caches.identities.get(KEY)
    assert found is not None
    return [(item.type, item.status, item.reason) for item in found.status.conditions]


async def test_a_profile_where_its_cluster_is_not_bound_gets_no_token_and_the_identity_says_so(
    hub: Hub,
) -> None:
    hub.put(*(profile(place) for place in ("t1", "t2", "t3", "t4", "t5")))
    assert await hub.reconcile(KEY) == RequeueAfter(10.0)
    assert _condition(hub) == [], "a binding, its profiles and their namespace often go together"
    await anyio.sleep(10)
    assert await hub.reconcile(KEY) == Terminal("ProfileNamespaceNotBound")
    assert [place for place in hub.secrets if place.endswith("c1-argocd")] == [PLACE]
    assert _condition(hub) == [("ClusterProfileCopyRefused", "True", "ProfileNamespaceNotBound")]
    assert hub.notices == [
        (
            KEY,
            (
                "ClusterProfile c1 in namespace t1, t2, t3 and 2 more gets no copy: no ManagedClusterSet with c1 is bound there. "
                "Bind one: clusteradm clusterset bind SET --namespace t1"
            ),
        )
    ]
    assert await hub.reconcile(KEY) == Terminal("ProfileNamespaceNotBound")
    assert len(hub.notices) == 1
    for place in ("t1", "t2", "t3", "t4", "t5"):
        hub.take(profile(place))
    assert await hub.reconcile(KEY) == Done()
    assert _condition(hub) == []


async def test_a_copy_is_taken_away_where_the_cluster_is_no_longer_bound_and_comes_back_with_the_binding(
    hub: Hub,
) -> None:
    await hub.reconcile(KEY)
    hub.take(binding("global", "argo"))
    await hub.reconcile(KEY)
    assert PLACE not in hub.secrets
    hub.put(binding("global", "argo"))
    await anyio.sleep(1)
    assert await hub.reconcile(KEY) == Done()
    assert PLACE in hub.secrets


async def test_a_set_that_the_cluster_is_not_in_authorizes_nothing(hub: Hub) -> None:
    hub.put(cluster_set("edge"), binding("edge", "tenant"), profile("tenant"))
    await hub.reconcile(KEY)
    assert "tenant/c1-argocd" not in hub.secrets
    hub.put(with_(cluster(), labels={LABEL_CLUSTER_SET: "edge"}))
    await hub.reconcile(KEY)
    assert "tenant/c1-argocd" in hub.secrets


async def test_a_binding_that_ocm_refuses_authorizes_nothing(hub: Hub) -> None:
    refused = BindingStatus((Condition("Bound", "False", "ClusterSetNotFound"),))
    hub.put(with_(binding("global", "tenant"), status=refused), profile("tenant"))
    await hub.reconcile(KEY)
    assert "tenant/c1-argocd" not in hub.secrets


async def test_ocms_own_namespace_of_profiles_needs_no_binding_and_no_label_that_names_the_cluster(
    hub: Hub,
) -> None:
    """As OCM up to 1.1 makes them."""
    hub.put(
        with_(
            profile("open-cluster-management"), labels={"x-k8s.io/cluster-manager": "open-cluster-management"}
        )
    )
    assert await hub.reconcile(KEY) == Done()
    assert "open-cluster-management/c1-argocd" in hub.secrets


async def test_while_bindings_cannot_be_read_copies_stay_and_none_is_created(hub: Hub) -> None:
    await hub.reconcile(KEY)
    blind = groups("argo").sets, Store[ManagedClusterSetBinding]({BINDINGS_BY_NAMESPACE: by_namespace})
    hub.caches = evolve(hub.caches, groups=ClusterSets(*blind))
    hub.restart()
    hub.put(profile("fleet"))
    assert await hub.reconcile(KEY) == RequeueAfter(60.0)
    assert (PLACE in hub.secrets, "fleet/c1-argocd" in hub.secrets) == (True, False)
    assert hub.told[-1] == ("refused", "argocd", "ProfileClusterSetsUnknown", False)
