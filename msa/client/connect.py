"""The hub over HTTP: our own transport, watches and credentials, for a `TokenSource`. The one file here that knows `kube`.

It is imported when a source is made, since what it needs costs more than a program may want to pay for an import.
"""

import os
import ssl
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from random import SystemRandom

import structlog
from attrs import define, field
from prometheus_client import CollectorRegistry

from msa import pem
from msa.api import cluster as clusters
from msa.api import names
from msa.api.conditions import find
from msa.api.core import Secret
from msa.api.managedserviceaccount import StoredIdentity
from msa.client import content, standing
from msa.client.content import Content
from msa.client.credential import Address, Identity
from msa.client.errors import Denied, Missing, TokenError, Unreachable
from msa.client.follower import missing
from msa.client.standing import Standing
from msa.kube import credentials, tls
from msa.kube.credentials import Credential, CredentialError
from msa.kube.kubeconfig import Kubeconfig
from msa.kube.loading_rules import kubeconfigs
from msa.kube.resources import Resource, Selection
from msa.kube.skew import wall_clock
from msa.kube.transport import Transport
from msa.policy.readiness import READY
from msa.runtime.errors import ApiError, Forbidden, Invalid, NotFound, Unauthorized
from msa.runtime.informer import Informer
from msa.runtime.metrics import Metrics

_PAGE = 500
_REMEDY = "give TokenSource the kubeconfig of the hub, or set KUBECONFIG"


def tls_context(ca: bytes) -> ssl.SSLContext:
    """A new one that trusts these CAs in PEM alone.

    Raises:
        ValueError: they are none.
    """
    if not ca:  # the system's would be trusted
        raise ValueError("there are none")
    return tls.context({tls.CA: ca}, verify=True)


def log_as_libraries_do() -> None:
    """Sends our logs through stdlib logging, for a program that knows nothing of structlog, whose own way is to print."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.LogfmtRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


@define
class KubeHub:
    """A `Hub`.

    Attributes:
        kubeconfig: None for what the environment gives.
    """

    kubeconfig: Path | None
    _metrics: Metrics = field(init=False, factory=lambda: Metrics(CollectorRegistry()))
    _transport: Transport = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._transport = Transport(self._load, self._metrics)

    def now(self) -> datetime:
        return wall_clock()

    async def open(self) -> None:
        try:
            await self._transport.open()
        except CredentialError as error:
            raise TokenError(f"the hub: {error}") from None

    async def run(self) -> None:
        await self._transport.run()

    async def close(self) -> None:
        await self._transport.close()

    async def identities(self, cluster: str, labels: str) -> Sequence[Identity]:
        selection = Selection(names.GROUP, names.STORAGE_VERSION, names.PLURAL, cluster, labels=labels)
        source = Resource(self._transport, selection, StoredIdentity)
        where = f"in namespace {cluster}" if cluster else "in all namespaces"
        with _explained(f"ManagedServiceAccounts {where}", f"list {names.PLURAL}.{names.GROUP} {where}"):
            page = await source.list(limit=_PAGE)
            found = list(page.items)
            while page.continue_token:
                page = await source.list(limit=_PAGE, continue_token=page.continue_token)
                found.extend(page.items)
        return [_identity(item) for item in found]

    async def secret(self, cluster: str, name: str) -> Content:
        right = f"get secrets in namespace {cluster}; resourceNames [{name}] is enough"
        with _explained(f"Secret {cluster}/{name}", right):
            try:
                return content.read(await self._secrets(cluster).get(name, into=Secret))
            except NotFound:
                raise missing(cluster, name, "is not there") from None

    async def address(self, cluster: str) -> Address:
        source = Resource(
            self._transport, Selection(clusters.GROUP, "v1", "managedclusters"), clusters.ManagedCluster
        )
        what = f"the address of cluster {cluster}: ManagedCluster {cluster}"
        by_hand = f"or give it by hand: TokenSource(servers={{{cluster!r}: 'https://...'}})"
        with _explained(what, f"get managedclusters.{clusters.GROUP} {cluster}, {by_hand}"):
            try:
                found = await source.get(cluster, into=clusters.ManagedCluster)
            except NotFound:
                raise Missing(f"{what} is not on the hub: join the cluster, {by_hand}") from None
        for config in found.spec.managed_cluster_client_configs:
            if config.url:
                return Address(config.url.rstrip("/"), _pem(config.ca_bundle))
        raise Missing(f"{what} does not tell it: fill spec.managedClusterClientConfigs, {by_hand}")

    def informer(self, cluster: str, name: str) -> Informer[Content]:
        source = self._secrets(cluster, fields=f"metadata.name={name}")
        return Informer[Content](source, SystemRandom(), self._metrics, transform=content.read, optional=True)

    def standings(self, cluster: str, name: str) -> Informer[Standing]:
        selection = Selection(
            names.GROUP, names.STORAGE_VERSION, names.PLURAL, cluster, fields=f"metadata.name={name}"
        )
        source = Resource(self._transport, selection, StoredIdentity)
        return Informer[Standing](
            source, SystemRandom(), self._metrics, transform=standing.read, optional=True
        )

    def _secrets(self, cluster: str, *, fields: str = "") -> Resource[Secret]:
        return Resource(self._transport, Selection("", "v1", "secrets", cluster, fields=fields), Secret)

    async def _load(self) -> Credential:
        paths = (self.kubeconfig,) if self.kubeconfig is not None else kubeconfigs(os.environ)
        if not paths:
            return credentials.of_pod("kubeconfig")
        found = Kubeconfig.read(paths, remedy=_REMEDY)
        return found.credential(await found.asked() if found.must_ask else found.written())


@contextmanager
def _explained(what: str, right: str) -> Iterator[None]:
    """Says what an API server's refusal means to a consumer, and which right would help."""
    try:
        yield
    except (Forbidden, Unauthorized) as error:
        raise Denied(
            f"the hub does not let this program read {what}: it needs the right to {right} ({error.message})"
        ) from None
    except Invalid as error:
        raise TokenError(f"{what} cannot be asked for like this: {error.message}") from None
    except ApiError as error:
        raise Unreachable(f"{what} cannot be read from the hub: {error.reason}: {error.message}") from None


def _identity(stored: StoredIdentity) -> Identity:
    metadata = stored.metadata
    return Identity(metadata.namespace, metadata.name, metadata.labels or {}, _ready(stored))


def _ready(stored: StoredIdentity) -> bool:
    """Whether its token can be used, by the condition Ready; the Go addon writes none, so there a reported token says so.

    A status that cannot be read says no.
    """
    if (status := standing.status_of(stored)) is None:
        return False
    ready = find(status.conditions, READY)
    return status.token_secret_ref is not None and (ready is None or ready.status == "True")


def _pem(ca_bundle: str) -> bytes:
    """The bundle as every library takes it; empty where it holds no certificate that can be read."""
    with suppress(ValueError):
        return pem.cleaned(b64decode(ca_bundle))
    return b""
