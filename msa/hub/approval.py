"""Certificates for our agents: each CertificateSigningRequest is approved if every field of it is what it may be, else left alone.

The key is the request's name. What is in doubt is told once by an Event and looked at again when it, its cluster or its addon changes.
"""

from attrs import frozen

from msa.api import names
from msa.api.addon import LABEL_ADDON, LABEL_CLUSTER, ManagedClusterAddOn
from msa.api.certificates import SigningRequest
from msa.api.cluster import ManagedCluster
from msa.hub.observers import Observer
from msa.hub.ports import Hub
from msa.policy import approval
from msa.policy.approval import Candidate
from msa.runtime.errors import NotFound
from msa.runtime.result import Done, Key, Result, Terminal
from msa.runtime.store import Store

SELECTOR = f"{LABEL_ADDON}={names.ADDON}"
"""Any other request is not ours to judge, and not even read."""


@frozen
class ApprovalReconciler:
    """Decides one request."""

    requests: Store[SigningRequest]
    clusters: Store[ManagedCluster]
    addons: Store[ManagedClusterAddOn]
    hub: Hub
    observer: Observer

    async def __call__(self, key: Key) -> Result:
        request = self.requests.get(key)
        if request is None or request.decided:
            return Done()
        cluster = request.metadata.label(LABEL_CLUSTER)
        candidate = Candidate(
            request=request,
            cluster=self.clusters.get(cluster),
            addon=self.addons.get(f"{cluster}/{names.ADDON}"),
        )
        if (doubt := approval.doubt(candidate)) is not None:
            self.observer.doubted(request, doubt)
            return Terminal(doubt.reason)
        try:
            await self.hub.approve(request)
        except NotFound:
            return Done()
        self.observer.approved(request)
        return Done()
