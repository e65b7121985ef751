"""One identity: gather -> decide -> act -> status.

Level-triggered and idempotent: whatever was missed or half done, the next look makes it right. The old token stays in the
Secret until the new one is written; the Secret is written before the status.
"""

from datetime import timedelta
from random import Random

import anyio
from attrs import evolve, field, frozen

from msa.agent.cluster import ManagedCluster
from msa.agent.failures import REFUSED_SECONDS, Side, Stopped, asking, refuse
from msa.agent.ingest import CredentialIngest, written
from msa.agent.observers import Observer
from msa.agent.ports import Hub, Managed, SecretContent
from msa.agent.setbacks import RepairLog, Setbacks
from msa.api import names
from msa.api.core import Credential, Marks, ServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.api.token import TokenFacts
from msa.policy import status
from msa.policy.ephemeral import end_of_life
from msa.policy.ownership import (
    is_labelled,
    owns_account,
    owns_secret,
    refused_account,
    refused_name,
    refused_secret,
)
from msa.policy.rotation import (
    InvalidSpec,
    Reason,
    Reissue,
    Repair,
    Request,
    Snapshot,
    refresh_time,
    retry_delay,
    violation,
)
from msa.policy.status import Holding, Trouble
from msa.runtime.errors import AlreadyExists, NotFound
from msa.runtime.freshness import Freshness
from msa.runtime.ports import Now
from msa.runtime.result import Done, Key, RequeueAfter, Result
from msa.runtime.store import Store

_TAMPERING = frozenset(
    (
        Reason.TOKEN_MISSING,
        Reason.TOKEN_MALFORMED,
        Reason.WRONG_ACCOUNT,
        Reason.CA_CHANGED,
        Reason.FOREIGN_DATA,
        Reason.MARKS_LOST,
    )
)
_TIMELY = frozenset((Reason.EXPIRED, Reason.DUE))
_CLOCK_SECONDS = 60.0
_CLOCKS = Trouble(
    "ClockSkew",
    "a token that was issued just now counts as due already: set the clocks of the agent's node and of the managed cluster's API server",
)
_LONGEST_LOOK = timedelta(days=1).total_seconds()
"""Timers are set anew at least daily, so that a clock that was set, or a machine that slept, does no harm."""


@frozen
class Caches:
    """What is known of both clusters."""

    identities: Store[ManagedServiceAccount]
    credentials: Store[Credential]
    accounts: Store[ServiceAccount]


