"""Copies of one identity's credential for the ClusterProfiles of its cluster: gather -> decide -> act.

The key is `cluster/identity`. Tokens are in no cache: the identity's Secret is read when a copy must be written, and written at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import anyio
from attrs import field, frozen

from msa.api.cluster import ManagedCluster
from msa.api.clusterprofile import ClusterProfile, SecretFacts
from msa.api.core import Secret
from msa.api.fleet_identity import FleetIdentity
from msa.hub import profile_bodies
from msa.hub.cluster_sets import ClusterSets
from msa.hub.identity_notices import Notices
from msa.hub.profile_ingest import keep_secret
from msa.hub.profile_pace import Pace
from msa.hub.profile_ports import ProfileHub, ProfileObserver
from msa.hub.profile_removals import CopyRemovals
from msa.policy import profiles
from msa.policy.profiles import COPY_REFUSED, HUB_NAMESPACE, Reason, Rejection, Situation, Write
from msa.runtime.errors import AlreadyExists, ApiError, Conflict, Forbidden, NotFound
from msa.runtime.freshness import Freshness
from msa.runtime.result import Done, Key, RequeueAfter, Result, Terminal
from msa.runtime.store import Store

BY_NAME: Final = "name"
"""Index of profiles, and of copies: one name may be in many namespaces."""

BY_NAMESPACE: Final = "namespace"
"""Index of profiles."""

PUBLISHED: Final = "published"
"""Index of profiles: under "" those whose way to the cluster we published."""

REFUSED_SECONDS: Final = 60.0
"""How often something that is not ours is looked at again: it goes without telling us."""

_UNBOUND_SECONDS: Final = 10.0

_UNTOLD: Final = frozenset((Reason.CONFLICT, Reason.UNKNOWN))

_ENDING: Final = "because it is being terminated"
"""What an API server says of a namespace in which nothing can be made any more."""


@frozen
class ProfileCaches:
    """What is known of the hub.

    Attributes:
        profiles: by name.
        copies: by name.
    """

    identities: Store[FleetIdentity]
    clusters: Store[ManagedCluster]
    profiles: Store[ClusterProfile]
    sources: Store[SecretFacts]
    copies: Store[SecretFacts]
    groups: ClusterSets

    def may_use(self, namespace: str, cluster: str) -> bool:
        """Whether what is the cluster's may be in that namespace: a set with it is bound there, or it is where OCM itself has profiles."""
        member = self.clusters.get(cluster)
        return namespace == HUB_NAMESPACE or (member is not None and self.groups.may_use(namespace, member))


