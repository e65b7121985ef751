"""What the programs' command lines have in common: kinds of values, and options of the same meaning."""

import inspect
from collections.abc import Callable
from datetime import timedelta

import click

from msa.api import durations, names
from msa.cli import logs
from msa.policy.gates import RENAMED, FeatureGates

_TRUE = ("true", "1", "t", "yes")
_FALSE = ("false", "0", "f", "no")


class Label(click.ParamType[str]):
    """The name of a namespace (RFC 1123 label). Empty, it would mean all namespaces."""

    name = "name"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not names.NAMESPACE_NAME.fullmatch(text):
            self.fail(f"{text!r} is no name of a namespace: lower case letters, digits and -", param, ctx)
        return text


class Duration(click.ParamType[timedelta]):
    """In Go's style, above 0."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            found = durations.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if found <= timedelta():
            self.fail(f"{value!r} is not above 0", param, ctx)
        return found


class Address(click.ParamType[str]):
    """Where to listen, in Go's style; 0 for nowhere."""

    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from msa.runtime.http import parse_address  # noqa: PLC0415 - --help should not pay for it

        try:
            parse_address(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class Switch(click.ParamType[bool]):
    """A Go-style boolean flag: `--x`, `--x=true`, `--x=false`."""

    name = "true|false"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        text = str(value).lower()
        if text not in _TRUE + _FALSE:
            self.fail(f"{text!r} is neither true nor false", param, ctx)
        return text in _TRUE


class Gates(click.ParamType[FeatureGates]):
    """`A=true,B=false`; a gate of another release is an error, since it was meant to change something."""

    name = "Gate=true|false,..."
    _known = ("EphemeralIdentity", "ClusterProfile")

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> FeatureGates:
        if isinstance(value, FeatureGates):
            return value
        gates, renamed = dict.fromkeys(self._known, False), []
        for pair in filter(None, (part.strip() for part in str(value).split(","))):
            name, _, setting = pair.partition("=")
            gate = RENAMED.get(name, name)
            if gate not in gates:
                self.fail(f"unknown feature gate {gate!r}; known are {', '.join(self._known)}", param, ctx)
            gates[gate] = Switch().convert(setting, param, ctx)
            renamed += [name] if name != gate else []
        return FeatureGates(
            ephemeral_identity=gates["EphemeralIdentity"],
            cluster_profile=gates["ClusterProfile"],
            renamed=tuple(renamed),
        )


def pod_namespace(default: str) -> str:
    """The namespace this pod runs in, else the default."""
    from msa.kube import credentials  # noqa: PLC0415 - --help should not pay for it

    return credentials.pod_namespace() or default


def explained(command: Callable[..., None]) -> str:
    """A command's docstring as its help; click takes a backspace on a line of its own to leave a paragraph's lines as they are."""
    return inspect.cleandoc(command.__doc__ or "").replace("\\b\n", "\b\n")


def switch(flag: str, text: str, *, default: bool) -> click.Option:
    return click.Option(
        [flag],
        type=Switch(),
        is_flag=False,
        flag_value="true",
        default=default,
        show_default=True,
        help=text,
    )


def common(*, workers: int, what: str, health: str) -> list[click.Parameter]:
    """The options that all long-running programs have.

    Args:
        workers: the default of --workers.
        what: the things that a worker works on.
        health: the default of --health-probe-bind-address.
    """
    return [
        click.Option(
            ["--metrics-bind-address", "metrics_address"],
            type=Address(),
            default=":38080",
            show_default=True,
            help="Where Prometheus scrapes /metrics; 0 for nowhere.",
        ),
        click.Option(
            ["--health-probe-bind-address", "health_address"],
            type=Address(),
            default=health,
            show_default=True,
            help="Where /healthz, /livez and /readyz are served; 0 for nowhere.",
        ),
        switch(
            "--leader-elect",
            "Hold the leader Lease before writing anything, so that two replicas never both write.",
            default=False,
        ),
        click.Option(
            ["--feature-gates"],
            type=Gates(),
            default="",
            help="EphemeralIdentity=true deletes identities when their TTL is over. ClusterProfile=true, on the hub, copies "
            "credentials to ClusterProfiles.",
        ),
        click.Option(
            ["--workers"],
            type=click.IntRange(1, 256),
            default=workers,
            show_default=True,
            help=f"{what} worked on at the same time.",
        ),
        click.Option(
            ["--log-level"],
            type=click.Choice(logs.LEVELS),
            default="info",
            show_default=True,
            help="How much to log.",
        ),
    ]
