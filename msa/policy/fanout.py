"""One ManagedServiceAccount on many clusters: what must be written where, and how each cluster fares. Pure decisions.

The one in the bound namespace is the origin; those of the same name in the clusters' namespaces are its children.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import msgspec
from attrs import field, frozen

from msa.api import names
from msa.api.durations import parse_rfc3339, rfc3339
from msa.api.fleet_identity import FanOutSpec, FleetIdentity
from msa.api.meta import Condition, ObjectMeta
from msa.policy.readiness import READY, TOKEN_REPORTED

Body = dict[str, Any]

PATIENCE = timedelta(minutes=10)
"""For so long a cluster that was changed and is not ready counts as being changed; after that others get their turn."""

_LONGEST_PERCENT = 10
_CONFLICT = "ManagedServiceAccountConflict"
_SKEW = timedelta(minutes=1)


class Health(Enum):
    """How a child fares."""

    READY = "ready"
    WAITING = "waiting"
    FAILING = "failing"


@frozen
class Verdict:
    """How it fares on one cluster.

    Attributes:
        reason: CamelCase; empty unless it fails.
        message: what is wrong.
    """

    health: Health
    reason: str = ""
    message: str = ""


@frozen
class Plan:
    """What to do.

    Attributes:
        create: clusters that get a child now.
        rewrite: children that are changed now, or put back.
        later: clusters whose turn has not come.
        foreign: what has the name in a cluster's namespace and is not ours.
        edited: of those that are changed, the clusters where somebody edited what was as it should be.
        holding: the clusters that hold a place in the rollout, those whose turn it is included.
        due: when the next turn comes at the latest; None where nobody waits for one.
    """

    create: tuple[str, ...]
    rewrite: tuple[FleetIdentity, ...]
    later: frozenset[str]
    foreign: tuple[FleetIdentity, ...]
    edited: frozenset[str]
    holding: frozenset[str]
    due: datetime | None

    @property
    def tried(self) -> frozenset[str]:
        """The clusters that are written now."""
        return frozenset((*self.create, *(item.metadata.namespace for item in self.rewrite)))


@frozen
class Held:
    """Clusters that could not be written lately, and are not tried again yet.

    Attributes:
        waiting: all of them.
        unclear: of them, those that somebody else wrote first, perhaps we ourselves: they may have the change already.
        since: when clusters took their places for what the origin says now, as far as we remember. What a cluster writes itself, as a
            child's annotation, may end its place sooner, and never prolongs it.
    """

    waiting: frozenset[str] = frozenset()
    unclear: frozenset[str] = frozenset()
    since: Mapping[str, datetime] = field(factory=dict)


def plan(
    origin: FleetIdentity,
    clusters: Iterable[str],
    stored: Mapping[str, FleetIdentity],
    held: Held,
    now: datetime,
) -> Plan:
    """What must be written on the clusters, as many at a time as the origin says.

    Args:
        origin: what is fanned out.
        clusters: where it belongs.
        stored: what has its name there, by cluster.
        held: what is waited for.
        now: wall time.
    """
    wanted = sorted(clusters)
    foreign = {
        name: stored[name]
        for name in wanted
        if name in stored and not is_child(stored[name].metadata, origin)
    }
    ours = {name: stored[name] for name in wanted if name in stored and name not in foreign}
    late = behind(origin, wanted, stored)
    to_write = [name for name in sorted(late - held.waiting) if not _is_going(ours.get(name))]
    drifted = {name for name in to_write if name in ours and _was_current(ours[name], origin)}
    pending = [name for name in to_write if name not in drifted]
    places = _places({name: child for name, child in ours.items() if name not in late}, held, now)
    places |= {name: _until(name, held, now) for name in held.unclear - foreign.keys()}
    taken = {name: until for name, until in places.items() if until > now}
    free = max(0, concurrency(origin.spec, len(wanted)) - len(taken))
    turn, later = pending[:free], frozenset(pending[free:])
    return Plan(
        create=tuple(name for name in turn if name not in ours),
        rewrite=tuple(ours[name] for name in (*sorted(drifted), *turn) if name in ours),
        later=later,
        foreign=tuple(foreign.values()),
        edited=frozenset(drifted),
        holding=frozenset((*taken, *turn)),
        due=min(taken.values(), default=None) if later else None,
    )


def behind(
    origin: FleetIdentity, clusters: Iterable[str], stored: Mapping[str, FleetIdentity]
) -> frozenset[str]:
    """The clusters where something of ours must still be written."""
    return frozenset(
        name
        for name in clusters
        if (item := stored.get(name)) is None
        or (is_child(item.metadata, origin) and not follows(item, origin))
    )


def _places(current: Mapping[str, FleetIdentity], held: Held, now: datetime) -> dict[str, datetime]:
    """Until when each cluster holds its place, of those that have the change and are not ready."""
    behind = {name: child for name, child in current.items() if judge(child, now).health is not Health.READY}
    found = {name: _changed_until(child, now) for name, child in behind.items()}
    return {name: min(until, _until(name, held, now)) for name, until in found.items() if until is not None}


def _until(cluster: str, held: Held, now: datetime) -> datetime:
    """When its place ends at the latest, by what we remember."""
    return held.since.get(cluster, now) + PATIENCE


def _is_going(child: FleetIdentity | None) -> bool:
    return child is not None and child.metadata.deletion_timestamp is not None


def _was_current(child: FleetIdentity, origin: FleetIdentity) -> bool:
    """Whether it had the change already: what is different now is somebody's edit, and to put it back takes nobody's turn."""
    return child.metadata.annotation(names.ANNOTATION_ORIGIN_GENERATION) == str(origin.metadata.generation)


def concurrency(spec: FanOutSpec, clusters: int) -> int:
    """How many clusters may be changed and not ready at the same time; at least one."""
    most = spec.rollout.max_concurrent
    if isinstance(most, int):
        return max(1, most)
    percent = most.removesuffix("%")
    # The API server lets nothing else pass; what is stored nevertheless is as good as the default.
    share = int(percent) if percent.isdecimal() and len(percent) < _LONGEST_PERCENT else 25
    return max(1, math.ceil(clusters * min(share, 100) / 100))


def is_child(stored: ObjectMeta, origin: FleetIdentity) -> bool:
    """Whether it was made for this one. One of an earlier object of the same name, restored from a backup say, is taken over."""
    metadata = origin.metadata
    return stored.name == metadata.name and (
        stored.label(names.LABEL_ORIGIN_NAMESPACE) == metadata.namespace
        or stored.label(names.LABEL_ORIGIN_UID) == metadata.uid != ""
    )


def follows(child: FleetIdentity, origin: FleetIdentity) -> bool:
    """Whether it says what the origin says."""
    labels, spec = child.metadata.labels or {}, origin.spec
    return child.spec == FanOutSpec(rotation=spec.rotation, audiences=spec.audiences) and all(
        labels.get(key) == value for key, value in _labels(origin).items()
    )


def edits(child: FleetIdentity, origin: FleetIdentity) -> list[str]:
    """What of a child is not as its origin says: fields and labels, as users know them."""
    spec, wanted = child.spec, FanOutSpec(rotation=origin.spec.rotation, audiences=origin.spec.audiences)
    fields = {field.name: f"spec.{field.encode_name}" for field in msgspec.structs.fields(FanOutSpec)}
    found = [path for name, path in fields.items() if getattr(spec, name) != getattr(wanted, name)]
    labels = child.metadata.labels or {}
    return found + [f"label {key}" for key, value in _labels(origin).items() if labels.get(key) != value]


def child_body(origin: FleetIdentity, cluster: str, now: datetime) -> Body:
    """A new child."""
    labels = {key: value for key, value in _labels(origin).items() if value is not None}
    spec = {key: value for key, value in _spec(origin).items() if value is not None}
    return {
        "apiVersion": f"{names.GROUP}/{names.STORAGE_VERSION}",
        "kind": names.KIND,
        "metadata": {
            "name": origin.metadata.name,
            "namespace": cluster,
            "labels": labels,
            "annotations": _annotations(origin, now),
        },
        "spec": spec,
    }


def child_changes(origin: FleetIdentity, now: datetime) -> Body:
    """What to merge into a child that is not as it should be (RFC 7386: null takes away)."""
    return {
        "metadata": {
            "labels": _labels(origin),
            "annotations": _annotations(origin, now),
        },
        "spec": _spec(origin),
    }


def judge(child: FleetIdentity, now: datetime) -> Verdict:
    """How a child fares, by what the agent on its cluster says of it.

    The condition Ready sums up; an agent of the addon that we replace has TokenReported alone.
    """
    told = {item.type: item for item in child.status.conditions}
    said = told.get(READY) or told.get(TOKEN_REPORTED)
    if said is None or not _is_current(said, child):
        return Verdict(Health.WAITING)
    if said.status != "True":
        return Verdict(Health.FAILING, said.reason, said.message)
    ends = child.status.expiration_timestamp
    if ends is not None and ends <= now:
        message = f"the token expired at {rfc3339(ends)} and the agent on the cluster has not renewed it"
        return Verdict(Health.FAILING, "TokenExpired", message)
    return Verdict(Health.READY)


def conflict(stored: FleetIdentity, origin: FleetIdentity) -> Verdict:
    """That a foreign object is in the way."""
    metadata = stored.metadata
    owner = metadata.label(names.LABEL_ORIGIN_NAMESPACE)
    whose = (
        f"exists and belongs to ManagedServiceAccount {owner}/{metadata.name}"
        if owner
        else f"exists and does not belong to {origin.metadata.namespace}/{origin.metadata.name}"
    )
    message = (
        f"ManagedServiceAccount {metadata.namespace}/{metadata.name} {whose}. Delete it, or adopt it (its spec is replaced): "
        f"kubectl label --overwrite -n {metadata.namespace} msa {metadata.name} {names.LABEL_ORIGIN_NAMESPACE}={origin.metadata.namespace}"
    )
    return Verdict(Health.FAILING, _CONFLICT, message)


def _is_current(said: Condition, child: FleetIdentity) -> bool:
    """Whether a condition is about the child as it is now; the agent of the addon that we replace does not say."""
    return said.observed_generation in (0, child.metadata.generation)


def _changed_until(child: FleetIdentity, now: datetime) -> datetime | None:
    """How long it holds its place. A time that is not over yet was not written by us: a cluster's tenants may write there."""
    changed = parse_rfc3339(child.metadata.annotation(names.ANNOTATION_ROLLED_OUT))
    return changed + PATIENCE if changed is not None and changed <= now + _SKEW else None


def _annotations(origin: FleetIdentity, now: datetime) -> dict[str, str]:
    return {
        names.ANNOTATION_ROLLED_OUT: rfc3339(now),
        names.ANNOTATION_ORIGIN_GENERATION: str(origin.metadata.generation),
    }


def _labels(origin: FleetIdentity) -> dict[str, str | None]:
    """Of a child; None for what it must not have. To be copied to ClusterProfiles is asked for on the origin."""
    metadata = origin.metadata
    return {
        names.LABEL_ORIGIN_NAMESPACE: metadata.namespace,
        names.LABEL_ORIGIN_UID: metadata.uid,
        names.LABEL_SYNC_TO_PROFILE: (metadata.labels or {}).get(names.LABEL_SYNC_TO_PROFILE),
    }


def _spec(origin: FleetIdentity) -> Body:
    """A child's spec; nothing that is fanned out further, and no life of its own: it ends with its origin."""
    spec = origin.spec
    return {
        "rotation": {"validity": spec.rotation.validity},
        "audiences": spec.audiences or None,
        "ttlSecondsAfterCreation": None,
        "placementRef": None,
        "rollout": None,
    }
