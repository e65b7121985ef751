"""What identities hang on, put together: caches -> reconciler -> queue."""

from msa.hub.identities_work import IdentitiesWorkReconciler, Triggers
from msa.hub.part import Common, Part, identities_works
from msa.runtime.backoff import Backoff
from msa.runtime.controller import Controller
from msa.runtime.freshness import Freshness
from msa.runtime.queue import WorkQueue

_WORKERS = 8


def part(common: Common) -> Part:
    """The ManifestWorks that carry the ConfigMaps, in both deploy modes."""
    metrics, freshness = common.metrics, Freshness()
    queue = WorkQueue("identitieswork", Backoff(common.rng), metrics)
    reconciler = IdentitiesWorkReconciler(
        common.addons.store, common.identities_works.store, identities_works(common.hub), freshness
    )
    triggers = Triggers(queue)
    common.addons.subscribe(triggers.addon)
    common.identities_works.subscribe(triggers.work)
    return Part((), (Controller(queue, reconciler, workers=_WORKERS, freshness=freshness, metrics=metrics),))
