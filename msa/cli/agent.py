"""`msa agent`: flags and environment to settings, then run."""

from functools import partial
from pathlib import Path

import click

from msa.agent.settings import AgentSettings
from msa.api import names
from msa.cli import logs
from msa.cli.options import Label, common, explained, pod_namespace, switch


def _options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--cluster-name"],
            type=Label(),
            required=True,
            help="Name of this managed cluster, its namespace on the hub.",
        ),
        click.Option(
            ["--kubeconfig", "hub_kubeconfig"],
            type=click.Path(path_type=Path),
            default=Path("/etc/hub/kubeconfig"),
            envvar="HUB_KUBECONFIG",
            show_default=True,
            show_envvar=True,
            help="How to reach the hub. May be replaced while running.",
        ),
        click.Option(
            ["--proxy-ca-file", "proxy_ca"],
            type=click.Path(path_type=Path),
            envvar="CA_BUNDLE_FILE_PATH",
            show_envvar=True,
            help="CA certificates of a proxy on the way to the hub that looks into TLS; trusted beside the kubeconfig's.",
        ),
        click.Option(
            ["--spoke-kubeconfig"],
            type=click.Path(path_type=Path),
            show_default="the pod's own service account",
            help="How to reach the managed cluster.",
        ),
        click.Option(
            ["--namespace", "install_namespace"],
            type=Label(),
            envvar="NAMESPACE",
            default=partial(pod_namespace, names.DEFAULT_INSTALL_NAMESPACE),
            show_default="the pod's namespace",
            show_envvar=True,
            help="Where the ServiceAccounts are made on the managed cluster.",
        ),
        switch(
            "--lease-health-check",
            "Renew the heartbeat Lease that makes the addon AVAILABLE on the hub.",
            default=False,
        ),
        *common(workers=32, what="Identities", health=":8000"),
    ]


def _run(log_level: str, **values: object) -> None:
    r"""Keeps this managed cluster's identities, and their tokens on the hub fresh.

    Runs on the managed cluster. For each ManagedServiceAccount in the cluster's namespace on the hub it makes a ServiceAccount of
    that name here, asks for a token and keeps it in a Secret beside the ManagedServiceAccount, renewed well before it expires.

    \b
    Example, outside of a pod:
      msa agent --cluster-name=cluster1 --kubeconfig=hub.kubeconfig --spoke-kubeconfig=cluster1.kubeconfig
    """
    threshold = logs.configure(log_level)
    # Not at the top: these libraries cost time and memory that --help should not pay.
    from msa.agent import app  # noqa: PLC0415
    from msa.cli.execute import execute  # noqa: PLC0415

    settings = AgentSettings(**values)  # type: ignore[arg-type]  # click has converted each by its option's type
    execute("agent", partial(app.run, settings), threshold)


command = click.Command("agent", callback=_run, params=_options(), help=explained(_run))
