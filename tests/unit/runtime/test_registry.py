from collections.abc import Iterable
from typing import Any

from prometheus_client import Counter, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from msa.runtime.metrics import Metrics
from msa.runtime.registry import Registry


class Moody(Collector):
    """Raises while it is told to, in the middle of its series."""

    def __init__(self) -> None:
        self.raises = False

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("mood", "of it", value=1)
        if self.raises:
            raise OverflowError("date value out of range")


def test_a_collector_that_raises_is_left_out_and_logged_once_until_it_works_again(logged: list[Any]) -> None:
    registry, moody = Registry(), Moody()
    registry.register(moody)
    Counter("others", "are shown", registry=registry).inc()
    moody.raises = True
    for _ in range(3):
        text = generate_latest(registry).decode()
        assert "others_total 1.0" in text
        assert "mood" not in text
    assert [line["event"] for line in logged] == ["collector_failed"]
    moody.raises = False
    assert "mood 1.0" in generate_latest(registry).decode()


def test_it_shows_what_a_common_registry_shows() -> None:
    registry = Registry()
    metrics = Metrics(registry)
    metrics.leader.labels("one").set(1)
    assert registry.get_sample_value("leader_election_master_status", {"name": "one"}) == 1
    assert "process_cpu_seconds_total" in generate_latest(registry).decode()
