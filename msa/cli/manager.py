"""`msa manager`: flags and environment to settings, then run."""

from functools import partial
from pathlib import Path

import click
import structlog

import msa
from msa.api import names
from msa.cli import logs
from msa.cli.options import Label, common, explained, pod_namespace, switch
from msa.hub.settings import DeployMode, ManagerSettings
from msa.policy.gates import RENAMED

_log = structlog.get_logger(__name__)


def _options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--agent-image-name", "agent_image"],
            default=f"{names.IMAGE}:{names.TAG_PREFIX}{msa.__version__}",
            show_default=True,
            help="Image of the agents that are deployed.",
        ),
        click.Option(
            ["--agent-image-pull-secret", "pull_secret"],
            default="",
            envvar="AGENT_IMAGE_PULL_SECRET",
            show_envvar=True,
            help="A Secret in the manager's namespace that the agents' image is pulled with; copied to the clusters.",
        ),
        click.Option(
            ["--deploy-mode"],
            type=click.Choice([mode.value for mode in DeployMode]),
            default=DeployMode.DEPLOYMENT.value,
            show_default=True,
            help="Deployment: this manager deploys the agents. AddOnTemplate: OCM does, and this manager leaves it to it.",
        ),
        click.Option(
            ["--namespace"],
            type=Label(),
            envvar="NAMESPACE",
            default=partial(pod_namespace, names.HUB_NAMESPACE),
            show_default="the pod's namespace",
            show_envvar=True,
            help="The manager's own namespace, of its leader Lease and the image pull Secret.",
        ),
        click.Option(
            ["--kubeconfig"],
            type=click.Path(path_type=Path),
            show_default="the pod's own service account",
            help="How to reach the hub.",
        ),
        switch(
            "--publish-access-providers",
            "With the gate ClusterProfile: say in each ClusterProfile how its cluster is reached, where nobody else does.",
            default=False,
        ),
        *common(workers=16, what="Clusters", health=":38081"),
    ]


def _run(log_level: str, deploy_mode: str, **values: object) -> None:
    r"""Puts the agent on every managed cluster of the fleet that OCM wants it on, and takes it away again.

    Runs on the hub. For each ManagedClusterAddOn managed-serviceaccount it registers the agent, approves its certificate, gives it its
    few rights in the cluster's namespace, and deploys it with a ManifestWork.

    \b
    Example, outside of a pod:
      msa manager --kubeconfig=hub.kubeconfig --agent-image-name=registry.example.com/msa:v1
    """
    threshold = logs.configure(log_level)
    # Not at the top: these libraries cost time and memory that --help should not pay.
    from msa.cli.execute import execute  # noqa: PLC0415
    from msa.hub import app  # noqa: PLC0415

    settings = ManagerSettings(deploy_mode=DeployMode(deploy_mode), **values)  # type: ignore[arg-type]  # click has converted each by its option's type
    for gate in settings.feature_gates.renamed:
        _log.warning("feature_gate_renamed", gate=gate, use=RENAMED[gate])
    execute("manager", partial(app.run, settings), threshold)


command = click.Command("manager", callback=_run, params=_options(), help=explained(_run))
