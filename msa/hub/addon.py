"""The addon on one cluster: gather -> decide -> act -> status. The key is the cluster's name, which is its namespace on the hub.

Level-triggered and idempotent. The agent is given its rights before its status says that it may register, and it is deployed after
that; on the way out it goes first, then its rights.
"""

from typing import TypeVar

import anyio
import structlog
from attrs import field, frozen
from msgspec.structs import replace

from msa.api import conditions, names
from msa.api.addon import ClusterManagementAddOn, DeploymentConfig, ManagedClusterAddOn, Subject
from msa.api.cluster import ManagedCluster
from msa.api.core import Secret
from msa.api.meta import ObjectMeta
from msa.api.rbac import RoleBinding
from msa.api.work import APPLIED, Work
from msa.hub import bodies, render
from msa.hub.agent_work import AgentWork, Renderings
from msa.hub.deletions import Deletions
from msa.hub.observers import Observer
from msa.hub.ports import Hub, Kind
from msa.policy import addon_status, deployment, registration, rights
from msa.policy.addon_status import Findings
from msa.policy.config_hashes import cluster_references
from msa.policy.deployment import Misconfigured, Unavailable, Unset
from msa.policy.installation import (
    Install,
    LeaveAlone,
    Situation,
    Withdraw,
    verdict,
)
from msa.policy.registration import Obstacle
from msa.runtime.errors import AlreadyExists
from msa.runtime.freshness import Freshness, Versioned
from msa.runtime.ports import Now
from msa.runtime.result import Done, Key, RequeueAfter, Result
from msa.runtime.store import Store

_log = structlog.get_logger(__name__)
O = TypeVar("O", RoleBinding, Work)  # noqa: E741 - O for object


@frozen
class Caches:
    """What is known of the hub."""

    clusters: Store[ManagedCluster]
    addons: Store[ManagedClusterAddOn]
    fleet: Store[ClusterManagementAddOn]
    configs: Store[DeploymentConfig]
    works: Store[Work]
    identities_works: Store[Work]
    bindings: Store[RoleBinding]
    pull_secrets: Store[Secret]


@frozen
class Deployment:
    """How agents are deployed, by the manager's own settings.

    Attributes:
        pull_secret: namespace and name of a Secret to be copied to the clusters, "" for none.
        ephemeral: whether agents delete identities when their TTL is over.
    """

    image: str
    pull_secret: str = ""
    ephemeral: bool = False


