"""`msa leave`: takes the addon off the hub in order, before the manager is deleted."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import click

from msa.api import names
from msa.cli import logs
from msa.cli.masking import mask
from msa.cli.options import Duration, Label, explained, pod_namespace
from msa.hub.settings import LeaveSettings


def _options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--timeout"],
            type=Duration(),
            default="60s",
            show_default=True,
            help="How long to wait for the manager's report. The command then ends, with exit code 0, and says what is left.",
        ),
        click.Option(
            ["--namespace"],
            type=Label(),
            envvar="NAMESPACE",
            default=partial(pod_namespace, names.HUB_NAMESPACE),
            show_default="the pod's namespace",
            show_envvar=True,
            help="The manager's namespace.",
        ),
        click.Option(
            ["--kubeconfig"],
            type=click.Path(path_type=Path),
            show_default="the pod's own service account",
            help="How to reach the hub.",
        ),
        click.Option(
            ["--log-level"],
            type=click.Choice(logs.LEVELS),
            default="warning",
            show_default=True,
            help="How much to log.",
        ),
    ]


def _run(log_level: str, **values: object) -> None:
    r"""Removes the addon from the hub, and so from all clusters, while the manager can still report it.

    The command deletes ClusterManagementAddOn managed-serviceaccount and the ManagedClusterAddOns that belong to it, and waits until every
    ManagedServiceAccount reports AddonRemoved. All tokens end with that. helm uninstall runs it in a hook, make undeploy too.

    \b
    Example, outside of a pod:
      msa leave --kubeconfig=hub.kubeconfig
    """
    threshold = logs.configure(log_level)
    # Not at the top: these libraries cost time and memory that --help should not pay.
    from msa.cli.execute import execute  # noqa: PLC0415
    from msa.hub import leave_app  # noqa: PLC0415

    settings = LeaveSettings(**values)  # type: ignore[arg-type]  # click has converted each by its option's type
    execute("leave", partial(_without_failure, partial(leave_app.run, settings, _say)), threshold)


async def _without_failure(leave: Callable[[], Awaitable[None]]) -> None:
    """A failed hook ends helm uninstall, so what keeps the command from its work is said and no failure."""
    from msa.cli.execute import first  # noqa: PLC0415
    from msa.kube.credentials import CredentialError  # noqa: PLC0415
    from msa.runtime.errors import ApiError  # noqa: PLC0415
    from msa.runtime.supervisor import StartError  # noqa: PLC0415

    try:
        await leave()
    except* (ApiError, CredentialError, StartError) as group:
        _say(f"gave up: {mask(str(first(group)))}")


def _say(line: str) -> None:
    click.echo(line)


command = click.Command("leave", callback=_run, params=_options(), help=explained(_run))
