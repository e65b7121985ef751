"""`msa agent`: flags and environment to settings, then run."""

import re
from functools import partial
from pathlib import Path

import click

from msa.agent.settings import AgentSettings, FeatureGates
from msa.api import names
from msa.cli import logs

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_TRUE = ("true", "1", "t", "yes")
_FALSE = ("false", "0", "f", "no")


class _Label(click.ParamType[str]):
    """The name of a namespace (RFC 1123 label). Empty, it would mean all namespaces."""

    name = "name"
    _valid = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not self._valid.fullmatch(text):
            self.fail(f"{text!r} is no name of a namespace: lower case letters, digits and -", param, ctx)
        return text


class _Switch(click.ParamType[bool]):
    """A Go-style boolean flag: `--x`, `--x=true`, `--x=false`."""

    name = "true|false"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        text = str(value).lower()
        if text not in _TRUE + _FALSE:
            self.fail(f"{text!r} is neither true nor false", param, ctx)
        return text in _TRUE


class _Gates(click.ParamType[FeatureGates]):
    """`A=true,B=false`; a gate of another release is an error, since it was meant to change something."""

    name = "Gate=true|false,..."
    _known = ("EphemeralIdentity", "ClusterProfile")

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> FeatureGates:
        if isinstance(value, FeatureGates):
            return value
        gates = dict.fromkeys(self._known, False)
        for pair in filter(None, (part.strip() for part in str(value).split(","))):
            gate, _, setting = pair.partition("=")
            if gate not in gates:
                self.fail(f"unknown feature gate {gate!r}; known are {', '.join(self._known)}", param, ctx)
            gates[gate] = _Switch().convert(setting, param, ctx)
        return FeatureGates(ephemeral_identity=gates["EphemeralIdentity"])


def _pod_namespace() -> str:
    """The namespace this pod runs in, else the addon's default."""
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        return names.DEFAULT_INSTALL_NAMESPACE


def _switch(flag: str, text: str, *, default: bool) -> click.Option:
    return click.Option(
        [flag],
        type=_Switch(),
        is_flag=False,
        flag_value="true",
        default=default,
        show_default=True,
        help=text,
    )


def _options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--cluster-name"],
            type=_Label(),
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
            ["--spoke-kubeconfig"],
            type=click.Path(path_type=Path),
            help="How to reach the managed cluster.  [default: the pod's own service account]",
        ),
        click.Option(
            ["--namespace", "install_namespace"],
            type=_Label(),
            envvar="NAMESPACE",
            default=_pod_namespace,
            show_default="the pod's namespace",
            show_envvar=True,
            help="Where the ServiceAccounts are made on the managed cluster.",
        ),
        click.Option(
            ["--metrics-bind-address", "metrics_address"],
            default=":38080",
            show_default=True,
            help="Where Prometheus scrapes /metrics; 0 for nowhere.",
        ),
        click.Option(
            ["--health-probe-bind-address", "health_address"],
            default=":8000",
            show_default=True,
            help="Where /healthz, /livez and /readyz are served; 0 for nowhere.",
        ),
        _switch(
            "--leader-elect",
            "Hold the leader Lease before writing anything, so that two replicas never both write.",
            default=False,
        ),
        _switch(
            "--lease-health-check",
            "Renew the heartbeat Lease that makes the addon AVAILABLE on the hub.",
            default=False,
        ),
        click.Option(
            ["--feature-gates"],
            type=_Gates(),
            default="",
            help="EphemeralIdentity=true deletes identities when their TTL is over.",
        ),
        click.Option(
            ["--workers"],
            type=click.IntRange(1, 256),
            default=32,
            show_default=True,
            help="Identities worked on at the same time.",
        ),
        click.Option(
            ["--log-level"],
            type=click.Choice(logs.LEVELS),
            default="info",
            show_default=True,
            help="How much to log.",
        ),
    ]


def _run(log_level: str, **values: object) -> int:
    r"""Keeps this managed cluster's identities, and their tokens on the hub fresh.

    Runs on the managed cluster. For each ManagedServiceAccount in the cluster's namespace on the hub it makes a ServiceAccount of
    that name here, asks for a token and keeps it in a Secret beside the ManagedServiceAccount, renewed well before it expires.

    \b
    Example, outside of a pod:
      msa agent --cluster-name=cluster1 --kubeconfig=hub.kubeconfig --spoke-kubeconfig=cluster1.kubeconfig
    """
    logs.configure(log_level)
    # Not at the top: these libraries cost time and memory that --help should not pay.
    from msa.agent import app  # noqa: PLC0415
    from msa.cli.execute import execute  # noqa: PLC0415

    settings = AgentSettings(**values)  # type: ignore[arg-type]  # click has converted each by its option's type
    return execute("agent", partial(app.run, settings))


command = click.Command("agent", callback=_run, params=_options(), help=_run.__doc__)
