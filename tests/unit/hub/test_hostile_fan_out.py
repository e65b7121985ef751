"""The fan-out's and the copies' decisions are total: whatever an API server stores, one object's trouble stops work on no other."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from msa.api import names
from msa.api.cluster import ManagedCluster
from msa.api.clusterprofile import StoredClusterProfile
from msa.api.clusterset import ManagedClusterSet, ManagedClusterSetBinding, PlacementDecision
from msa.api.core import Secret
from msa.api.fleet_identity import FleetIdentity, StoredFleetIdentity
from msa.hub.ingest import keep_identity
from msa.hub.profile_ingest import keep_profile, keep_secret
from msa.policy import fanout, fanout_status, profiles, reach
from msa.policy.ephemeral import end_of_life
from msa.policy.fanout import Held
from msa.policy.ignored_fields import ignored
from msa.policy.profiles import Situation
from tests.support.hostile import bytes_for

NOW = datetime(2026, 1, 1, tzinfo=UTC)

often = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def _read(content: bytes, into: type[Any]) -> Any:
    """As it comes from the wire; None where it cannot be read, and is in no cache."""
    try:
        return msgspec.json.decode(content, type=into)
    except msgspec.MsgspecError:
        return None


def _identity(content: bytes) -> FleetIdentity | None:
    stored = _read(content, StoredFleetIdentity)
    return keep_identity(stored) if stored is not None else None


def _named(item: Any, namespace: str, name: str, labels: dict[str, str]) -> Any:
    marks = {**(item.metadata.labels or {}), **labels}
    return replace(item, metadata=replace(item.metadata, namespace=namespace, name=name, labels=marks))


@often
@given(first=bytes_for(FleetIdentity), second=bytes_for(FleetIdentity), ours=st.booleans())
def test_nothing_in_an_origin_or_a_child_stops_a_fan_out(first: bytes, second: bytes, *, ours: bool) -> None:
    origin, child = _identity(first), _identity(second)
    if origin is None or child is None:
        return
    origin = _named(origin, "team", "robot", {})
    labels = {names.LABEL_ORIGIN_NAMESPACE: "team"} if ours else {}
    stored = {"c1": _named(child, "c1", "robot", labels)}
    clusters = frozenset(("c1", "c2"))
    found = fanout.plan(origin, clusters, stored, Held(), NOW)
    assert "c2" in (*found.create, *found.later)
    for item in found.rewrite:
        assert msgspec.json.encode(fanout.child_changes(origin, NOW))
        assert fanout.edits(item, origin)
    assert msgspec.json.encode(fanout.child_body(origin, "c2", NOW))
    spread = fanout_status.spread(origin, clusters, stored, {}, NOW)
    status = fanout_status.wanted(origin, spread, NOW)
    assert msgspec.json.encode(fanout_status.patch(origin.status, status))
    end_of_life(origin)
    ignored(child, in_cluster=True, copies=False)


@often
@given(
    binding=bytes_for(ManagedClusterSetBinding),
    group=bytes_for(ManagedClusterSet),
    cluster=bytes_for(ManagedCluster),
    decision=bytes_for(PlacementDecision),
)
def test_nothing_in_a_set_or_a_cluster_stops_the_question_where_others_belong(
    binding: bytes, group: bytes, cluster: bytes, decision: bytes
) -> None:
    found = (
        _read(binding, ManagedClusterSetBinding),
        _read(group, ManagedClusterSet),
        _read(cluster, ManagedCluster),
        _read(decision, PlacementDecision),
    )
    if any(item is None for item in found):
        return
    bound, group_, member, decided = found
    sets = reach.bound_sets([bound], lambda _name: group_)
    reach.members(sets or (group_,), [member])
    reach.may_use(member, [bound], lambda _name: group_)
    reach.is_moved(member, member, [group_])
    reach.picked([decided])


@often
@given(identity=bytes_for(FleetIdentity), source=bytes_for(Secret), profile=bytes_for(StoredClusterProfile))
def test_nothing_in_a_profile_or_a_secret_stops_the_copies(
    identity: bytes, source: bytes, profile: bytes
) -> None:
    wanted, secret, stored = _identity(identity), _read(source, Secret), _read(profile, StoredClusterProfile)
    if wanted is None or secret is None or stored is None:
        return
    wanted = _named(wanted, "c1", "one", {names.LABEL_SYNC_TO_PROFILE: "true"})
    marks = {
        "x-k8s.io/cluster-manager": "open-cluster-management",
        "open-cluster-management.io/cluster-name": "c1",
    }
    kept, facts = _named(stored, "argo", "c1", marks), keep_secret(secret)
    member = msgspec.json.decode(
        b'{"metadata":{"name":"c1"},"spec":{"hubAcceptsClient":true}}', type=ManagedCluster
    )
    situation = Situation(
        "c1", "one", wanted, member, facts, (keep_profile(kept),), (facts,), unbound=frozenset(("t",))
    )
    decided = profiles.plan(situation)
    profiles.notice(decided.rejections)
    profiles.providers_to_publish(keep_profile(kept), member)
