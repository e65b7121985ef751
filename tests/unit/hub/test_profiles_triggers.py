"""Which copies and ClusterProfiles are looked at when something on the hub comes, changes or goes."""

from random import Random
from typing import Any

import pytest
from attrs import define, field
from prometheus_client import CollectorRegistry

from msa.api.clusterset import LABEL_CLUSTER_SET
from msa.hub.profile_ingest import keep_secret
from msa.hub.profile_triggers import ProfileTriggers
from msa.hub.profiles import ProfileCaches
from msa.runtime.backoff import Backoff
from msa.runtime.metrics import Metrics
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.result import Key
from msa.runtime.store import Change, StoreWriter, key_of
from tests.conftest import START
from tests.support.fanout_hub import binding, cluster_set
from tests.support.fleet import cluster, with_
from tests.support.profiles import (
    COPY,
    IDENTITY,
    OURS,
    PROFILE,
    REACHED,
    SOURCE,
    SYNC,
    identity,
    profile,
)
from tests.support.scripted_profiles import caches


@define
class Watching:
    """Handlers over queues that nobody works on."""

    caches: ProfileCaches = field(factory=caches)
    publish: bool = True
    triggers: ProfileTriggers = field(init=False)

    @triggers.default
    def _triggers(self) -> ProfileTriggers:
        metrics = Metrics(CollectorRegistry())
        copies, access = (WorkQueue(name, Backoff(Random(1)), metrics) for name in ("copies", "access"))
        return ProfileTriggers(self.caches, copies, access if self.publish else None)

    def keys(self) -> tuple[dict[Key, Lane], dict[Key, Lane]]:
        """Of both queues since the last call, with their lanes."""
        access = self.triggers.access
        found = (dict(self.triggers.copies._dirty), dict(access._dirty) if access is not None else {})
        asked, self.triggers = self.triggers._asked, self._triggers()
        self.triggers._asked.update(asked)
        return found

    def looked_at(self) -> tuple[set[str], set[str]]:
        copies, access = self.keys()
        return set(copies), set(access)


@pytest.fixture
async def watching() -> Watching:
    """One identity is asked for, with a copy beside one of two profiles; another identity is not asked for."""
    watching = Watching()
    StoreWriter(watching.caches.clusters).put(with_(cluster(), resource_version="1"))
    for item in (PROFILE, profile("fleet"), profile("argo", "c2")):
        StoreWriter(watching.caches.profiles).put(item)
    StoreWriter(watching.caches.copies).put(keep_secret(with_(COPY, name="c1-gone")))
    watching.triggers.identity(_change(None, IDENTITY))
    watching.triggers.identity(_change(None, identity("other", labels=None)))
    watching.keys()
    return watching


def _change(old: Any, new: Any, **how: Any) -> Change[Any]:
    return Change(key_of(new if new is not None else old), old, new, **how)


NOTHING: tuple[set[str], set[str]] = (set(), set())


async def test_an_identity_is_looked_at_when_its_copies_are_or_were_asked_for(watching: Watching) -> None:
    unlabelled = with_(IDENTITY, labels=None)
    for old, new in ((IDENTITY, IDENTITY), (IDENTITY, unlabelled), (unlabelled, IDENTITY), (IDENTITY, None)):
        watching.triggers.identity(_change(old, new))
        assert watching.looked_at() == ({"c1/argocd"}, set())
    watching.triggers.identity(_change(None, unlabelled))
    watching.triggers.identity(_change(unlabelled, None))
    assert watching.looked_at() == NOTHING
    assert watching.triggers._asked == {}


async def test_a_credential_is_looked_at_when_its_copies_are_asked_for(watching: Watching) -> None:
    facts = keep_secret(SOURCE)
    watching.triggers.source(_change(facts, facts))
    assert watching.looked_at() == ({"c1/argocd"}, set())
    watching.triggers.source(_change(facts, keep_secret(with_(SOURCE, name="other"))))
    watching.triggers.source(_change(facts, keep_secret(with_(SOURCE, namespace="c2"))))
    assert watching.looked_at() == NOTHING


async def test_a_copy_is_looked_at_under_the_identity_that_it_was_made_for(watching: Watching) -> None:
    facts = keep_secret(COPY)
    unowned = keep_secret(with_(COPY, owner_references=()))
    for old, new in ((None, facts), (facts, None), (facts, unowned), (unowned, facts)):
        watching.triggers.copy(_change(old, new))
        assert watching.looked_at() == ({"c1/argocd"}, set())
    watching.triggers.copy(_change(None, unowned))
    assert watching.looked_at() == NOTHING


