from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias

import anyio
import pytest
from attrs import define, field
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest

from msa.agent.reconciler import Caches
from msa.agent.telemetry import CacheCollector, Telemetry
from msa.api.managedserviceaccount import ManagedServiceAccount, Status
from msa.api.meta import Condition
from msa.policy.status import Trouble
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecord, EventRecorder, ObjectReference
from msa.runtime.result import Key
from msa.runtime.store import Store, StoreWriter
from tests.support.builders import HOUR, START, identity

ONE = '{name="one",namespace="cluster1"}'
EXPIRATION = "msa_token_expiration_timestamp_seconds"
REFRESH = "msa_token_refresh_timestamp_seconds"
SAID = Trouble("Why", "because")
Tell: TypeAlias = Callable[[Telemetry], None]


@define
class Sink:
    created: list[EventRecord] = field(factory=list)

    async def create(self, event: EventRecord) -> None:
        self.created.append(event)

    async def bump(self, event: EventRecord) -> None:
        raise AssertionError("nothing is told twice here")


def _registry(told: Tell) -> CollectorRegistry:
    metrics = Metrics(CollectorRegistry())
    told(Telemetry(metrics, EventRecorder(Sink(), lambda: START, metrics), "cluster1"))
    return metrics.registry


def _collector(skews: Callable[[], dict[str, float | None]] = dict) -> CacheCollector:
    return CacheCollector(Caches(Store(), Store(), Store()), skews, held=lambda: 3)


def _put(collector: CacheCollector, stored: ManagedServiceAccount) -> None:
    StoreWriter(collector.caches.identities).put(stored)


def _reported(name: str, status: Status, version: str = "5") -> ManagedServiceAccount:
    plain = identity(name)
    return replace(plain, metadata=replace(plain.metadata, resource_version=version), status=status)


def _series(collector: CacheCollector, name: str) -> dict[str, float]:
    """What a scrape has under that name: value by labels, as they are written out."""
    registry = CollectorRegistry()
    registry.register(collector)
    lines = (line.rsplit(" ", 1) for line in generate_latest(registry).decode().splitlines())
    return {
        labels.removeprefix(name): float(value) for labels, value in lines if labels.startswith(f"{name}{{")
    }


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param(
            lambda telemetry: telemetry.issued(identity(), "TokenDue", "it expires", 0.2),
            ("Normal", "TokenIssued", "TokenDue: it expires; issued a new token"),
            id="issued",
        ),
        pytest.param(
            lambda telemetry: telemetry.repaired(identity(), "CAChanged", "ca.crt is back"),
            ("Warning", "Repaired", "CAChanged: ca.crt is back"),
            id="repaired",
        ),
        pytest.param(
            lambda telemetry: telemetry.refused(
                identity(), Trouble("SecretConflict", "not ours"), quietly=False
            ),
            ("Warning", "SecretConflict", "not ours"),
            id="refused",
        ),
        pytest.param(
            lambda telemetry: telemetry.failed(
                identity(), Trouble("HubUnreachable", "no answer"), quietly=False
            ),
            ("Warning", "HubUnreachable", "no answer"),
            id="failed",
        ),
    ],
)
async def test_the_user_is_told_by_an_event_on_the_identity(
    told: Tell, expected: tuple[str, str, str], now: Callable[[], datetime]
) -> None:
    sink, metrics = Sink(), Metrics(CollectorRegistry())
    recorder = EventRecorder(sink, now, metrics)
    told(Telemetry(metrics, recorder, "cluster1"))
    with anyio.move_on_after(1):
        await recorder.run()
    assert [(event.type, event.reason, event.message) for event in sink.created] == [expected]
    assert sink.created[0].regarding == ObjectReference(
        "authentication.open-cluster-management.io/v1beta1",
        "ManagedServiceAccount",
        "cluster1",
        "one",
        "msa-uid",
    )


@pytest.mark.parametrize(
    ("told", "series", "labels"),
    [
        pytest.param(
            lambda telemetry: telemetry.issued(identity(), "TokenDue", "it expires", 0.2),
            "msa_rotations_total",
            {"reason": "TokenDue", "result": "success"},
            id="issued",
        ),
        pytest.param(
            lambda telemetry: telemetry.failed(
                identity(), Trouble("HubUnreachable", "no answer"), quietly=False
            ),
            "msa_rotations_total",
            {"reason": "HubUnreachable", "result": "failure"},
            id="failed",
        ),
        pytest.param(
            lambda telemetry: telemetry.repaired(identity(), "CAChanged", "ca.crt is back"),
            "msa_repairs_total",
            {"kind": "CAChanged"},
            id="repaired",
        ),
        pytest.param(
            lambda telemetry: telemetry.refused(
                identity(), Trouble("SecretConflict", "not ours"), quietly=False
            ),
            "msa_refusals_total",
            {"reason": "SecretConflict"},
            id="refused",
        ),
    ],
)
def test_what_happens_is_counted_once_by_reason_and_never_by_name(
    told: Tell, series: str, labels: dict[str, str]
) -> None:
    counted = [
        (sample.name, sample.labels, sample.value)
        for family in _registry(told).collect()
        for sample in family.samples
        if sample.name.startswith(("msa_rotations", "msa_repairs", "msa_refusals"))
    ]
    assert counted == [(series, labels, 1.0)]


def test_the_time_that_a_token_took_is_put_in_its_bucket() -> None:
    registry = _registry(lambda telemetry: telemetry.issued(identity(), "TokenDue", "it expires", 0.2))
    assert registry.get_sample_value("msa_token_request_duration_seconds_sum") == 0.2
    assert registry.get_sample_value("msa_token_request_duration_seconds_bucket", {"le": "0.1"}) == 0
    assert registry.get_sample_value("msa_token_request_duration_seconds_bucket", {"le": "0.25"}) == 1


