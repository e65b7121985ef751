"""What makes an identity's Secret right: a new token, or a repair around the one that is there.

The old token stays in the Secret until the new one is written, and a new one that would have to be replaced at once is never written.
"""

from contextlib import suppress

import anyio
from attrs import evolve, field, frozen

from msa.agent.cluster import ManagedCluster
from msa.agent.failures import Asking, Stopped, Unsettled, asking, refuse
from msa.agent.ingest import CredentialIngest, written
from msa.agent.observers import Observer
from msa.agent.ports import Hub, Managed, SecretContent
from msa.agent.setbacks import RepairLog, Settling
from msa.api.core import Credential, Marks
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.api.token import TokenFacts
from msa.policy.ownership import is_handed_over, owns_secret, refused_secret, was_revoked
from msa.policy.patience import can_wait
from msa.policy.rotation import Reason, Reissue, Repair, Snapshot, Violation, refreshed_at, violation
from msa.policy.status import Trouble
from msa.runtime.errors import AlreadyExists, Forbidden, Invalid, NotFound
from msa.runtime.freshness import Freshness
from msa.runtime.ports import Now
from msa.runtime.result import Key
from msa.runtime.store import Store

_TAMPERING = frozenset(
    (
        Reason.TOKEN_MISSING,
        Reason.TOKEN_MALFORMED,
        Reason.WRONG_ACCOUNT,
        Reason.FOREIGN_DATA,
        Reason.MARKS_LOST,
        Reason.ADOPTED,
    )
)
_AT_ONCE = frozenset((Reason.SECRET_MISSING, Reason.TOKEN_MISSING, Reason.ADOPTED))
"""Repairs that do not wait for somebody to finish: without a token nobody can work."""

_TIMELY = frozenset((Reason.EXPIRED, Reason.DUE))
_CLOCK_SECONDS = 60.0
_ALTERED_SECONDS = 300.0
_CLOCKS = Trouble(
    "ClockSkew",
    "a newly issued token is already due for rotation: check the clocks of the agent's node and of the managed cluster's API server",
)


