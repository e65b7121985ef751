"""The predecessor's agent: ServiceAccount, token and Secret of each ManagedServiceAccount, and its two conditions. The key is its name."""

import json
from base64 import b64decode, b64encode, urlsafe_b64decode
from datetime import UTC, datetime, timedelta
from typing import Final

import anyio
from attrs import frozen

from hack.ocm import kinds
from hack.ocm.api import Api, Body, Kind, Object
from hack.ocm.conditions import condition, merged
from hack.ocm.loops import Loops
from msa.api import durations, names
from msa.kube.resources import Selection
from msa.runtime.errors import AlreadyExists
from msa.runtime.result import Done, Key, RequeueAfter, Result
from msa.runtime.store import Store

_RENEWAL: Final = 0.8
_LEASE_SECONDS: Final = 60.0


@frozen
class Site:
    """Where it works.

    Attributes:
        cluster: its namespace on the hub.
        namespace: of the ServiceAccounts.
        ca: the managed cluster's, PEM.
    """

    hub: Api
    managed: Api
    cluster: str
    namespace: str
    ca: bytes


@frozen
class TokenKeeper:
    """One identity."""

    site: Site
    identities: Store[Object]

    async def __call__(self, key: Key) -> Result:
        identity, site = self.identities.get(f"{self.site.cluster}/{key}"), self.site
        path = kinds.SERVICE_ACCOUNTS.at(site.namespace, key)
        if identity is None or identity.metadata.deletion_timestamp is not None:
            await site.managed.delete(path)
            return Done()
        uid = await self._account(key)
        secret = await site.hub.get(kinds.SECRETS.at(site.cluster, key))
        issued = _claims(secret, uid)
        if issued is None or (left := _left(issued)) <= 0:
            issued = await self._issue(identity, secret)
            left = _left(issued)
            await self._report(identity, issued, datetime.now(UTC))
        else:
            await self._report(identity, issued, None)
        return RequeueAfter(max(1.0, left))

    async def _account(self, name: str) -> str:
        """Its UID; made where there is none."""
        site = self.site
        stored = await site.managed.get(kinds.SERVICE_ACCOUNTS.at(site.namespace, name))
        if stored is None:
            body: Body = {"metadata": {"name": name, "labels": names.MANAGED_LABELS}}
            stored = await site.managed.create(kinds.SERVICE_ACCOUNTS.at(site.namespace), body)
        return str(stored["metadata"]["uid"])

    async def _issue(self, identity: Object, secret: Body | None) -> Body:
        """A new token in the Secret; what it claims."""
        site, name = self.site, identity.metadata.name
        validity = identity.spec.get("rotation", {}).get("validity", "8640h0m0s")
        seconds = int(durations.parse(validity).total_seconds())
        answer = await site.managed.create(
            kinds.SERVICE_ACCOUNTS.at(site.namespace, name, "token"), {"spec": {"expirationSeconds": seconds}}
        )
        token: str = answer["status"]["token"]
        data = {"token": b64encode(token.encode()).decode(), "ca.crt": b64encode(site.ca).decode()}
        path = kinds.SECRETS.at(site.cluster, name)
        if secret is None:
            await site.hub.create(kinds.SECRETS.at(site.cluster), _secret(identity, data))
        else:
            await site.hub.update(path, secret | {"data": data})
        return _payload(token)

    async def _report(self, identity: Object, issued: Body, refreshed: datetime | None) -> None:
        """Only what it knows is written, and all else that stood in the status is lost: it writes the whole."""
        before = identity.status
        said = [condition(kind, "True", kind) for kind in ("SecretCreated", "TokenReported")]
        moment = durations.rfc3339(refreshed) if refreshed is not None else ""
        wanted: Body = {
            "conditions": merged(before.get("conditions", []), said),
            "expirationTimestamp": durations.rfc3339(datetime.fromtimestamp(issued["exp"], UTC)),
            "tokenSecretRef": {
                "name": identity.metadata.name,
                "lastRefreshTimestamp": moment
                or before.get("tokenSecretRef", {}).get("lastRefreshTimestamp")
                or durations.rfc3339(datetime.fromtimestamp(issued["iat"], UTC)),
            },
        }
        if all(before.get(name) == part for name, part in wanted.items()):
            return
        path = _IDENTITIES.at(identity.metadata.namespace, identity.metadata.name)
        stored = await self.site.hub.get(path)
        if stored is not None:
            await self.site.hub.update(f"{path}/status", stored | {"status": wanted})


_IDENTITIES: Final = Kind(names.GROUP, names.STORAGE_VERSION, names.PLURAL)


async def run(site: Site, ready: anyio.Event) -> None:
    """Runs for ever; says when its caches are there."""
    loops = Loops()
    selected = Selection(names.GROUP, names.STORAGE_VERSION, names.PLURAL, site.cluster)
    identities = loops.follow(site.hub, selected)
    queue = loops.control(site.hub, "predecessor-agent", TokenKeeper(site, identities.store))
    identities.subscribe(lambda change: queue.add(Key(change.latest.metadata.name)))

    async def tell() -> None:
        await identities.wait_synced()
        ready.set()
        await _heartbeat(site)

    async with anyio.create_task_group() as group:
        group.start_soon(loops.run)
        group.start_soon(tell)


async def _heartbeat(site: Site) -> None:
    path, name = kinds.LEASES.at(site.namespace), names.ADDON
    while True:
        renewed = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec = {"leaseDurationSeconds": 60, "renewTime": renewed}
        try:
            await site.managed.create(path, {"metadata": {"name": name}, "spec": spec})
        except AlreadyExists:
            await site.managed.merge(f"{path}/{name}", {"spec": spec})
        await anyio.sleep(_LEASE_SECONDS)


def _secret(identity: Object, data: Body) -> Body:
    owner = {
        "apiVersion": f"{names.GROUP}/{names.STORAGE_VERSION}",
        "kind": names.KIND,
        "name": identity.metadata.name,
        "uid": identity.metadata.uid,
    }
    metadata = {"name": identity.metadata.name, "labels": names.MANAGED_LABELS, "ownerReferences": [owner]}
    return {"metadata": metadata, "type": "Opaque", "data": data}


def _claims(secret: Body | None, uid: str) -> Body | None:
    """Of a token of this very account; None where there is none."""
    token = b64decode((secret or {}).get("data", {}).get("token", "")).decode()
    if not token:
        return None
    claims = _payload(token)
    return claims if claims["kubernetes.io"]["serviceaccount"]["uid"] == uid else None


def _payload(token: str) -> Body:
    part = token.split(".")[1]
    claims: Body = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def _left(claims: Body) -> float:
    """Seconds until it is renewed: at four fifths of its life."""
    life = timedelta(seconds=claims["exp"] - claims["iat"])
    due = datetime.fromtimestamp(claims["iat"], UTC) + life * _RENEWAL
    return (due - datetime.now(UTC)).total_seconds()
