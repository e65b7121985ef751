"""Decisions about objects that other clusters and tenants wrote: whatever is in them, one of them stops work on no other."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from msa.api import conditions, names
from msa.api.addon import V1ALPHA1, V1BETA1, ManagedClusterAddOn
from msa.api.fleet_identity import FanOutStatus, FleetIdentity, StoredFleetIdentity
from msa.api.meta import Condition, ObjectMeta
from msa.api.work import ManifestWork
from msa.hub.ingest import keep_identity, keep_work
from msa.policy import addon_status, fanout, fanout_status, registration
from msa.policy.addon_status import Findings
from msa.policy.fanout import Held
from tests.support.hostile import TIMES, bytes_for

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ORIGIN = FleetIdentity(ObjectMeta(name="one", namespace="robots", uid="origin", generation=1))
LABELS = {names.LABEL_ORIGIN_NAMESPACE: "robots", names.LABEL_ORIGIN_UID: "origin"}

often = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def _child(status: bytes, rolled_out: str, cluster: str = "c1") -> FleetIdentity:
    metadata = ObjectMeta(
        name="one",
        namespace=cluster,
        labels=LABELS,
        generation=1,
        annotations={names.ANNOTATION_ROLLED_OUT: rolled_out},
    )
    return keep_identity(StoredFleetIdentity(metadata, status=Raw(status)))


def _decide(children: dict[str, FleetIdentity]) -> dict[str, Any]:
    clusters = frozenset((*children, "c2"))
    assert "c2" in fanout.plan(ORIGIN, clusters, children, Held(), NOW).create
    found = fanout_status.spread(ORIGIN, clusters, children, {}, NOW)
    return fanout_status.patch(ORIGIN.status, fanout_status.wanted(ORIGIN, found, NOW))


@pytest.mark.parametrize("text", TIMES)
def test_no_time_in_a_childs_status_stops_the_others(text: str) -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = msgspec.json.encode({"expirationTimestamp": text, "conditions": [ready]})
    assert _decide({"c1": _child(status, text)})


@often
@given(status=bytes_for(FanOutStatus), rolled_out=st.sampled_from(TIMES) | st.text())
def test_nothing_in_a_childs_status_stops_the_others(status: bytes, rolled_out: str) -> None:
    assert msgspec.json.encode(_decide({"c1": _child(status, rolled_out)}))


@often
@given(content=bytes_for(ManagedClusterAddOn), version=st.sampled_from((V1ALPHA1, V1BETA1)))
def test_nothing_in_an_addons_status_stops_its_reconcile(content: bytes, version: str) -> None:
    try:
        addon = msgspec.json.decode(content, type=ManagedClusterAddOn)
    except msgspec.MsgspecError:
        return
    registration.subject(addon)
    found = Findings("agents", None, addon.status.config_references, None, None)
    wanted = addon_status.wanted(addon, found, version, NOW)
    assert msgspec.json.encode(addon_status.changes(addon.status, wanted))
    assert isinstance(conditions.news(addon.status.conditions, wanted.conditions), tuple)
    assert addon_status.state(addon)


@often
@given(content=bytes_for(ManifestWork))
def test_nothing_that_a_cluster_reports_of_its_work_stops_its_reconcile(content: bytes) -> None:
    try:
        work = keep_work(msgspec.json.decode(content, type=ManifestWork))
    except ValueError:
        return
    addon = ManagedClusterAddOn(ObjectMeta(name=names.ADDON, namespace="c1"))
    wanted = addon_status.wanted(addon, Findings("agents", None, (), None, work), V1BETA1, NOW)
    assert all(isinstance(item, Condition) for item in wanted.conditions)
    assert msgspec.json.encode(addon_status.changes(addon.status, wanted))