@frozen
class CopyReconciler:
    """Keeps the copies of one credential.

    Attributes:
        _unbound_since: monotonic seconds since which it has profiles where its cluster is not bound.
        _told: what was refused of each key when it was last looked at: another look says nothing new.
    """

    caches: ProfileCaches
    hub: ProfileHub
    freshness: Freshness
    observer: ProfileObserver
    pace: Pace
    notices: Notices
    removals: CopyRemovals
    _told: dict[Key, set[tuple[str, Rejection]]] = field(factory=dict, init=False)
    _unbound_since: dict[Key, float] = field(factory=dict, init=False)

    async def __call__(self, key: Key) -> Result:
        situation = self._gather(key)
        plan = profiles.plan(situation)
        attempt = _Attempt()
        waits = await self._clear(key, situation, attempt)
        now = anyio.current_time()
        waits += [wait for write in plan.writes if (wait := self.pace.wait(write.place, now)) > 0]
        if due := [write for write in plan.writes if self.pace.wait(write.place, now) == 0]:
            with attempt.going_on():
                await self._write_all(key, situation, due, attempt)
        rejections = [*plan.rejections, *attempt.rejections]
        if (pause := self._pause(key, rejections, now)) > 0:
            waits.append(pause)
        else:
            with attempt.going_on():
                await self._tell(key, situation.identity, rejections)
        if attempt.problems:
            raise attempt.problems[0]
        return _answer(rejections, waits)

    async def _clear(self, key: Key, situation: Situation, attempt: "_Attempt") -> list[float]:
        """Deletes copies that are out of place; seconds until others may be."""
        gone, seconds = [*self.removals.at_once(situation)], None
        with attempt.going_on():
            checked, seconds = await self.removals.checked(key, situation)
            gone += checked
        for copy in gone:
            with attempt.going_on():
                await self._drop(copy)
        return [seconds] if seconds is not None else []

    def _gather(self, key: Key) -> Situation:
        cluster, _, name = key.partition("/")
        caches, causes = self.caches, self.removals.causes
        found = caches.profiles.by_index(BY_NAME, cluster)
        copies = caches.copies.by_index(BY_NAME, f"{cluster}-{name}")
        places = {item.metadata.namespace for item in found} | {item.metadata.namespace for item in copies}
        member = caches.clusters.get(cluster)
        return Situation(
            cluster=cluster,
            name=name,
            identity=caches.identities.get(key),
            member=member,
            source=caches.sources.get(key),
            profiles=found if caches.profiles.synced else None,
            copies=copies,
            foreign=frozenset(place for place in places if place != cluster and self._is_clusters(place)),
            unbound=self._unbound(member, places) if caches.groups.synced else None,
            identity_deleted=causes.deleted(key),
            cluster_deleted=causes.detached(cluster),
        )

    def _unbound(self, member: ManagedCluster | None, places: Iterable[str]) -> frozenset[str]:
        """Where no set with the cluster is bound: of a cluster that is missing that cannot be told."""
        if member is None:
            return frozenset()
        name = member.metadata.name
        return frozenset(place for place in places if not self.caches.may_use(place, name))

    def _is_clusters(self, namespace: str) -> bool:
        """Whether it is an accepted cluster's own: the agents of others have no rights anywhere."""
        cluster = self.caches.clusters.get(namespace)
        return cluster is not None and cluster.spec.hub_accepts_client

    async def _drop(self, copy: SecretFacts) -> None:
        if copy.metadata.deletion_timestamp is None:
            await self.hub.delete(copy.metadata)
            self.observer.deleted(_place(copy))

    async def _write_all(
        self, key: Key, situation: Situation, writes: Sequence[Write], attempt: "_Attempt"
    ) -> None:
        """Reads the credential once, for all copies."""
        source = await self._read(situation)
        if source is None:
            return
        for write in writes:
            with attempt.going_on():
                await self._write(key, write, source)

    async def _read(self, situation: Situation) -> Secret | None:
        """The identity's Secret; None where it has gone, or is not its own any more: that comes by its own event."""
        try:
            secret = await self.hub.read(situation.cluster, situation.name)
        except NotFound:
            return None
        identity = situation.identity
        return secret if identity is not None and profiles.is_source(keep_secret(secret), identity) else None

    async def _write(self, key: Key, write: Write, source: Secret) -> None:
        try:
            if write.stored is None or write.anew:
                version = await self._create(write, source)
            else:
                body = profile_bodies.copy_patch(write.stored.metadata, write.stored.keys, source)
                version = await self.hub.rewrite(write.stored.metadata, body)
        except AlreadyExists:
            raise await self._in_the_way(key, write) from None
        except NotFound:
            return  # the namespace, or the copy, has gone meanwhile: that comes by its own event
        except Forbidden as error:
            if _ENDING not in error.message:
                raise
            return  # with the namespace the profile goes, too
        self.observer.wrote(write.place, new=write.stored is None)
        now = anyio.current_time()
        self.pace.wrote(write.place, now)
        self.freshness.wrote(key, self.caches.copies, version, now)
        # What was read may be newer than the cache's source, and must not be taken for somebody's edit of the copy.
        self.freshness.wrote(key, self.caches.sources, source.metadata.resource_version, now)

    async def _create(self, write: Write, source: Secret) -> str:
        if write.stored is not None:
            await self.hub.delete(write.stored.metadata)
        return await self.hub.create(profile_bodies.new_copy(write.profile, write.name, source))

    async def _in_the_way(self, key: Key, write: Write) -> "Conflict | _Refused":
        """Of a Secret that the cache does not show: it has lost our label or never had it, or the cache is behind."""
        try:
            found = keep_secret(await self.hub.read(write.profile.metadata.namespace, write.name))
        except NotFound:
            return Conflict(f"Secret {write.place} was in the way and is gone")
        if profiles.made_for(found) == key:
            return Conflict(f"Secret {write.place} is not in the cache yet")
        return _Refused(profiles.in_the_way(write.profile, found))

    def _pause(self, key: Key, rejections: Sequence[Rejection], now: float) -> float:
        """How long nothing is said yet where profiles are not bound: they often go with the binding, or with their namespace."""
        if all(item.reason is not Reason.NOT_BOUND for item in rejections):
            self._unbound_since.pop(key, None)
            return 0.0
        return self._unbound_since.setdefault(key, now) + _UNBOUND_SECONDS - now

    async def _tell(self, key: Key, identity: FleetIdentity | None, rejections: Sequence[Rejection]) -> None:
        told = self._told.pop(key, set())
        if identity is None:
            return
        self._record(key, identity, rejections, told)
        await self.notices.write(key, identity, COPY_REFUSED, profiles.notice(rejections))

    def _record(
        self,
        key: Key,
        identity: FleetIdentity,
        rejections: Sequence[Rejection],
        told: set[tuple[str, Rejection]],
    ) -> None:
        if not rejections:
            return
        uid = identity.metadata.uid
        for rejection in rejections:
            self.observer.refused(identity, rejection, repeated=(uid, rejection) in told)
        self._told[key] = {(uid, rejection) for rejection in rejections}


class _Refused(Exception):
    """Something that is not ours has a copy's name."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.message)
        self.rejection = rejection


@frozen
class _Attempt:
    """What went wrong of one look: one profile's trouble does not keep the others from their copies."""

    problems: list[ApiError] = field(factory=list)
    rejections: list[Rejection] = field(factory=list)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        try:
            yield
        except _Refused as refused:
            self.rejections.append(refused.rejection)
        except ApiError as error:
            self.problems.append(error)


def _answer(rejections: Sequence[Rejection], waits: Sequence[float]) -> Result:
    again = [*waits, *(REFUSED_SECONDS for item in rejections if item.reason in _UNTOLD)]
    if again:
        return RequeueAfter(min(again))
    return Terminal(rejections[0].reason) if rejections else Done()


def _place(copy: SecretFacts) -> str:
    return f"{copy.metadata.namespace}/{copy.metadata.name}"
