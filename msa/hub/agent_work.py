"""The ManifestWork that deploys the agent on one cluster: rendered where it is written, or what it is made from has changed."""

from functools import cached_property

from attrs import field, frozen

from msa.api.addon import ManagedClusterAddOn
from msa.api.work import Work
from msa.hub import render
from msa.hub.render import Manifest, PullSecret
from msa.policy.deployment import Workload
from msa.runtime.result import Key


@frozen
class AgentWork:
    """What it is made from."""

    addon: ManagedClusterAddOn
    workload: Workload
    ephemeral: bool
    pull_secret: PullSecret | None

    @cached_property
    def body(self) -> Manifest:
        objects = render.manifests(self.workload, ephemeral=self.ephemeral, pull_secret=self.pull_secret)
        return render.manifest_work(self.addon, objects)


@frozen
class Renderings:
    """The digest of each cluster's, with what it was rendered from: most looks at a cluster find that unchanged."""

    _known: dict[Key, tuple[object, str]] = field(factory=dict, init=False)

    def is_stored(self, key: Key, stored: Work, wanted: AgentWork) -> bool:
        """Whether a stored ManifestWork is the wanted one."""
        metadata = render.agent_work_metadata(wanted.addon)
        return render.is_marked(stored.metadata, metadata) and stored.digest == self._digest(key, wanted)

    def body(self, key: Key, wanted: AgentWork) -> Manifest:
        """It rendered, to be written; the look that finds it stored need not render it again."""
        self._digest(key, wanted)
        return wanted.body

    def forget(self, key: Key) -> None:
        """The addon is not wanted there any more."""
        self._known.pop(key, None)

    def _digest(self, key: Key, wanted: AgentWork) -> str:
        inputs = (wanted.workload, wanted.ephemeral, wanted.pull_secret)
        known = self._known.get(key)
        if known is not None and known[0] == inputs:
            return known[1]
        digest = render.spec_digest(wanted.body["spec"])
        self._known[key] = (inputs, digest)
        return digest