@frozen
class TokenWriter:
    """Writes Secrets on the hub.

    Attributes:
        credentials: the copy of the Secrets that will show what was written.
        repairs: how often somebody else made one necessary.
        suspects: identities whose Secret turned out not to be ours: it is read before another token is asked for.
        lasting: until when, on the monotonic clock, the token issued last cannot be due, whatever the wall clocks say.
    """

    hub: Hub
    managed: Managed
    cluster: ManagedCluster
    ingest: CredentialIngest
    credentials: Store[Credential]
    freshness: Freshness
    observer: Observer
    now: Now
    repairs: RepairLog = field(factory=RepairLog)
    suspects: set[Key] = field(factory=set)
    lasting: dict[Key, float] = field(factory=dict)
    settling: Settling = field(factory=Settling)

    def forget(self, key: Key) -> None:
        """There is no identity of that name any more."""
        self.repairs.forget(key)
        self.suspects.discard(key)
        self.lasting.pop(key, None)
        self.settling.over(key)

    async def issue(self, key: Key, snapshot: Snapshot, found: Reissue) -> Credential:
        """Asks for a token and writes it.

        Raises:
            Stopped: it cannot or must not be had now.
        """
        identity, start = snapshot.identity, anyio.current_time()
        altered = self._altered(snapshot, found.reason)
        if altered:
            await self._pace(key, snapshot, found.reason, start)
        if found.reason in _TIMELY and start < self.lasting.get(key, start):
            raise Stopped(_CLOCKS, patience=_CLOCK_SECONDS)
        stored = await self.stored(key, identity) if key in self.suspects else snapshot.credential
        content, facts, took = await self._request(snapshot)
        credential = await self._write(key, identity, stored, content)
        if facts.claims is not None:
            life = (facts.claims.expires_at - facts.claims.issued_at).total_seconds()
            self.lasting[key] = start + life / 2
        self.observer.issued(identity, found.reason, found.message, took)
        if altered:
            self._paced(key)
        sent = self._as_sent(snapshot, credential)
        if altered:
            self._tell(snapshot, found, "issued a new token")
        return sent

    async def repair(self, key: Key, snapshot: Snapshot, found: Repair) -> Credential:
        """Writes the Secret again around its token.

        Raises:
            Stopped: it cannot or must not be done now.
        """
        stored = snapshot.credential
        if stored is None or stored.token is None or stored.token.claims is None:
            raise AssertionError("only a Secret with a readable token is repaired")
        if stored.immutable:
            return await self.issue(key, snapshot, Reissue(found.reason, found.message))
        if altered := self._altered(snapshot, found.reason):
            await self._pace(key, snapshot, found.reason, anyio.current_time())
        claims = stored.token.claims
        marks = Marks(snapshot.request.render(), claims.expires_at, refreshed_at(stored, claims))
        content = SecretContent(None, self.cluster.ca, marks)
        credential = await self._write(key, snapshot.identity, stored, content)
        if altered:
            self._paced(key)
        sent = self._as_sent(snapshot, credential)
        self._tell(snapshot, found, "restored the Secret and kept its token")
        return sent

    def _as_sent(self, snapshot: Snapshot, stored: Credential) -> Credential:
        """The Secret as it was stored; raises Stopped where the hub altered what was written, since it would do so again."""
        found = violation(
            evolve(snapshot, credential=stored, cluster=self.cluster.view()), self.cluster.now()
        )
        if found is None or found.reason in _TIMELY:
            return stored
        metadata = snapshot.identity.metadata
        trouble = Trouble(
            "SecretAltered",
            f"the hub stored Secret {metadata.namespace}/{metadata.name} otherwise than the agent wrote it ({found.reason}: {found.message}). "
            f"Find the mutating admission webhook or policy that alters it, and exempt this Secret. The agent retries every 5 minutes",
        )
        raise Stopped(trouble, patience=_ALTERED_SECONDS, stored=stored)

    def _paced(self, key: Key) -> None:
        """Remembers that somebody else made a repair necessary."""
        self.settling.over(key)
        self.repairs.repaired(key, anyio.current_time())

    def _tell(self, snapshot: Snapshot, found: Violation, done: str) -> None:
        """Of what was put right, as the hub stored it."""
        identity, stored = snapshot.identity, snapshot.credential
        message = f"{found.message}; {done}"
        if stored is not None and is_handed_over(identity, stored):
            self.observer.adopted(
                identity, Reason.ADOPTED, f"the Secret's label asks for its adoption: {message}"
            )
        elif found.reason is Reason.ADOPTED:
            self.observer.adopted(identity, found.reason, message)
        else:
            self.observer.repaired(identity, found.reason, message)

    async def revoke(
        self, key: Key, identity: ManagedServiceAccount, stored: Credential
    ) -> Credential | None:
        """Takes the token out of the Secret: its account is another program's by now. None where the Secret is gone."""
        with asking(Asking.SECRET):
            if stored.immutable:
                await self.hub.delete_secret(stored)
                return None
            version = await self.hub.revoke_secret(stored)
        self.freshness.wrote(key, self.credentials, version, anyio.current_time())
        self.observer.repaired(
            identity,
            "TokenRevoked",
            "the ServiceAccount belongs to another program as well; removed its token",
        )
        return evolve(stored, token=None)

    def _altered(self, snapshot: Snapshot, reason: Reason) -> bool:
        """Whether somebody else did it, who may do it again; not so a Secret that never was, or that has a CA of before."""
        match reason, snapshot.credential:
            case Reason.SECRET_MISSING, _:
                return snapshot.identity.status.token_secret_ref is not None
            case Reason.TOKEN_MISSING, Credential() as stored if was_revoked(snapshot.identity, stored):
                return False
            case Reason.CA_CHANGED, Credential(ca_digest=stored):
                return not self.cluster.had_ca(stored)
        return reason in _TAMPERING

    async def _request(self, snapshot: Snapshot) -> tuple[SecretContent, TokenFacts, float]:
        """A new token as the Secret will hold it, what is known of it, and the seconds that the request took."""
        start = anyio.current_time()
        with asking(Asking.TOKEN):
            issued = await self.managed.request_token(snapshot.account, snapshot.request)
        took = anyio.current_time() - start
        facts = await self._facts(issued.token.reveal().encode())
        if facts.claims is not None:
            self.cluster.witness(facts.claims)
        # The token's own word: the answer's is from another look at the server's clock, and may be a second off.
        expires = facts.claims.expires_at if facts.claims is not None else issued.expires_at
        marks = Marks(snapshot.request.render(), expires, self.now().replace(microsecond=0))
        content = SecretContent(issued.token, self.cluster.ca, marks)
        self._refuse_unfit(snapshot, content, facts)
        return content, facts, took

    async def _facts(self, token: bytes) -> TokenFacts:
        facts = self.ingest.facts(token)
        if not facts.signed_by and self.cluster.keys is not None:
            await self.cluster.learn(facts.key_id)
            facts = self.ingest.facts(token)
            if not facts.signed_by:
                self.cluster.distrust()
        return facts

    def _refuse_unfit(self, snapshot: Snapshot, content: SecretContent, facts: TokenFacts) -> None:
        """The account may be another's by now, or the server alters requests: the token would be replaced at once, for ever."""
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
                raise Stopped(trouble, passing=True)

    async def _pace(self, key: Key, snapshot: Snapshot, reason: Reason, now: float) -> None:
        """Raises Unsettled while somebody is altering the Secret, Stopped when that happens so often that the next repair must wait."""
        unsettled = 0.0
        if reason not in _AT_ONCE and snapshot.credential is not None:
            version = snapshot.credential.metadata.resource_version
            unsettled = self.settling.remaining(key, version, now)
        if (pause := self.repairs.pause(key, now)) <= 0:
            if unsettled > 0:
                raise Unsettled(unsettled)
            return
        with asking(Asking.SECRET):
            try:
                writers = (await self.hub.read_secret(key)).writers
            except NotFound:
                writers = ()
        name = f"{snapshot.identity.metadata.namespace}/{key}"
        message = (
            f"field manager {', '.join(writers)} keeps overwriting Secret {name}; make it ignore this Secret. Repairs are backing off"
            if writers
            else f"Secret {name} keeps being deleted or altered; find out by whom in the hub's audit log. Repairs are backing off"
        )
        raise Stopped(Trouble("SecretContested", message), patience=max(pause, unsettled))

    async def stored(self, key: Key, identity: ManagedServiceAccount) -> Credential | None:
        """The Secret of that name, read now; None if there is none. Raises Stopped if it is not ours."""
        with asking(Asking.SECRET):
            try:
                stored = (await self.hub.read_secret(key)).credential
            except NotFound:
                self.suspects.discard(key)
                return None
        if not owns_secret(identity, stored):
            self.suspects.add(key)
            raise refuse(refused_secret(identity))
        return stored

    async def _clear_immutable(
        self, identity: ManagedServiceAccount, stored: Credential, content: SecretContent
    ) -> None:
        """Deletes a Secret that cannot be written; not before the hub would take another, as long as its token is good for a while."""
        if stored.claims is not None and can_wait(stored.claims, self.cluster.now()):
            try:
                with suppress(AlreadyExists):
                    await self.hub.rehearse_secret(identity, content)
            except (Forbidden, Invalid) as error:
                error.explain(
                    f"Secret {stored.metadata.namespace}/{stored.metadata.name} is immutable, so the agent must delete it to replace it, and keeps it "
                    f"while the hub would not accept another. Raise the quota by one Secret, or delete this one"
                )
                raise
        await self.hub.delete_secret(stored)

    async def _write(
        self, key: Key, identity: ManagedServiceAccount, stored: Credential | None, content: SecretContent
    ) -> Credential:
        """Writes the Secret, and returns it as the hub stored it."""
        if stored is not None and not owns_secret(identity, stored):
            stored = await self.stored(key, identity)
        with asking(Asking.SECRET):
            if stored is not None and stored.immutable and content.token is not None:
                await self._clear_immutable(identity, stored, content)
                stored = None
            if stored is None:
                try:
                    result = await self.hub.create_secret(identity, content)
                except AlreadyExists:
                    stored = await self.stored(key, identity)
                    if stored is None:
                        raise
            if stored is not None:
                result = await self.hub.patch_secret(identity, stored, content)
        self.freshness.wrote(key, self.credentials, result.metadata.resource_version, anyio.current_time())
        return result
