"""`Ready` where the agent cannot say it, put together: caches -> reconciler -> queue."""

from msa.hub.identity_writes import IdentityWrites
from msa.hub.part import Common, Part
from msa.hub.readiness import ReadinessReconciler
from msa.hub.readiness_telemetry import ReadinessTelemetry
from msa.hub.readiness_triggers import Triggers
from msa.runtime.backoff import Backoff
from msa.runtime.controller import Controller
from msa.runtime.freshness import Freshness
from msa.runtime.queue import WorkQueue

_WORKERS = 8


def part(common: Common) -> Part:
    """The judge of `Ready`."""
    metrics, freshness = common.metrics, Freshness()
    identities, addons = common.identities, common.addons
    queue = WorkQueue("readiness", Backoff(common.rng), metrics)
    triggers = Triggers(identities.store, queue)
    identities.subscribe(triggers.identity)
    addons.subscribe(triggers.addon)
    reconciler = ReadinessReconciler(
        identities.store,
        addons.store,
        IdentityWrites(common.stored),
        freshness,
        ReadinessTelemetry(metrics, common.recorder),
        now=common.hub.server_time,
    )
    return Part((), (Controller(queue, reconciler, workers=_WORKERS, freshness=freshness, metrics=metrics),))