async def test_with_a_profile_all_copies_of_its_cluster_are_looked_at_those_of_lost_identities_too(
    watching: Watching,
) -> None:
    for old, new in (
        (None, PROFILE),
        (PROFILE, None),
        (PROFILE, with_(PROFILE, uid="later")),
        (PROFILE, with_(PROFILE, labels=None)),
        (PROFILE, with_(PROFILE, deletion_timestamp=START)),
    ):
        watching.triggers.profile(_change(old, new))
        assert watching.looked_at() == ({"c1/argocd", "c1/gone"}, {"argo/c1"})


async def test_a_profile_whose_status_changes_is_looked_at_alone(watching: Watching) -> None:
    watching.triggers.profile(_change(PROFILE, with_(PROFILE, resource_version="6", access=OURS)))
    assert watching.looked_at() == (set(), {"argo/c1"})


async def test_with_a_cluster_its_copies_and_profiles_are_looked_at_when_it_comes_or_goes(
    watching: Watching,
) -> None:
    for old, new in ((None, cluster()), (cluster(), None), (cluster(), cluster(deletion_timestamp=START))):
        watching.triggers.cluster(_change(old, new))
        assert watching.looked_at() == ({"c1/argocd", "c1/gone"}, {"argo/c1", "fleet/c1"})


async def test_with_a_cluster_copies_in_its_own_namespace_are_looked_at(watching: Watching) -> None:
    argo = cluster("argo")
    watching.triggers.cluster(_change(None, argo))
    assert watching.looked_at()[0] == {"c1/argocd", "c1/gone"}


async def test_what_happens_to_profiles_where_no_credential_may_be_is_looked_at_now_and_then(
    watching: Watching,
) -> None:
    """So that whoever writes many profiles, or one again and again, costs others nothing."""
    for _ in range(1000):
        watching.triggers.profile(_change(None, profile("tenant")))
        watching.triggers.profile(_change(profile("tenant"), None))
    assert watching.triggers.copies._dirty == {}
    assert set(watching.triggers.copies._due) == {"c1/argocd", "c1/gone"}


async def test_with_a_binding_what_the_profiles_of_its_namespace_may_have_is_looked_at(
    watching: Watching,
) -> None:
    watching.triggers.binding(_change(binding("global", "fleet"), None))
    assert watching.looked_at() == ({"c1/argocd", "c1/gone"}, {"fleet/c1"})
    watching.triggers.binding(_change(None, binding("global", "elsewhere")))
    assert watching.looked_at() == NOTHING


async def test_with_a_set_the_profiles_where_it_is_bound_are_looked_at(watching: Watching) -> None:
    group = cluster_set("global")
    watching.triggers.cluster_set(_change(group, None))
    assert watching.looked_at() == ({"c1/argocd", "c1/gone"}, {"argo/c1", "fleet/c1", "argo/c2"})
    watching.triggers.cluster_set(_change(group, group))
    assert watching.looked_at() == NOTHING


async def test_a_cluster_that_changes_its_set_has_its_copies_looked_at(watching: Watching) -> None:
    watching.triggers.cluster(_change(cluster(), with_(cluster(), labels={LABEL_CLUSTER_SET: "other"})))
    assert watching.looked_at() == ({"c1/argocd", "c1/gone"}, {"argo/c1", "fleet/c1"})
    watching.triggers.cluster(_change(cluster(), with_(cluster(), labels={"health": "good"})))
    assert watching.looked_at() == NOTHING


async def test_a_cluster_that_moves_has_its_profiles_looked_at_and_its_heartbeat_nothing(
    watching: Watching,
) -> None:
    watching.triggers.cluster(_change(cluster(), REACHED))
    assert watching.looked_at() == (set(), {"argo/c1", "fleet/c1"})
    watching.triggers.cluster(_change(REACHED, with_(REACHED, resource_version="99")))
    assert watching.looked_at() == NOTHING


async def test_what_was_there_at_the_start_goes_behind_what_happens(watching: Watching) -> None:
    watching.triggers.profile(_change(None, PROFILE, initial=True))
    watching.triggers.copy(_change(None, keep_secret(COPY)))
    copies, access = watching.keys()
    assert copies == {Key("c1/argocd"): Lane.LIVE, Key("c1/gone"): Lane.INITIAL}
    assert access == {Key("argo/c1"): Lane.INITIAL}


async def test_where_access_is_not_published_no_profile_is_looked_at() -> None:
    watching = Watching(publish=False)
    StoreWriter(watching.caches.profiles).put(PROFILE)
    watching.triggers.profile(_change(None, PROFILE))
    watching.triggers.cluster(_change(None, REACHED))
    assert watching.looked_at() == NOTHING


async def test_the_label_is_what_asks_for_copies(watching: Watching) -> None:
    watching.triggers.identity(_change(None, identity("third", labels={SYNC: "false"})))
    assert watching.looked_at() == NOTHING
