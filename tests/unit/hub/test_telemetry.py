"""What users, dashboards and logs learn of the manager's work."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias

import anyio
import pytest
from attrs import define, field
from prometheus_client import CollectorRegistry

from msa.api.addon import AddonStatus
from msa.api.meta import Condition
from msa.hub.ports import Kind
from msa.hub.telemetry import FleetCollector, Telemetry
from msa.policy.doubts import Doubt, Reason
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecord, EventRecorder, ObjectReference
from msa.runtime.store import Store, StoreWriter
from tests.support.builders import START
from tests.support.candidates import candidate
from tests.support.fleet import addon, with_

REQUEST = with_(candidate().request, uid="csr-uid")
DOUBT = Doubt(Reason.SIGNER, "another signer")
Tell: TypeAlias = Callable[[Telemetry], None]


@define
class Sink:
    created: list[EventRecord] = field(factory=list)

    async def create(self, event: EventRecord) -> None:
        self.created.append(event)

    async def bump(self, event: EventRecord) -> None:
        raise AssertionError("nothing is told twice here")


def _counted(told: Tell) -> CollectorRegistry:
    metrics = Metrics(CollectorRegistry())
    told(Telemetry(metrics, EventRecorder(Sink(), lambda: START, metrics), "v1beta1"))
    return metrics.registry


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Condition("RegistrationApplied", "True", "SetPermissionApplied", "m"), "Normal"),
        (Condition("RegistrationApplied", "False", "SetPermissionFailed", "m"), "Warning"),
        (Condition("ManifestApplied", "False", "InvalidConfiguration", "m"), "Warning"),
        (Condition("ManifestApplied", "Unknown", "AddonManifestPending", "m"), "Normal"),
        (Condition("Degraded", "True", "AgentNotAvailable", "m"), "Warning"),
        (Condition("Degraded", "False", "AgentRuns", "m"), "Normal"),
    ],
)
async def test_a_condition_that_changes_is_an_event_of_the_addon_and_a_warning_where_it_is_bad(
    condition: Condition, expected: str, now: Callable[[], datetime]
) -> None:
    (event,) = await _events(lambda telemetry: telemetry.condition(addon(), condition), now)
    assert (event.type, event.reason, event.message) == (expected, condition.reason, "m")
    assert event.regarding == ObjectReference(
        "addon.open-cluster-management.io/v1beta1",
        "ManagedClusterAddOn",
        "c1",
        "managed-serviceaccount",
        "c1-addon-uid",
    )


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (lambda telemetry: telemetry.approved(REQUEST), ("Normal", "Approved")),
        (lambda telemetry: telemetry.doubted(REQUEST, DOUBT, logged=False), ("Warning", "WrongSigner")),
    ],
)
async def test_what_was_decided_on_a_request_is_an_event_of_it(
    told: Tell, expected: tuple[str, str], now: Callable[[], datetime]
) -> None:
    (event,) = await _events(told, now)
    assert (event.type, event.reason) == expected
    assert event.regarding == ObjectReference(
        "certificates.k8s.io/v1", "CertificateSigningRequest", "", REQUEST.metadata.name, "csr-uid"
    )


async def _events(told: Tell, now: Callable[[], datetime]) -> list[EventRecord]:
    sink, metrics = Sink(), Metrics(CollectorRegistry())
    recorder = EventRecorder(sink, now, metrics)
    told(Telemetry(metrics, recorder, "v1beta1"))
    with anyio.move_on_after(1):
        await recorder.run()
    return sink.created


@pytest.mark.parametrize(
    ("told", "labels"),
    [
        (lambda telemetry: telemetry.approved(REQUEST), {"decision": "approved", "reason": ""}),
        (
            lambda telemetry: telemetry.doubted(REQUEST, DOUBT, logged=False),
            {"decision": "undecided", "reason": "WrongSigner"},
        ),
    ],
)
def test_decisions_are_counted_by_what_was_decided_and_why_and_never_by_name(
    told: Tell, labels: dict[str, str]
) -> None:
    counted = [
        (sample.labels, sample.value)
        for family in _counted(told).collect()
        for sample in family.samples
        if sample.name == "msa_csr_decisions_total" and sample.value
    ]
    assert counted == [(labels, 1.0)]


def test_decisions_that_were_never_made_are_counted_as_none_so_that_the_first_is_seen_as_an_increase() -> (
    None
):
    registry = _counted(lambda _telemetry: None)
    decisions = [("approved", ""), *(("undecided", reason) for reason in Reason)]
    for decision, reason in decisions:
        labels = {"decision": decision, "reason": reason}
        assert registry.get_sample_value("msa_csr_decisions_total", labels) == 0


@pytest.mark.parametrize(
    ("told", "verb"),
    [
        (lambda telemetry: telemetry.wrote("c1", Kind.ROLE_BINDING, new=True), "create"),
        (lambda telemetry: telemetry.wrote("c1", Kind.ROLE_BINDING, new=False), "rewrite"),
        (lambda telemetry: telemetry.deleted("c1", Kind.ROLE_BINDING), "delete"),
    ],
)
def test_writes_are_counted_by_kind_and_verb(told: Tell, verb: str) -> None:
    registry = _counted(told)
    assert registry.get_sample_value("msa_addon_writes_total", {"kind": "RoleBinding", "verb": verb}) == 1


def test_a_withdrawal_is_logged_with_its_reason(logged: list[Any]) -> None:
    _counted(lambda telemetry: telemetry.withdrawn("c1", "the cluster is removed"))
    assert [(line["event"], line["cluster"], line["why"]) for line in logged] == [
        ("withdrawn", "c1", "the cluster is removed")
    ]


def test_a_scrape_counts_the_clusters_by_state_as_they_are_at_that_moment() -> None:
    collector = FleetCollector(Store())
    writer = StoreWriter(collector.addons)
    assert _states(collector) == {}
    fine = tuple(Condition(name, "True") for name in ("RegistrationApplied", "ManifestApplied", "Available"))
    for name, conditions in (("c1", fine), ("c2", fine), ("c3", ()), ("c4", fine[:2])):
        writer.put(with_(addon(name), status=AddonStatus(conditions), resource_version="1"))
    assert _states(collector) == {"available": 2, "registering": 1, "unknown": 1}
    writer.put(with_(addon("c1"), deletion_timestamp=START, resource_version="2"))
    assert _states(collector) == {"available": 1, "registering": 1, "removing": 1, "unknown": 1}
    for stored in collector.addons.values():
        writer.remove(stored)
    assert _states(collector) == {}


def _states(collector: FleetCollector) -> dict[str, float]:
    found: Counter[str] = Counter()
    for family in collector.collect():
        assert family.name == "msa_addon_clusters"
        found.update({sample.labels["state"]: int(sample.value) for sample in family.samples})
    return dict(found)