@frozen
class TokenReconciler:
    """Keeps one identity, by name, as its ManagedServiceAccount says.

    Attributes:
        namespace: the cluster's, on the hub.
        hub_now: wall time of the hub, at least that.
        ephemeral: whether identities end with their TTL.
        suspects: identities whose Secret turned out not to be ours: it is read before another token is asked for.
        lasting: until when, on the monotonic clock, the token issued last cannot be due, whatever the wall clocks say.
    """

    namespace: str
    caches: Caches
    hub: Hub
    managed: Managed
    cluster: ManagedCluster
    ingest: CredentialIngest
    freshness: Freshness
    observer: Observer
    now: Now
    hub_now: Now
    rng: Random
    ephemeral: bool
    setbacks: Setbacks[Trouble] = field(factory=Setbacks)
    repairs: RepairLog = field(factory=RepairLog)
    suspects: set[Key] = field(factory=set)
    lasting: dict[Key, float] = field(factory=dict)

    async def __call__(self, key: Key) -> Result:
        identity = self.caches.identities.get(f"{self.namespace}/{key}")
        if identity is None or identity.metadata.deletion_timestamp is not None:
            return await self._retire(key)
        end = end_of_life(identity) if self.ephemeral else None
        left = (end - self.hub_now()).total_seconds() if end is not None else _LONGEST_LOOK
        if left <= 0:
            await self.hub.delete_identity(identity)
            return Done()
        return RequeueAfter(min(left, _LONGEST_LOOK, await self._keep(key, identity)))

    async def _retire(self, key: Key) -> Result:
        """The ManagedServiceAccount is gone: its ServiceAccount goes, and with it every token. The Secret's owner is gone: so does it."""
        account = self._account(key)
        if account is not None and key != names.AGENT_SERVICE_ACCOUNT:
            if await self.hub.identity_lives(key):
                return RequeueAfter(
                    REFUSED_SECONDS
                )  # it is there and cannot be read: the informer tells of that
            await self.managed.delete_account(account)
        self._forget(key)
        return Done()

    def _account(self, key: Key) -> ServiceAccount | None:
        return self.caches.accounts.get(f"{self.cluster.namespace}/{key}")

    def _forget(self, key: Key) -> None:
        self.setbacks.clear(key)
        self.repairs.forget(key)
        self.suspects.discard(key)
        self.lasting.pop(key, None)
        self.cluster.forget(key)

    async def _keep(self, key: Key, identity: ManagedServiceAccount) -> float:
        """Seconds until the next look."""
        holding = Holding(
            account=self._account(key),
            credential=self.caches.credentials.get(f"{self.namespace}/{key}"),
        )
        request = _request(identity)
        cause, start = _cause(identity, holding), anyio.current_time()
        if (setback := self.setbacks.standing(key, cause, start)) is not None:
            await self._report(key, identity, holding, request, setback.outcome)
            return setback.until - start
        try:
            holding = await self._converge(key, identity, holding, request)
        except Stopped as stop:
            delay = self._patience(key, cause, holding, stop)
            if self.setbacks.attempts(key, cause) == 0:
                tell = self.observer.refused if stop.refused else self.observer.failed
                tell(identity, stop.trouble.reason, stop.trouble.message)
            self.setbacks.record(key, cause, stop.trouble, anyio.current_time() + delay)
            await self._report(key, identity, holding, request, stop.trouble)
            return delay
        self.setbacks.clear(key)
        await self._report(key, identity, holding, request, None)
        return self._until_refresh(identity, holding)

    def _patience(self, key: Key, cause: tuple[str, ...], holding: Holding, stop: Stopped) -> float:
        if stop.patience is not None:
            return stop.patience
        claims = holding.claims
        left = claims.expires_at - self.cluster.now() if claims is not None else timedelta()
        return max(stop.retry_after, retry_delay(self.setbacks.attempts(key, cause), left, self.rng.random()))

    def _until_refresh(self, identity: ManagedServiceAccount, holding: Holding) -> float:
        claims = holding.claims
        if claims is None:
            return _LONGEST_LOOK
        return max(1.0, (refresh_time(claims, identity.metadata.uid) - self.cluster.now()).total_seconds())

    async def _converge(
        self, key: Key, identity: ManagedServiceAccount, holding: Holding, request: Request | InvalidSpec
    ) -> Holding:
        """Makes everything as it should be, or raises Stopped."""
        if (refusal := refused_name(identity)) is not None:
            raise refuse(refusal)
        if isinstance(request, InvalidSpec):
            raise Stopped(Trouble("InvalidSpec", str(request)), patience=_LONGEST_LOOK, refused=True)
        account = holding.account or await self._make_account(key, identity)
        snapshot = Snapshot(identity, account, holding.credential, self.cluster.view(), request)
        match await self._violation(key, snapshot):
            case Reissue() as found:
                return Holding(account, await self._issue(key, snapshot, found))
            case Repair() as found:
                return Holding(account, await self._repair(key, snapshot, found))
            case None:
                return Holding(account, holding.credential)

    async def _make_account(self, key: Key, identity: ManagedServiceAccount) -> ServiceAccount:
        with asking(Side.MANAGED):
            try:
                account = await self.managed.create_account(identity)
            except AlreadyExists:
                account = await self._adopt_account(identity)
        self.freshness.wrote(
            key, self.caches.accounts, account.metadata.resource_version, anyio.current_time()
        )
        return account

    async def _adopt_account(self, identity: ManagedServiceAccount) -> ServiceAccount:
        """The account of that name, if it is ours: our label was lost, or our copy is behind."""
        account = await self.managed.read_account(identity.metadata.name)
        if not owns_account(identity, account):
            raise refuse(refused_account(account.metadata.namespace, account.metadata.name))
        if is_labelled(account.metadata):
            return account
        marked = await self.managed.mark_account(account, identity)
        self.observer.repaired(
            identity, "ServiceAccountRelabelled", "the ServiceAccount's label was missing and is back"
        )
        return marked

    async def _violation(self, key: Key, snapshot: Snapshot) -> Reissue | Repair | None:
        """What is wrong; a signature by an unknown key is checked again with the newest keys before it counts."""
        found = violation(snapshot, self.cluster.now())
        if found is None and snapshot.credential is not None and self.cluster.refuses(snapshot.credential):
            return Reissue(Reason.UNKNOWN_KEY, "the managed cluster refuses the token in a TokenReview")
        if found is None or found.reason is not Reason.UNKNOWN_KEY or snapshot.credential is None:
            return found
        facts = snapshot.credential.token
        await self.cluster.learn(facts.key_id if facts is not None else "")
        with asking(Side.HUB):
            try:
                stored = await self.hub.read_secret(key)
            except NotFound:
                return Reissue(Reason.SECRET_MISSING, "the Secret is gone")
        fresh = evolve(snapshot, credential=stored.credential, cluster=self.cluster.view())
        return violation(fresh, self.cluster.now())

    async def _issue(self, key: Key, snapshot: Snapshot, found: Reissue) -> Credential:
        start = anyio.current_time()
        identity, stored = snapshot.identity, snapshot.credential
        known = identity.status.token_secret_ref is not None
        tampered = found.reason in _TAMPERING or (found.reason is Reason.SECRET_MISSING and known)
        if tampered:
            await self._pace(key, start)
        if found.reason in _TIMELY and start < self.lasting.get(key, start):
            raise Stopped(_CLOCKS, patience=_CLOCK_SECONDS)
        if key in self.suspects:
            stored = await self._stored(key, identity)
        with asking(Side.MANAGED):
            issued = await self.managed.request_token(snapshot.account, snapshot.request)
        facts = await self._facts(issued.token.reveal().encode())
        # The token's own word: the answer's is from another look at the server's clock, and may be a second off.
        expires = facts.claims.expires_at if facts.claims is not None else issued.expires_at
        marks = Marks(snapshot.request.render(), expires, self.now().replace(microsecond=0))
        content = SecretContent(issued.token, self.cluster.ca, marks)
        self._refuse_unfit(snapshot, content, facts)
        credential = await self._write(key, identity, stored, content, facts)
        if facts.claims is not None:
            life = (facts.claims.expires_at - facts.claims.issued_at).total_seconds()
            self.lasting[key] = start + life / 2
        took = anyio.current_time() - start
        self.observer.issued(identity, found.reason, found.message, took)
        if tampered:
            self.repairs.repaired(key, anyio.current_time())
            self.observer.repaired(identity, found.reason, found.message)
        return credential

    def _refuse_unfit(self, snapshot: Snapshot, content: SecretContent, facts: TokenFacts) -> None:
        """A new token that would be replaced at once is never written: the account may be another's by now, or the server alters requests."""
        would_be = written(snapshot.identity, content, facts, "")
        found = violation(
            evolve(snapshot, credential=would_be, cluster=self.cluster.view()), self.cluster.now()
        )
        match found:
            case Reissue(reason=reason, message=message) if reason not in _TIMELY:
                trouble = Trouble(
                    "UnfitToken",
                    f"the managed cluster issued a token that is not what was asked for ({reason}: {message}): the Secret is left as it "
                    f"was; see what replaces the ServiceAccount, or alters token requests, there",
                )
                raise Stopped(trouble)

    async def _facts(self, token: bytes) -> TokenFacts:
        facts = self.ingest.facts(token)
        if not facts.signed_by and self.cluster.keys is not None:
            await self.cluster.learn(facts.key_id)
            facts = self.ingest.facts(token)
            if not facts.signed_by:
                self.cluster.distrust()
        return facts

    async def _repair(self, key: Key, snapshot: Snapshot, found: Repair) -> Credential:
        stored = snapshot.credential
        if stored is None or stored.token is None or stored.token.claims is None:
            raise AssertionError("only a Secret with a readable token is repaired")
        if stored.immutable:
            return await self._issue(key, snapshot, Reissue(found.reason, found.message))
        await self._pace(key, anyio.current_time())
        claims = stored.token.claims
        refreshed = stored.marks.refreshed_at or claims.issued_at
        content = SecretContent(
            None, self.cluster.ca, Marks(snapshot.request.render(), claims.expires_at, refreshed)
        )
        credential = await self._write(key, snapshot.identity, stored, content, stored.token)
        self.repairs.repaired(key, anyio.current_time())
        self.observer.repaired(snapshot.identity, found.reason, found.message)
        return credential

    async def _pace(self, key: Key, now: float) -> None:
        """Raises Stopped when somebody alters the Secret so often that the next repair must wait."""
        if (pause := self.repairs.pause(key, now)) <= 0:
            return
        try:
            writers = (await self.hub.read_secret(key)).writers
        except NotFound:
            writers = ()
        who = f"field manager {', '.join(writers)}" if writers else "somebody who deletes it"
        message = (
            f"the Secret is altered again and again by {who}: stop that; it is repaired less and less often"
        )
        raise Stopped(Trouble("SecretContested", message), patience=pause)

    async def _stored(self, key: Key, identity: ManagedServiceAccount) -> Credential | None:
        """The Secret of that name, read now; None if there is none. Raises Stopped if it is not ours."""
        with asking(Side.HUB):
            try:
                stored = (await self.hub.read_secret(key)).credential
            except NotFound:
                self.suspects.discard(key)
                return None
        if not owns_secret(identity, stored):
            self.suspects.add(key)
            raise refuse(refused_secret(identity))
        return stored

    async def _write(
        self,
        key: Key,
        identity: ManagedServiceAccount,
        stored: Credential | None,
        content: SecretContent,
        facts: TokenFacts,
    ) -> Credential:
        with asking(Side.HUB):
            if stored is not None and stored.immutable and content.token is not None:
                await self.hub.delete_secret(stored)
                stored = None
            if stored is None:
                try:
                    version = await self.hub.create_secret(identity, content)
                except AlreadyExists:
                    stored = await self._stored(key, identity)
                    if stored is None:
                        raise
            if stored is not None:
                version = await self.hub.patch_secret(identity, stored, content)
        self.freshness.wrote(key, self.caches.credentials, version, anyio.current_time())
        return written(identity, content, facts, version)

    async def _report(
        self,
        key: Key,
        identity: ManagedServiceAccount,
        holding: Holding,
        request: Request | InvalidSpec,
        trouble: Trouble | None,
    ) -> None:
        """Writes the status if it is not what it should be."""
        asked = request if isinstance(request, Request) else None
        wanted = status.wanted(identity, holding, asked, trouble, self.now())
        if wanted == identity.status:
            return
        try:
            version = await self.hub.patch_status(identity, wanted)
        except NotFound:
            return  # deleted meanwhile: the next event says so
        self.freshness.wrote(key, self.caches.identities, version, anyio.current_time())


def _request(identity: ManagedServiceAccount) -> Request | InvalidSpec:
    """What the spec asks for, or why it asks for nothing that can be had."""
    try:
        return Request.from_spec(identity.spec)
    except InvalidSpec as error:
        return error


def _cause(identity: ManagedServiceAccount, holding: Holding) -> tuple[str, ...]:
    """What an attempt depends on: when any of it changes, a failed one is worth repeating at once."""
    account, credential = holding.account, holding.credential
    return (
        identity.metadata.uid,
        str(identity.metadata.generation),
        account.metadata.uid if account is not None else "",
        credential.metadata.resource_version if credential is not None else "",
    )
