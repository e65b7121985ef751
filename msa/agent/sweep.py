"""Asks the managed cluster about tokens in TokenReviews: where signatures prove nothing, and after its API server was restarted.

Every token, slowly, where the cluster does not tell its keys: one Secret read and one review a second at most, a round every ten minutes.
And one token of each kind after a restart, which may have changed the issuer or the audiences that the server accepts.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import anyio
import structlog
from attrs import frozen

from msa.agent.cluster import ManagedCluster
from msa.agent.reconciler import Caches
from msa.api.core import Credential
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.api.token import Token
from msa.policy.rotation import Cluster, InvalidSpec, Kind, Request, Snapshot, violation
from msa.runtime.errors import ApiError
from msa.runtime.result import Key
from msa.runtime.slices import Slices
from msa.runtime.store import key_of

_ROUND_SECONDS = 600.0
_PAUSE_SECONDS = 1.0
_LOOK_SECONDS = 5.0
_START_SECONDS = 30.0
_AGES = (5.0, 15.0, 35.0, 75.0, 115.0)
"""Seconds after a disturbance of the API server: it may be gone for a while, and replicas are restarted one after the other."""

_WITNESSES = 2
"""Tokens of a kind that must be refused: one may be refused for a reason of its own."""

_log = structlog.get_logger(__name__)


@frozen
class HeldToken:
    """A token and the resourceVersion of the Secret that held it."""

    token: Token
    version: str


class Reviews(Protocol):
    """What the sweep asks of the two clusters. Every method raises `ApiError`."""

    async def read_token(self, name: str) -> HeldToken | None:
        """The token in the hub Secret, None where it has none."""
        ...

    async def review(self, token: Token, audiences: tuple[str, ...]) -> bool:
        """Whether the managed cluster takes this token for one of the audiences; for the API server's own where there are none."""
        ...


class TokenSweep:
    """Runs for ever.

    Args:
        cluster: is told of tokens that are refused.
        caches: what there is to ask about.
        reviews: who is asked.
        enqueue: has an identity looked at.
    """

    def __init__(
        self, cluster: ManagedCluster, caches: Caches, reviews: Reviews, enqueue: Callable[[Key], None]
    ) -> None:
        self._cluster = cluster
        self._caches = caches
        self._reviews = reviews
        self._enqueue = enqueue

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._ask_about_all)
            tasks.start_soon(self._ask_after_restarts)

    async def _ask_about_all(self) -> None:
        while True:
            await anyio.sleep(_ROUND_SECONDS)
            for key in self._caches.credentials.keys():  # noqa: SIM118 - a Store is no dict
                # A round takes long: what is asked about is what is there now.
                credential = self._caches.credentials.get(key)
                if credential is not None and self._cluster.view().thumbprints is None:
                    if await self._refuses(key, credential):
                        self._cluster.refused(credential.metadata.name, credential.metadata.resource_version)
                        self._enqueue(Key(credential.metadata.name))
                    await anyio.sleep(_PAUSE_SECONDS)

    async def _ask_after_restarts(self) -> None:
        """Once after the start, too, about tokens from before: nobody saw what was changed meanwhile."""
        started = self._cluster.now().replace(microsecond=0)
        await anyio.sleep(_START_SECONDS)
        await self._ask_about_kinds(issued_before=started)
        asked = anyio.current_time()
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            now = anyio.current_time()
            if any(asked < self._cluster.disturbed_at + age <= now for age in _AGES):
                asked = now
                await self._ask_about_kinds(issued_before=self._cluster.now())

    async def _ask_about_kinds(self, *, issued_before: datetime) -> None:
        for kind, keys in (await self._kinds(issued_before)).items():
            witnesses = keys[:_WITNESSES]
            for key in witnesses:
                credential = self._caches.credentials.get(key)
                if credential is None or not await self._refuses(key, credential):
                    break
            else:
                self._refused(kind, keys)

    def _refused(self, kind: Kind, keys: list[Key]) -> None:
        found = [credential for key in keys if (credential := self._caches.credentials.get(key)) is not None]
        newest = max((c.claims.issued_at for c in found if c.claims is not None), default=None)
        if newest is None:
            return
        _log.warning("tokens_refused", issuer=kind.issuer, audiences=kind.audiences, tokens=len(found))
        self._cluster.refused_kind(kind, newest)
        for credential in found:
            self._enqueue(Key(credential.metadata.name))

    async def _kinds(self, issued_before: datetime) -> dict[Kind, list[Key]]:
        """The tokens from before with which nothing else is wrong."""
        kinds: dict[Kind, list[Key]] = {}
        cluster, now, pause = self._cluster.view(), self._cluster.now(), Slices()
        for identity in self._caches.identities.values():
            if (kind := self._kind_of(identity, cluster, now, issued_before)) is not None:
                kinds.setdefault(kind, []).append(key_of(identity))
            if pause.over():
                await pause.rest()
        return kinds

    def _kind_of(
        self, identity: ManagedServiceAccount, cluster: Cluster, now: datetime, issued_before: datetime
    ) -> Kind | None:
        """None where there is no such token."""
        credential = self._caches.credentials.get(key_of(identity))
        if credential is None or credential.token is None or credential.claims is None:
            return None
        if credential.claims.issued_at >= issued_before:
            return None
        account = self._caches.accounts.get(f"{cluster.namespace}/{identity.metadata.name}")
        request = _request(identity)
        if account is None or request is None:
            return None
        sound = violation(Snapshot(identity, account, credential, cluster, request), now) is None
        return Kind.of(credential.token) if sound else None

    async def _refuses(self, key: Key, credential: Credential) -> bool:
        """Whether the cluster says that it does not take the token of this Secret, as it is in the cache."""
        identity, name = self._caches.identities.get(key), credential.metadata.name
        request = _request(identity) if identity is not None else None
        if credential.claims is None or request is None:
            return False  # found wrong without asking anybody
        try:
            held = await self._reviews.read_token(name)
            if held is None or held.version != credential.metadata.resource_version:
                return False  # written meanwhile: asked about in the next round
            return not await self._reviews.review(held.token, request.audiences)
        except ApiError as error:
            _log.warning("token_not_reviewed", name=name, reason=error.reason, problem=error.message)
            return False


def _request(identity: ManagedServiceAccount) -> Request | None:
    try:
        return Request.from_spec(identity.spec)
    except InvalidSpec:
        return None
