"""A managed cluster's registration agent: gets the addon's agent its credential for the hub, and keeps it good."""

from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from attrs import define, field, frozen

from hack.ocm import hub_kubeconfig, kinds, signing
from hack.ocm.api import Api, Body, Kind, Object
from hack.ocm.conditions import stands
from hack.ocm.registrations import CLIENT_SIGNER, Registered, registered, with_driver, with_user
from hack.ocm.signing import KeyPair
from hack.ocm.tokens import ACCOUNT, READY
from msa.api import jwt, names
from msa.runtime.errors import AlreadyExists
from msa.runtime.result import Done, Key, RequeueAfter, Result
from msa.runtime.store import Store

_POLL_SECONDS: Final = 0.2
_DENIED_SECONDS: Final = 10.0
_TOKEN_SECONDS: Final = 3600
_USAGES: Final = ["digital signature", "key encipherment", "client auth"]
_log = structlog.get_logger(__name__)


@frozen
class RegistrationSettings:
    """How a cluster registers its addons' agents.

    Attributes:
        kubeconfig: the cluster's own, for the hub.
        driver: csr or token.
        certificate_seconds: asked for in signing requests, 0 for the signer's own.
    """

    cluster: str
    kubeconfig: Path
    driver: str = "csr"
    certificate_seconds: int = 0


@frozen(repr=False)
class _Pending:
    """A signing request that waits for its certificate."""

    name: str
    key: KeyPair
    asked: Registered


