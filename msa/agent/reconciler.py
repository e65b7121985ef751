"""One identity: gather -> decide -> act -> status.

Level-triggered and idempotent: whatever was missed or half done, the next look makes it right. The old token stays in the
Secret until the new one is written; the Secret is written before the status.
"""

from collections.abc import Callable
from datetime import timedelta
from random import Random

import anyio
from attrs import evolve, field, frozen
from msgspec.structs import replace

from msa.agent.accounts import AccountKeeper
from msa.agent.anchor import Anchor
from msa.agent.cluster import ManagedCluster
from msa.agent.failures import REFUSED_SECONDS, Side, Stopped, Unsettled, refuse
from msa.agent.ingest import CredentialIngest
from msa.agent.observers import Observer
from msa.agent.ports import Hub, Managed
from msa.agent.retirement import Retirement
from msa.agent.setbacks import Failure, Setback, Setbacks
from msa.agent.tokens import TokenWriter
from msa.api import names
from msa.api.core import Credential, ServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount, Status
from msa.policy import status
from msa.policy.ephemeral import end_of_life
from msa.policy.ownership import claims_of_others, is_labelled, owns_account, owns_secret, refused_name
from msa.policy.patience import limited_wait, retry_delay
from msa.policy.rotation import (
    InvalidSpec,
    Reason,
    Reissue,
    Repair,
    Request,
    Snapshot,
    refresh_time,
    violation,
)
from msa.policy.status import Holding, Trouble
from msa.runtime.absences import Absences
from msa.runtime.errors import NotFound
from msa.runtime.freshness import Freshness
from msa.runtime.ports import Now
from msa.runtime.result import Done, Key, RequeueAfter, Result
from msa.runtime.store import Store

