"""docs/reference/metrics.md, from registries that are filled as the programs fill theirs."""

from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from hack.reference.events import Listener
from hack.reference.text import code, codes, page, section, table
from msa.agent.reconciler import Caches
from msa.agent.telemetry import CacheCollector
from msa.agent.telemetry import Telemetry as AgentTelemetry
from msa.api import addon
from msa.hub.fanout_caches import IDENTITY_INDEXES
from msa.hub.fanout_observer import FanOutCollector, FanOutTelemetry
from msa.hub.profile_telemetry import ProfileTelemetry
from msa.hub.readiness_telemetry import ReadinessTelemetry
from msa.hub.telemetry import FleetCollector
from msa.hub.telemetry import Telemetry as ManagerTelemetry
from msa.runtime.metrics import Metrics
from msa.runtime.store import Store
from msa.runtime.supervisor import Addresses, Supervisor

_INTRO = """\
Both programs serve them on `/metrics` at `--metrics-bind-address`, port 38080. Names that begin with `msa_` are ours; the others are
those that dashboards know from client-go and controller-runtime. Beside these there are the Prometheus client's `process_*`: memory,
CPU time, open files.

A histogram has the series `_bucket`, `_sum` and `_count`. What a label `reason` or `kind` may say of identities, certificates and
repairs is in [conditions.md](conditions.md) and [events.md](events.md). The alerts are in `manifests/monitoring/alerts.yaml`."""


@frozen
class Series:
    """One metric, as Prometheus shows it."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


def metrics() -> str:
    agent, manager = series(fill_agent), series(fill_manager)
    return page(
        "Metrics",
        "the programs' registries",
        _INTRO,
        section("`msa agent`", _table(found for found in agent if found not in manager)),
        section(
            "`msa manager`",
            "Not with `--deploy-mode=AddOnTemplate`, where this manager has nothing to do.",
            _table(found for found in manager if found not in agent),
        ),
        section("Both", _table(found for found in agent if found in manager)),
    )


class _Registry(CollectorRegistry):
    """Tells what was registered."""

    def __init__(self) -> None:
        super().__init__()
        self.collectors: list[Collector] = []

    def register(self, collector: Collector) -> None:
        super().register(collector)
        self.collectors.append(collector)


def series(fill: Callable[[Metrics], None]) -> list[Series]:
    """What a program has, by name, ours first."""
    registry = _Registry()
    program = Metrics(registry)
    fill(program)
    Supervisor(
        metrics=program,
        addresses=Addresses("", ""),
        informers=(),
        controllers=(),
        always={},
        leading={},
        elector=None,
    )
    found = [
        one
        for collector in registry.collectors
        if not isinstance(collector, ProcessCollector)
        for one in _described(collector)
    ]
    return sorted(found, key=lambda one: (not one.name.startswith("msa_"), one.name))


def fill_agent(program: Metrics) -> None:
    """As `msa.agent.app` does."""
    AgentTelemetry(program, Listener(), "")
    program.registry.register(CacheCollector(Caches(Store(), Store(), Store()), dict, int))


def fill_manager(program: Metrics) -> None:
    """As `msa.hub.app` does, with its parts."""
    ManagerTelemetry(program, Listener(), addon.V1BETA1)
    program.registry.register(FleetCollector(Store()))
    FanOutTelemetry(program, Listener())
    ProfileTelemetry(program, Listener())
    ReadinessTelemetry(program, Listener())
    program.registry.register(FanOutCollector(Store(IDENTITY_INDEXES)))


def _described(collector: Collector) -> Iterable[Series]:
    for family in collector.collect():
        labelled: Any = collector if isinstance(collector, MetricWrapperBase) else family
        labels = labelled._labelnames  # noqa: SLF001 - before there is a sample they are told nowhere else
        yield Series(_name(family), family.type, tuple(labels), family.documentation)


def _name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _table(found: Iterable[Series]) -> str:
    rows = [(code(one.name), one.type, codes(one.labels), one.help) for one in found]
    return table(("metric", "type", "labels", "meaning"), rows)