@define
class RegistrationAgent:
    """Registers one addon; the key is its name."""

    settings: RegistrationSettings
    version: str
    hub: Api
    managed: Api
    addons: Store[Object]
    secrets: Store[Object]
    _pending: _Pending | None = field(default=None, init=False)

    async def __call__(self, key: Key) -> Result:
        addon = self.addons.get(f"{self.settings.cluster}/{key}")
        if addon is None:
            self._pending = None
            await self._delete_secrets(keep="")
            return Done()
        found = registered(addon)
        if addon.metadata.deletion_timestamp is not None or found is None:
            return Done()  # an agent that is taken away may still need its credential
        if changes := self._declared(addon, found):
            await self.hub.patch_status(self._path(key), addon.metadata.resource_version, changes)
            return Done()
        if not stands(addon.status.get("conditions", []), "RegistrationApplied"):
            return Done()
        namespace = addon.status.get("namespace") or names.DEFAULT_INSTALL_NAMESPACE
        await self._delete_secrets(keep=namespace)
        if self.settings.driver == "token":
            return await self._keep_token(addon, namespace)
        return await self._keep_certificate(found, namespace)

    def _declared(self, addon: Object, found: Registered) -> Body:
        """What the cluster's side says of itself: first its driver, then, with tokens, who the agent is."""
        driver, user = self.settings.driver, f"system:serviceaccount:{self.settings.cluster}:{ACCOUNT}"
        if found.driver != driver:
            return with_driver(addon, driver, self.version)
        if driver == "token" and (found.user, found.groups) != (user, ()):
            return with_user(addon, user, self.version)
        return {}

    async def _keep_certificate(self, asked: Registered, namespace: str) -> Result:
        secret = self.secrets.get(f"{namespace}/{names.HUB_KUBECONFIG_SECRET}")
        data = secret.data or {} if secret is not None else {}
        left = signing.renewal(data, asked.user, asked.groups, datetime.now(UTC))
        if left > 0:
            self._pending = None
            return RequeueAfter(left)
        if self._pending is None or self._pending.asked != asked:
            self._pending = await self._ask(asked)
        return await self._collect(self._pending, namespace)

    async def _ask(self, asked: Registered) -> _Pending:
        key, cluster = KeyPair.create(), self.settings.cluster
        dns_name = f"{names.ADDON}.addon.open-cluster-management.io"
        spec: Body = {
            "request": signing.encoded(key.signing_request(asked.user, asked.groups, dns_name)),
            "signerName": CLIENT_SIGNER,
            "usages": _USAGES,
        }
        if self.settings.certificate_seconds:
            spec["expirationSeconds"] = self.settings.certificate_seconds
        labels = {kinds.LABEL_CLUSTER: cluster, kinds.LABEL_ADDON: names.ADDON}
        metadata = {"generateName": f"addon-{cluster}-{names.ADDON}-", "labels": labels}
        made = await self.hub.create(kinds.SIGNING_REQUESTS.at(""), {"metadata": metadata, "spec": spec})
        _log.info("certificate_requested", request=made["metadata"]["name"])
        return _Pending(made["metadata"]["name"], key, asked)

    async def _collect(self, pending: _Pending, namespace: str) -> Result:
        """The certificate, once it is signed; the request is kept until our copy of the Secret has what came of it."""
        request = await self.hub.get(kinds.SIGNING_REQUESTS.at("", pending.name))
        status: Body = (request or {}).get("status", {})
        refused = {item["type"] for item in status.get("conditions", ())} & {"Denied", "Failed"}
        if request is None or refused:
            self._pending = None
            return RequeueAfter(_DENIED_SECONDS)
        if not status.get("certificate"):
            return RequeueAfter(_POLL_SECONDS)
        data = {
            "tls.crt": status["certificate"],
            "tls.key": signing.encoded(pending.key.pem),
            "kubeconfig": hub_kubeconfig.with_certificate(self.settings.kubeconfig),
        }
        await self._save(namespace, data)
        return RequeueAfter(_POLL_SECONDS)

    async def _keep_token(self, addon: Object, namespace: str) -> Result:
        if not stands(addon.status.get("conditions", []), READY):
            return Done()
        secret = self.secrets.get(f"{namespace}/{names.HUB_KUBECONFIG_SECRET}")
        data = secret.data or {} if secret is not None else {}
        if (left := _token_left(data)) > 0:
            return RequeueAfter(left)
        path = kinds.SERVICE_ACCOUNTS.at(self.settings.cluster, ACCOUNT, "token")
        answer = await self.hub.create(path, {"spec": {"expirationSeconds": _TOKEN_SECONDS}})
        token = signing.encoded(answer["status"]["token"].encode())
        kubeconfig = hub_kubeconfig.with_token(self.settings.kubeconfig)
        await self._save(namespace, {"token": token, "kubeconfig": kubeconfig})
        return RequeueAfter(_POLL_SECONDS)

    async def _save(self, namespace: str, data: dict[str, str]) -> None:
        """Raises NotFound while the namespace is not there."""
        data = data | {"cluster-name": signing.encoded(self.settings.cluster.encode())}
        name = names.HUB_KUBECONFIG_SECRET
        body: Body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
        try:
            await self.managed.create(kinds.SECRETS.at(namespace), body)
        except AlreadyExists:
            await self.managed.merge(kinds.SECRETS.at(namespace, name), {"data": data})
        _log.info("credential_saved", namespace=namespace)

    async def _delete_secrets(self, keep: str) -> None:
        """Those that lie where the agent is not, or not any more."""
        for secret in self.secrets.values():
            if secret.metadata.namespace != keep:
                path = kinds.SECRETS.at(secret.metadata.namespace, secret.metadata.name)
                await self.managed.delete(path)

    def _path(self, key: str) -> str:
        kind: Kind = kinds.addons(self.version)
        return kind.at(self.settings.cluster, key)


def _token_left(data: dict[str, str]) -> float:
    """Seconds until a Secret's token is to be renewed, at 80 % of its life; 0 without one."""
    try:
        claims = jwt.parse(b64decode(data["token"])).claims
    except (KeyError, ValueError):
        return 0.0
    life = claims.expires_at - claims.issued_at
    return (claims.issued_at + life * signing.RENEWAL - datetime.now(UTC)).total_seconds()
