"""What is told of the fan-out: Events, counters, gauges."""

import msgspec
from prometheus_client import CollectorRegistry

from msa.api.fleet_identity import FanOut, FanOutStatus, FleetIdentity
from msa.api.meta import Condition, ObjectMeta
from msa.hub.fanout_caches import IDENTITY_INDEXES
from msa.hub.fanout_observer import FanOutCollector, FanOutTelemetry
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecorder, ObjectReference
from msa.runtime.store import Store, StoreWriter

ORIGIN = FleetIdentity(ObjectMeta(name="robot", namespace="team", uid="u", resource_version="1"))


class Recorder(EventRecorder):
    """Hears Events and sends none."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, ...]] = []

    def record(
        self, regarding: ObjectReference, type_: str, reason: str, message: str, *, lasting: bool = False
    ) -> None:
        self.heard.append((regarding.namespace, regarding.name, type_, reason, message))


def _telemetry() -> tuple[FanOutTelemetry, Recorder, CollectorRegistry]:
    registry, recorder = CollectorRegistry(), Recorder()
    return FanOutTelemetry(Metrics(registry), recorder), recorder, registry


def test_writes_are_counted_and_told_together() -> None:
    telemetry, recorder, registry = _telemetry()
    for verb in ("create", "create", "rewrite", "delete"):
        telemetry.wrote(verb)
    telemetry.fanned_out(ORIGIN, created=2, rewritten=1)
    counted = {
        verb: registry.get_sample_value("msa_fan_out_writes_total", {"verb": verb})
        for verb in ("create", "rewrite", "delete")
    }
    assert counted == {"create": 2, "rewrite": 1, "delete": 1}
    assert recorder.heard == [
        ("team", "robot", "Normal", "FannedOut", "created on 2 clusters, changed on 1 cluster"),
    ]


def test_only_what_was_done_is_told() -> None:
    telemetry, recorder, _ = _telemetry()
    telemetry.fanned_out(ORIGIN, created=1, rewritten=0)
    telemetry.fanned_out(ORIGIN, created=0, rewritten=3)
    telemetry.withdrawn(ORIGIN, 2, "no longer selected")
    assert [item[4] for item in recorder.heard] == [
        "created on 1 cluster",
        "changed on 3 clusters",
        "removed from 2 clusters: no longer selected",
    ]


def test_an_edit_of_a_child_that_was_put_back_is_told_on_the_child() -> None:
    telemetry, recorder, _ = _telemetry()
    child = FleetIdentity(ObjectMeta(name="robot", namespace="c1", uid="c"))
    telemetry.restored(child, ORIGIN, ["spec.rotation", "label x"])
    assert recorder.heard == [
        (
            "c1",
            "robot",
            "Warning",
            "EditReverted",
            "reverted an edit of spec.rotation, label x: ManagedServiceAccount team/robot owns this one. Edit that one instead",
        )
    ]


def test_held_removals_are_told_with_the_way_to_release_them_and_counted() -> None:
    telemetry, recorder, registry = _telemetry()
    telemetry.held(ORIGIN, 7)
    telemetry.holding(7)
    assert registry.get_sample_value("msa_fan_out_removals_held") == 7
    ((_, _, kind, reason, message),) = recorder.heard
    assert (kind, reason) == ("Warning", "RemovalHeld")
    assert "would be removed from 7 clusters" in message
    assert "kubectl annotate --overwrite msa -n team robot " in message


def test_only_what_somebody_must_do_something_about_is_a_warning() -> None:
    telemetry, recorder, _ = _telemetry()
    for status, reason in (
        ("True", "AllClustersReady"),
        ("False", "RollingOut"),
        ("False", "ClustersFailing"),
    ):
        telemetry.condition(ORIGIN, Condition("Ready", status, reason, "why"))
    assert [item[2:4] for item in recorder.heard] == [
        ("Normal", "AllClustersReady"),
        ("Normal", "RollingOut"),
        ("Warning", "ClustersFailing"),
    ]


def test_the_numbers_of_each_one_are_in_a_gauge_for_as_long_as_it_is_there() -> None:
    store: Store[FleetIdentity] = Store(IDENTITY_INDEXES)
    registry = CollectorRegistry()
    registry.register(FanOutCollector(store))
    told = msgspec.structs.replace(ORIGIN, status=FanOutStatus(fan_out=FanOut(4, 3, 2, 1)))
    writer = StoreWriter(store)
    writer.put(told)
    names = {"namespace": "team", "name": "robot"}
    states = ("desired", "updated", "ready", "failed")

    def values() -> list[float | None]:
        return [
            registry.get_sample_value("msa_fan_out_clusters", {**names, "state": state}) for state in states
        ]

    assert values() == [4, 3, 2, 1]
    writer.remove(told)
    assert values() == [None] * 4