def test_a_token_that_was_not_issued_took_no_time() -> None:
    registry = _registry(
        lambda telemetry: telemetry.failed(identity(), Trouble("HubUnreachable", "no answer"), quietly=False)
    )
    assert registry.get_sample_value("msa_token_request_duration_seconds_count") == 0


def test_a_scrape_shows_what_the_caches_have_at_that_moment() -> None:
    collector = _collector()
    assert _series(collector, EXPIRATION) == _series(collector, REFRESH) == {}
    _put(collector, _reported("one", Status(expiration_timestamp=START, next_refresh_timestamp=START - HOUR)))
    assert _series(collector, EXPIRATION) == {ONE: START.timestamp()}
    assert _series(collector, REFRESH) == {ONE: START.timestamp() - 3600}
    _put(collector, _reported("one", Status(expiration_timestamp=START + HOUR), version="6"))
    assert _series(collector, EXPIRATION) == {ONE: START.timestamp() + 3600}
    assert _series(collector, REFRESH) == {}


def test_the_series_of_a_deleted_identity_are_gone_and_those_of_others_stay() -> None:
    collector = _collector()
    ready = (Condition("Ready", "True"),)
    for name in ("one", "two"):
        _put(collector, _reported(name, Status(ready, 1, START, next_refresh_timestamp=START)))
    assert _series(collector, EXPIRATION).keys() == {ONE, ONE.replace("one", "two")}
    StoreWriter(collector.caches.identities).drop(Key("cluster1/two"))
    assert _series(collector, EXPIRATION).keys() == _series(collector, REFRESH).keys() == {ONE}
    assert _series(collector, "msa_ready") == {'{condition="Ready",status="True"}': 1}


def test_an_identity_without_a_token_has_no_token_series() -> None:
    collector = _collector()
    _put(collector, identity())
    assert _series(collector, EXPIRATION) == _series(collector, REFRESH) == {}


def test_identities_are_counted_by_condition_and_its_status() -> None:
    collector = _collector()
    for name, ready, created in (("a", "True", "True"), ("b", "False", "True"), ("c", "True", "True")):
        _put(
            collector,
            _reported(name, Status((Condition("Ready", ready), Condition("SecretCreated", created)))),
        )
    _put(collector, identity("new"))
    assert _series(collector, "msa_ready") == {
        '{condition="Ready",status="False"}': 1,
        '{condition="Ready",status="True"}': 2,
        '{condition="SecretCreated",status="True"}': 3,
    }


def test_conditions_that_a_tenant_made_up_make_no_series() -> None:
    collector = _collector()
    _put(collector, _reported("a", Status((Condition("MadeUp", "True"), Condition("Ready", "True")))))
    assert _series(collector, "msa_ready") == {'{condition="Ready",status="True"}': 1}


def test_a_clock_skew_is_asked_for_at_each_scrape_and_left_out_while_unknown() -> None:
    skews: dict[str, float | None] = {"hub": 0.0, "managed": None}
    collector = _collector(lambda: skews)
    assert _series(collector, "msa_clock_skew_seconds") == {'{side="hub"}': 0}
    skews |= {"hub": None, "managed": -1.5}
    assert _series(collector, "msa_clock_skew_seconds") == {'{side="managed"}': -1.5}


def test_no_two_families_of_one_scrape_have_the_same_name() -> None:
    """Prometheus refuses the whole scrape otherwise."""
    collector = _collector()
    registry = _registry(lambda _telemetry: None)
    registry.register(collector)
    families = [family.name for family in registry.collect()]
    assert sorted(families) == sorted(set(families))


@pytest.mark.parametrize("tell", ["refused", "failed"])
async def test_what_goes_on_is_counted_each_time_and_told_once(
    tell: str, now: Callable[[], datetime]
) -> None:
    sink, metrics = Sink(), Metrics(CollectorRegistry())
    recorder = EventRecorder(sink, now, metrics)
    telemetry = Telemetry(metrics, recorder, "cluster1")
    for quietly in (False, True, True):
        getattr(telemetry, tell)(identity(), Trouble("Why", "because"), quietly=quietly)
    with anyio.move_on_after(10):
        await recorder.run()
    assert [(event.reason, event.count) for event in sink.created] == [("Why", 1)]
    samples = (sample for family in metrics.registry.collect() for sample in family.samples)
    counted = [sample.value for sample in samples if sample.labels.get("reason") == "Why"]
    assert 3.0 in counted


@pytest.mark.parametrize(
    ("tell", "event", "level"),
    [
        (
            lambda telemetry: telemetry.issued(identity(), "TokenDue", "it expires", 0.2),
            "token_issued",
            "info",
        ),
        (lambda telemetry: telemetry.repaired(identity(), "CAChanged", "back"), "repaired", "warning"),
        (
            lambda telemetry: telemetry.limited(identity(), "LifetimeShortened", "less"),
            "limited",
            "warning",
        ),
        (lambda telemetry: telemetry.refused(identity(), SAID, quietly=False), "refused", "warning"),
        (lambda telemetry: telemetry.failed(identity(), SAID, quietly=False), "failed", "warning"),
        (lambda telemetry: telemetry.failed(identity(), SAID, quietly=True), "failed", "debug"),
    ],
)
def test_every_turn_of_an_identity_is_in_the_log(
    tell: Tell, event: str, level: str, logged: list[Any]
) -> None:
    _registry(tell)
    assert [(line["event"], line["log_level"]) for line in logged] == [(event, level)]