@frozen
class AddonReconciler:
    """Keeps the addon on one cluster as OCM wants it.

    Attributes:
        version: of OCM's addon API that the hub serves.
    """

    caches: Caches
    hub: Hub
    deployment: Deployment
    version: str
    freshness: Freshness
    observer: Observer
    now: Now
    deletions: Deletions = field(factory=Deletions)
    _kept: dict[Kind, Versioned] = field(init=False)
    _renderings: Renderings = field(factory=Renderings, init=False)

    @_kept.default
    def _stores(self) -> dict[Kind, Versioned]:
        caches = self.caches
        return {Kind.ROLE_BINDING: caches.bindings, Kind.WORK: caches.works}

    async def __call__(self, key: Key) -> Result:
        situation = Situation(
            cluster=self.caches.clusters.get(key),
            addon=self.caches.addons.get(f"{key}/{names.ADDON}"),
            fleet=self.caches.fleet.get(names.ADDON),
            deleted=self.deletions.seen(key),
        )
        match verdict(situation):
            case Withdraw(why=why):
                return await self._withdraw(key, why)
            case LeaveAlone(why=why):
                _log.debug("left_alone", cluster=key, why=why)
                return Done()
            case Install(cluster=cluster, addon=addon):
                return await self._install(key, cluster, addon)

    async def _install(self, key: Key, cluster: ManagedCluster, addon: ManagedClusterAddOn) -> Result:
        references = cluster_references(addon, self._config)
        hashed = replace(addon, status=replace(addon.status, config_references=references))
        config = deployment.chosen_config(hashed, self._config)
        stored = self.caches.works.get(f"{key}/{names.DEPLOY_WORK}")
        running = registration.running_in(addon, (stored, self._identities_work(key)))
        namespace = registration.install_namespace(
            addon, config if isinstance(config, DeploymentConfig) else None, running
        )
        wanted = self._wanted(cluster, hashed, namespace, config)
        subject = registration.subject(addon, bodies.granted_user(self._binding(key), addon))
        result: Result = Done()
        if isinstance(subject, Subject):
            result = await self._grant(key, addon, subject)
        elif subject.refused:
            await self._drop(key, Kind.ROLE_BINDING, _metadata(self._binding(key)))
        found = Findings(
            namespace=namespace if isinstance(wanted, AgentWork) else _unmoved(running, namespace, wanted),
            obstacle=subject if isinstance(subject, Obstacle) else None,
            references=references,
            problem=wanted if isinstance(wanted, str) else None,
            work=stored if self._is_work(key, stored, wanted) else None,
            identities_work=self._identities_work(key),
        )
        await self._report(key, addon, found)
        if (
            isinstance(subject, Subject)
            and isinstance(wanted, AgentWork)
            and found.work is None
            and self._may_rewrite(key, stored)
        ):
            await self._put(key, Kind.WORK, _metadata(stored), self._renderings.body(key, wanted))
        return result

    def _identities_work(self, key: Key) -> Work | None:
        return self.caches.identities_works.get(f"{key}/{names.IDENTITIES_WORK}")

    def _may_rewrite(self, key: Key, stored: Work | None) -> bool:
        """Not while it alone carries what identities hang on, as before ADR 0011: the work agent would delete that with all accounts."""
        return stored is None or not stored.carries_anchor or _is_applied(self._identities_work(key))

    def _config(self, namespace: str, name: str) -> DeploymentConfig | None:
        return self.caches.configs.get(f"{namespace}/{name}")

    def _binding(self, key: Key) -> RoleBinding | None:
        return self.caches.bindings.get(f"{key}/{names.AGENT_ROLE}")

    def _wanted(
        self,
        cluster: ManagedCluster,
        addon: ManagedClusterAddOn,
        namespace: str,
        config: DeploymentConfig | Unset | Unavailable,
    ) -> AgentWork | str | None:
        """What the ManifestWork is made from; or why there can be none; or None where the rollout has not come so far."""
        if isinstance(config, Unavailable):
            return None if config.waiting else config.message
        try:
            workload = deployment.workload(
                cluster,
                namespace,
                config if isinstance(config, DeploymentConfig) else None,
                self.deployment.image,
            )
            return AgentWork(addon, workload, self.deployment.ephemeral, self._pull_secret())
        except Misconfigured as error:
            return str(error)

    def _is_work(self, key: Key, stored: Work | None, wanted: AgentWork | str | None) -> bool:
        """Whether what is stored is what is wanted; while nothing can be rendered, what runs is what is reported."""
        if stored is None or not isinstance(wanted, AgentWork):
            return stored is not None
        return self._renderings.is_stored(key, stored, wanted)

    def _pull_secret(self) -> render.PullSecret | None:
        name = self.deployment.pull_secret
        if not name:
            return None
        stored = self.caches.pull_secrets.get(name)
        if stored is None:
            raise Misconfigured(
                f"Secret {name} on the hub does not exist: create it, or take --agent-image-pull-secret away from the manager"
            )
        return render.PullSecret(stored.type, stored.data or {})

    async def _grant(self, key: Key, addon: ManagedClusterAddOn, subject: Subject) -> Result:
        """The agent's RoleBinding, repaired where it was altered. Where the addon is wanted, its name is ours."""
        binding = self._binding(key)
        if binding is not None and bodies.is_role_binding(binding, addon, subject):
            return Done()
        wanted = bodies.role_binding(addon, subject)
        if binding is None or binding.role_ref == rights.AGENT_ROLE_REF:
            await self._put(key, Kind.ROLE_BINDING, _metadata(binding), wanted)
        elif (seconds := rights.left_alone_for(binding, self.now())) > 0:
            return RequeueAfter(seconds)
        else:
            await self._replace(key, binding, wanted)
        return Done()

    async def _replace(self, key: Key, binding: RoleBinding, wanted: bodies.Body) -> None:
        """What a RoleBinding binds cannot be changed, so it is deleted and created.

        The first creation cannot succeed while the old one exists. It is refused where this manager may not bind the ClusterRole
        (another version of the chart is installed): the agent then keeps the rights that it has.
        """
        try:
            await self._put(key, Kind.ROLE_BINDING, None, wanted)
        except AlreadyExists:
            await self._drop(key, Kind.ROLE_BINDING, binding.metadata)
            await self._put(key, Kind.ROLE_BINDING, None, wanted)

    async def _withdraw(self, key: Key, why: str) -> Result:
        """Takes away what is proved ours. The agent needs no rights on the hub any more: its cluster cleans up after it (ADR 0011)."""
        self._renderings.forget(key)
        work = _ours(self.caches.works.get(f"{key}/{names.DEPLOY_WORK}"))
        if work is not None and work.metadata.deletion_timestamp is None:
            await self._drop(key, Kind.WORK, work.metadata)
            self.observer.withdrawn(key, why)
        await self._drop(key, Kind.ROLE_BINDING, _metadata(_ours(self._binding(key))))
        if work is None and self._binding(key) is None:
            self.deletions.forget(key)
        return Done()

    async def _put(self, key: Key, kind: Kind, stored: ObjectMeta | None, body: bodies.Body) -> None:
        if stored is None:
            version = await self.hub.create(kind, body)
        else:
            version = await self.hub.rewrite(kind, stored, body)
        self.observer.wrote(key, kind, new=stored is None)
        self.freshness.wrote(key, self._kept[kind], version, anyio.current_time())

    async def _drop(self, key: Key, kind: Kind, stored: ObjectMeta | None) -> None:
        if stored is None or stored.deletion_timestamp is not None:
            return
        if await self.hub.delete(kind, stored):
            self.observer.deleted(key, kind)

    async def _report(self, key: Key, addon: ManagedClusterAddOn, found: Findings) -> None:
        wanted = addon_status.wanted(addon, found, self.version, self.now())
        if addon.abridged and addon_status.changes(addon.status, wanted):
            whole = await self.hub.whole_addon(addon)
            if whole is None:
                return  # it is gone: the next event says so
            addon, wanted = whole, addon_status.wanted(whole, found, self.version, self.now())
        if changed := addon_status.changes(addon.status, wanted):
            version = await self.hub.patch_addon_status(addon, changed)
            self.freshness.wrote(key, self.caches.addons, version, anyio.current_time())
            for condition in conditions.news(addon.status.conditions, wanted.conditions):
                self.observer.condition(addon, condition)


def _metadata(stored: RoleBinding | Work | None) -> ObjectMeta | None:
    return stored.metadata if stored is not None else None


def _ours(stored: O | None) -> O | None:
    return stored if stored is not None and bodies.is_ours(stored.metadata) else None


def _unmoved(running: str, namespace: str, problem: str | None) -> str:
    """Where the agent is while nothing new is deployed: it moves with its manifests alone, and never to where they cannot be."""
    return running or (namespace if problem is None else "")


def _is_applied(stored: Work | None) -> bool:
    """Whether the cluster's side has applied it as it is now."""
    return stored is not None and any(
        (item.type, item.status) == (APPLIED, "True")
        and item.observed_generation == stored.metadata.generation
        for item in stored.conditions
    )
