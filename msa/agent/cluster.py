"""What the agent knows of its managed cluster beside its objects: CA, signing keys, clock."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import anyio
import structlog

from msa.agent.ingest import digest
from msa.agent.keyset import KeySet
from msa.api.core import Credential
from msa.api.token import Claims
from msa.policy.rotation import Cluster, Kind
from msa.runtime.errors import ApiError, Forbidden, Invalid, NotFound
from msa.runtime.ports import Now

_REFRESH_SECONDS = 300.0
_LOOK_SECONDS = 5.0
"""How soon a changed CA, or an API server that came back, is noticed."""

_UNSETTLED_SECONDS = 120.0
"""How long after an interruption no answer counts as lasting: a server that was just restarted answers 403 until its authorizer is warm, and
one that is shut down answers with the old keys until it is gone."""

_LEAST_SECONDS = 5.0
"""Between two fetches that an unknown key asks for, however many tokens show it."""

_log = structlog.get_logger(__name__)


class ManagedCluster:
    """Kept up to date by `run`.

    Args:
        namespace: where the ServiceAccounts are.
        fetch_keys: the bytes of `/openid/v1/jwks`.
        ca: the CA bundle in use now.
        now: our wall clock.
        skew: seconds that the cluster's clock is ahead of it; None while that is not known.
        interruptions: how often its watches broke.

    Attributes:
        disturbed_at: when its API server was last away, or seen to be another, in monotonic seconds.
    """

    def __init__(
        self,
        namespace: str,
        fetch_keys: Callable[[], Awaitable[bytes]],
        *,
        ca: Callable[[], bytes],
        now: Now,
        skew: Callable[[], float | None],
        interruptions: Callable[[], int],
    ) -> None:
        self.namespace = namespace
        self._fetch_keys = fetch_keys
        self._ca = ca
        self._now = now
        self._skew = skew
        self._interruptions = interruptions
        self._keys: KeySet | None = None
        self._complete = True
        self._fetched = self._tried = float("-inf")
        self.disturbed_at = float("-inf")
        self._issuer = ""
        self._problem = ""
        self._lock = anyio.Lock()
        self._former_cas: set[str] = set()
        self._refused: dict[str, str] = {}
        self._refused_kinds: dict[Kind, datetime] = {}
        self.on_change: Callable[[], None] = lambda: None

    @property
    def ca(self) -> bytes:
        return self._ca()

    @property
    def keys(self) -> KeySet | None:
        """None while the cluster has not told them."""
        return self._keys

    def view(self) -> Cluster:
        """For the policy."""
        trusted = self._keys.thumbprints if self._keys is not None and self._complete else None
        return Cluster(self.namespace, digest(self.ca), trusted, tuple(self._refused_kinds.items()))

    def had_ca(self, ca_digest: str) -> bool:
        """Whether its CA was this one before it was changed."""
        return ca_digest in self._former_cas

    def now(self) -> datetime:
        """On the managed cluster's clock, which its tokens' times are from."""
        return self._now() + timedelta(seconds=self._skew() or 0.0)

    async def run(self) -> None:
        """Fetches the keys every few minutes, and when the API server came back; says when they or the CA have changed."""
        if self._keys is None:
            self._disturbed()  # the first answer may have been that of a server that had just started
        while True:
            before, interruptions = self.view(), self._interruptions()
            await anyio.sleep(_LOOK_SECONDS)
            # Signing keys, issuer and audiences are replaced by restarting the API server, which breaks its watches.
            if self._interruptions() != interruptions:
                self._disturbed()
            now = anyio.current_time()
            if now - self.disturbed_at < _UNSETTLED_SECONDS or now - self._fetched >= _REFRESH_SECONDS:
                await self.refresh()
            if (view := self.view()) != before:
                self._former_cas |= {before.ca_digest} - {view.ca_digest}
                self.on_change()

    async def learn(self, key_id: str) -> None:
        """Fetches the keys if one of this id is not known; one fetch, a few seconds after the last, answers all who wait for it."""
        start = anyio.current_time()
        async with self._lock:
            known = self._keys is not None and key_id in self._keys.key_ids
            if not self._complete or known or self._tried > start:
                return
            await anyio.sleep(max(0.0, self._tried + _LEAST_SECONDS - anyio.current_time()))
            await self.refresh()

    def distrust(self) -> None:
        """A token that was issued just now is signed by none of them: the set is incomplete, and no proof against one until it changes."""
        if self._complete:
            _log.warning(
                "key_set_incomplete",
                remedy="signatures are not checked; see /openid/v1/jwks of the managed cluster",
            )
        self._complete = False

    def witness(self, claims: Claims) -> None:
        """A token was issued just now: another issuer than before means that the server was reconfigured, unseen."""
        if self._issuer not in ("", claims.issuer):
            self._disturbed()
        self._issuer = claims.issuer

    def refused_kind(self, kind: Kind, newest: datetime) -> None:
        """The cluster does not take tokens of this kind that were issued until then."""
        self._refused_kinds[kind] = newest

    def refused(self, name: str, version: str) -> None:
        """The cluster does not take the token that the Secret of that name holds at this resourceVersion."""
        self._refused[name] = version

    def forget(self, name: str) -> None:
        """There is no identity of that name any more."""
        self._refused.pop(name, None)

    def refuses(self, credential: Credential) -> bool:
        return self._refused.get(credential.metadata.name) == credential.metadata.resource_version

    async def refresh(self) -> None:
        """Fetches the keys; what is known stays when they cannot be had, and they are asked for again at the next look."""
        self._tried = anyio.current_time()
        try:
            fresh = KeySet.from_jwks(await self._fetch_keys())
        except (
            Forbidden,
            NotFound,
            Invalid,
            ValueError,
        ) as error:  # the server's word, which will not change soon
            self._fetched = self._tried
            self._tell(str(error))
        except ApiError as error:
            self._fetched = float("-inf")
            self._disturbed()
            self._tell(str(error))
        else:
            self._fetched = self._tried
            self._complete = (
                self._complete or self._keys is None or fresh.thumbprints != self._keys.thumbprints
            )
            self._keys, self._problem = fresh, ""

    def _disturbed(self) -> None:
        self.disturbed_at = anyio.current_time()

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            _log.warning("key_set_unavailable", problem=problem)