_REMOVED = Trouble(
    "AddonRemoved",
    f"the addon is being removed from the managed cluster: ServiceAccount {names.AGENT_SERVICE_ACCOUNT} and ConfigMap {names.ANCHOR} are "
    f"deleted there, and the ServiceAccounts of all identities with them",
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
        hub_replaced: whether the hub was found to be another one, or restored.
        overruled: what was written into a status and what the hub stored of it, where that differs.
        reread: Secrets that were read again since their copy was made before the keys were known that they are signed with.
    """

    namespace: str
    caches: Caches
    hub: Hub
    managed: Managed
    cluster: ManagedCluster
    anchor: Anchor
    ingest: CredentialIngest
    freshness: Freshness
    observer: Observer
    now: Now
    hub_now: Now
    rng: Random
    ephemeral: bool
    hub_replaced: Callable[[], bool]
    setbacks: Setbacks[Trouble] = field(factory=Setbacks)
    overruled: dict[Key, tuple[Status, Status]] = field(factory=dict)
    reread: dict[Key, Credential] = field(factory=dict)
    absences: Absences = field(factory=Absences)
    tokens: TokenWriter = field(init=False)
    keeper: AccountKeeper = field(init=False)
    retirement: Retirement = field(init=False)

    @tokens.default
    def _token_writer(self) -> TokenWriter:
        return TokenWriter(
            hub=self.hub,
            managed=self.managed,
            cluster=self.cluster,
            ingest=self.ingest,
            credentials=self.caches.credentials,
            freshness=self.freshness,
            observer=self.observer,
            now=self.now,
        )

    @keeper.default
    def _account_keeper(self) -> AccountKeeper:
        return AccountKeeper(self.managed, self.anchor, self.caches.accounts, self.freshness, self.observer)

    @retirement.default
    def _retirement_of_accounts(self) -> Retirement:
        return Retirement(
            self.hub,
            self.managed,
            self.caches.identities,
            self.absences,
            self.observer,
            self.now,
            self.hub_replaced,
        )

    async def __call__(self, key: Key) -> Result:
        identity = self.caches.identities.get(f"{self.namespace}/{key}")
        if identity is None or identity.metadata.deletion_timestamp is not None:
            return await self._retire(key, seen=identity is not None)
        self.retirement.forget(key)
        end = end_of_life(identity) if self.ephemeral else None
        left = (end - self.hub_now()).total_seconds() if end is not None else _LONGEST_LOOK
        if left <= 0:
            await self.hub.delete_identity(identity)
            return Done()
        return RequeueAfter(min(left, _LONGEST_LOOK, await self._keep(key, identity)))

    async def _retire(self, key: Key, *, seen: bool) -> Result:
        """The ManagedServiceAccount is gone: its ServiceAccount goes, and with it every token. The Secret's owner is gone: so does it."""
        result = await self.retirement(key, self._account(key), seen=seen)
        if isinstance(result, Done):
            self._forget(key)
        return result

    def _account(self, key: Key) -> ServiceAccount | None:
        return self.caches.accounts.get(f"{self.cluster.namespace}/{key}")

    def _credential(self, key: Key) -> Credential | None:
        cached, read = self.caches.credentials.get(f"{self.namespace}/{key}"), self.reread.get(key)
        same = (
            cached is not None
            and read is not None
            and read.metadata.resource_version == cached.metadata.resource_version
        )
        return read if same else cached

    def _forget(self, key: Key) -> None:
        self.setbacks.clear(key)
        self.reread.pop(key, None)
        self.overruled.pop(key, None)
        self.tokens.forget(key)
        self.cluster.forget(key)

    def recovered(self, side: Side) -> tuple[Key, ...]:
        """An API server is back: the keys that waited for it, to be looked at at once."""
        return self.setbacks.release(side)

    async def _keep(self, key: Key, identity: ManagedServiceAccount) -> float:
        """Seconds until the next look."""
        stored = self._account(key)
        ours = stored if stored is not None and owns_account(identity, stored) else None
        holding = Holding(account=ours, credential=self._credential(key))
        request, start = _request(identity), anyio.current_time()
        if (setback := self.setbacks.standing(key, self._cause(identity, holding), start)) is not None:
            if setback.told:
                await self._report(key, identity, holding, request, setback.outcome)
            return setback.until - start
        try:
            holding = Holding(ours, await self._revoked(key, identity, stored, holding.credential))
            asked = self._asked(identity, request)
            account = await self.keeper.settle(key, identity, stored)
            snapshot = Snapshot(identity, account, holding.credential, self.cluster.view(), asked)
            snapshot = await self._verified(key, snapshot)
            holding = Holding(account, snapshot.credential)
            holding = Holding(account, await self._settle_secret(key, snapshot))
        except Unsettled as unsettled:
            return unsettled.seconds
        except Stopped as stop:
            holding = Holding(holding.account, stop.stored or holding.credential)
            setback = self._stopped(key, identity, holding, stop)
            if setback.told:
                await self._report(key, identity, holding, request, stop.trouble)
            return setback.until - anyio.current_time()
        self.setbacks.clear(key)
        await self._report(key, identity, holding, request, None)
        return self._until_refresh(identity, holding)

    def _stopped(
        self, key: Key, identity: ManagedServiceAccount, holding: Holding, stop: Stopped
    ) -> Setback[Trouble]:
        """Remembers it, and tells of it if it was not told before and does not end in a moment."""
        cause, trouble = self._cause(identity, holding), stop.trouble
        wait, before = self._patience(key, cause, holding, stop), self.setbacks.told(key, cause)
        failure = Failure(trouble, stop.side, stop.passing)
        setback = self.setbacks.record(key, cause, failure, anyio.current_time(), wait)
        tell = self.observer.refused if stop.refused else self.observer.failed
        known = (before is not None and before.reason == trouble.reason) or status.says(
            identity.status, trouble
        )
        tell(identity, trouble, quietly=known or not setback.told)
        return setback

    def _cause(self, identity: ManagedServiceAccount, holding: Holding) -> tuple[str, ...]:
        """What an attempt depends on: when any of it changes, a failed one is worth repeating at once."""
        account = holding.account or self._account(Key(identity.metadata.name))
        credential = holding.credential
        return (
            identity.metadata.uid,
            str(identity.metadata.generation),
            *self.anchor.uids,
            *(_facts(account) if account is not None else ()),
            credential.metadata.resource_version if credential is not None else "",
        )

    def _patience(self, key: Key, cause: tuple[str, ...], holding: Holding, stop: Stopped) -> float:
        if stop.patience is not None:
            return stop.patience
        claims = holding.claims
        left = claims.expires_at - self.cluster.now() if claims is not None else None
        asked = limited_wait(stop.retry_after, left)
        return max(asked, retry_delay(self.setbacks.attempts(key, cause), left, self.rng.random()))

    def _until_refresh(self, identity: ManagedServiceAccount, holding: Holding) -> float:
        claims = holding.claims
        if claims is None:
            return _LONGEST_LOOK
        return max(1.0, (refresh_time(claims, identity.metadata.uid) - self.cluster.now()).total_seconds())

    def _asked(self, identity: ManagedServiceAccount, request: Request | InvalidSpec) -> Request:
        """What tokens are asked for; raises Stopped where nothing may be done for this identity."""
        if (refusal := refused_name(identity)) is not None:
            raise refuse(refusal)
        if isinstance(request, InvalidSpec):
            raise Stopped(Trouble("InvalidSpec", str(request)), patience=_LONGEST_LOOK, refused=True)
        if self.anchor.lifted:
            raise Stopped(_REMOVED, patience=REFUSED_SECONDS, refused=True)
        return request

    async def _revoked(
        self,
        key: Key,
        identity: ManagedServiceAccount,
        stored: ServiceAccount | None,
        credential: Credential | None,
    ) -> Credential | None:
        """The Secret, without its token if that is of an account that is not ours any more."""
        claims = credential.claims if credential is not None else None
        if (
            stored is None
            or credential is None
            or claims is None
            or claims.account_uid != stored.metadata.uid
        ):
            return credential
        if owns_account(identity, stored) or not owns_secret(identity, credential):
            return credential
        return await self.tokens.revoke(key, identity, credential)

    async def _verified(self, key: Key, snapshot: Snapshot) -> Snapshot:
        """The snapshot with what the server says, where the copy alone is no proof."""
        found, stored = violation(snapshot, self.cluster.now()), snapshot.credential
        match found.reason if found is not None else None:
            case Reason.SECRET_MISSING if snapshot.identity.status.token_secret_ref is not None:
                pass  # it may be there and have lost the label by which it is watched
            case Reason.UNKNOWN_KEY:  # by a key that the copy was not checked with
                facts = stored.token if stored is not None else None
                await self.cluster.learn(facts.key_id if facts is not None else "")
            case _:
                return snapshot
        if (read := await self.tokens.stored(key, snapshot.identity)) is not None:
            self.reread[key] = read
        return evolve(snapshot, credential=read, cluster=self.cluster.view())

    async def _settle_secret(self, key: Key, snapshot: Snapshot) -> Credential | None:
        """Its Secret as it should be, or raises Stopped or Unsettled."""
        match self._violation(snapshot):
            case Reissue() as found:
                return await self.tokens.issue(key, snapshot, found)
            case Repair() as found:
                return await self.tokens.repair(key, snapshot, found)
            case None:
                self.tokens.settling.over(key)
                return snapshot.credential

    def _violation(self, snapshot: Snapshot) -> Reissue | Repair | None:
        found = violation(snapshot, self.cluster.now())
        if found is None and snapshot.credential is not None and self.cluster.refuses(snapshot.credential):
            return Reissue(Reason.UNKNOWN_KEY, "the managed cluster refused the token in a TokenReview")
        return found

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
        wanted = status.wanted(identity, holding, asked, trouble, self.now(), ephemeral=self.ephemeral)
        if wanted == identity.status or self.overruled.get(key) == (_said(wanted), _said(identity.status)):
            return
        try:
            stored = await self.hub.patch_status(identity, wanted)
        except NotFound:
            return  # deleted meanwhile: the next event says so
        version = stored.metadata.resource_version
        self.freshness.wrote(key, self.caches.identities, version, anyio.current_time())
        if stored.status == wanted:
            self.overruled.pop(key, None)
        else:  # by admission, or by a CRD of another release: writing the same again would change nothing
            self.overruled[key] = (_said(wanted), _said(stored.status))
        for type_ in (status.LIFETIME_SHORTENED, status.TTL_IGNORED):
            if (message := status.newly(type_, identity.status, wanted)) is not None:
                self.observer.limited(identity, type_, message)


def _facts(account: ServiceAccount) -> tuple[str, ...]:
    """What an attempt depends on of an account."""
    metadata, claims = account.metadata, claims_of_others(account)
    owners = (owner.uid for owner in metadata.owner_references)
    return (metadata.uid, str(is_labelled(metadata)), str(metadata.deletion_timestamp), *owners, *claims)


def _said(status_: Status) -> Status:
    """A status without the times at which its conditions changed."""
    said = tuple(replace(condition, last_transition_time=None) for condition in status_.conditions)
    return replace(status_, conditions=said)


def _request(identity: ManagedServiceAccount) -> Request | InvalidSpec:
    """What the spec asks for, or why it asks for nothing that can be had."""
    try:
        return Request.from_spec(identity.spec)
    except InvalidSpec as error:
        return error
