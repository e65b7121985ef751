"""Certificates for our agents: each CertificateSigningRequest is approved if every field of it is what it may be, else left alone.

The key is the request's name. What is in doubt is told once by an Event and looked at again when it, its cluster or its addon changes.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from attrs import field, frozen
from msgspec.structs import replace

from msa.api import names
from msa.api.addon import LABEL_ADDON, LABEL_CLUSTER, ManagedClusterAddOn
from msa.api.certificates import SigningRequest
from msa.api.cluster import ManagedCluster
from msa.hub.observers import Observer
from msa.hub.ports import Hub
from msa.policy import approval
from msa.policy.approval import Candidate
from msa.policy.doubts import Doubt
from msa.runtime.errors import Conflict, NotFound
from msa.runtime.result import Done, Key, Result, Terminal
from msa.runtime.store import Store

SELECTOR = f"{LABEL_ADDON}={names.ADDON}"
"""Any other request is not ours to judge, and not even read."""


_LEEWAY = timedelta(seconds=60)
"""For the clocks, and for a request that was made while no manager ran."""


@frozen
class ApprovalReconciler:
    """Decides one request.

    Attributes:
        since: when this process began: of older requests an earlier one has logged what is wrong.
        text_of: what a request asks for; None where that is not held any more.
        _told: what was said of each request that is left undecided, by its UID: another look says nothing new.
    """

    requests: Store[SigningRequest]
    clusters: Store[ManagedCluster]
    addons: Store[ManagedClusterAddOn]
    hub: Hub
    observer: Observer
    text_of: Callable[[SigningRequest], str | None]
    since: datetime
    _told: dict[Key, tuple[str, Doubt]] = field(factory=dict, init=False)

    async def __call__(self, key: Key) -> Result:
        request = self.requests.get(key)
        if request is None or request.decided:
            self._told.pop(key, None)
            return Done()
        if (doubt := self._doubt(request)) is not None:
            self._tell(key, request, doubt)
            return Terminal(doubt.reason)
        try:
            await self.hub.approve(request)
        except (NotFound, Conflict):
            return Done()  # it is gone, or another one than was looked at, and that comes by its own event
        self.observer.approved(request)
        return Done()

    def _doubt(self, request: SigningRequest) -> Doubt | None:
        text, cluster = self.text_of(request), request.metadata.label(LABEL_CLUSTER)
        if text is None:
            return approval.too_many()
        candidate = Candidate(
            request=replace(request, spec=replace(request.spec, request=text)),
            cluster=self.clusters.get(cluster),
            addon=self.addons.get(f"{cluster}/{names.ADDON}"),
        )
        return approval.doubt(candidate)

    def _tell(self, key: Key, request: SigningRequest, doubt: Doubt) -> None:
        news, again = (request.metadata.uid, doubt), key in self._told
        if self._told.get(key) != news:
            self._told[key] = news
            created = request.metadata.creation_timestamp
            logged = created is not None and created < self.since - _LEEWAY
            self.observer.doubted(request, doubt, logged=logged and not again)
