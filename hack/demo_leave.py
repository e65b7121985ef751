"""The third cluster: it joins the running fleet, has its agent, and leaves again without a trace."""

import json
import re
import time
from functools import partial
from typing import Any, Final

from attrs import frozen

from hack.addon import MANIFESTS
from hack.clusters import Cluster
from hack.demo_inventory import Excuses, inventory, left_behind, staying
from hack.demo_stage import agents, available, kubeconfig_with, token_of
from hack.demo_talk import DemoError, run, run_as, say, title, waiting
from hack.ocm.fleet import Member
from hack.processes import Process
from msa.api import names

_AGENT_SECONDS: Final = 15.0
_GONE_SECONDS: Final = 40.0
_IDENTITY: Final = "my-sample"


@frozen
class Traces:
    """What a cluster would leave, were it not taken away.

    Attributes:
        hub: all that was on the hub before it joined.
        managed: all that was on it before it joined.
        agents: the processes of its pods.
        token: of an identity on it.
        certificate: with which its agent came to the hub, as a kubeconfig's user.
    """

    hub: frozenset[str]
    managed: frozenset[str]
    agents: list[Process]
    token: str
    certificate: dict[str, Any]


def join_and_leave(member: Member) -> None:
    """Raises DemoError where something is late, or remains."""
    before = (inventory(member.fleet.hub), inventory(member.managed))
    _join(member)
    traces = Traces(
        *before,
        agents(member),
        token_of(member.fleet.hub, member.name, _IDENTITY),
        _certificate(member.managed),
    )
    _leave(member)
    _check(member, traces)
    member.stop()


def _join(member: Member) -> None:
    hub, name = member.fleet.hub, member.name
    title(
        f"A third cluster joins: the hub accepts {name}, OCM's own agents start on it, and nobody does more"
    )
    start = time.monotonic()
    member.join()
    rest = _AGENT_SECONDS - (time.monotonic() - start)
    waiting(f"the addon is AVAILABLE on {name}", partial(available, member.fleet, name), rest)
    took = time.monotonic() - start
    say(f"{name} has its agent {took:.1f} s after it was accepted (it may take {_AGENT_SECONDS:.0f} s)")
    run(hub, "get", "managedclusteraddon", "-A")
    run(hub, "apply", "-n", name, "-f", str(MANIFESTS / f"samples/{_IDENTITY}.yaml"))
    run(hub, "wait", "-n", name, "msa", "--all", "--for=condition=Ready", "--timeout=20s")


def _leave(member: Member) -> None:
    hub, name = member.fleet.hub, member.name
    title(f"{name} leaves again")
    run(hub, "delete", "managedcluster", name, "--wait=false")
    waiting("OCM has let it go", lambda: member.fleet.get("managedcluster", name) is None, _GONE_SECONDS)
    run(hub, "get", "managedclusteraddon", "-A")


def _check(member: Member, traces: Traces) -> None:
    name, hub, managed = member.name, member.fleet.hub, member.managed
    title(f"Is anything of {name} left? Its agent, its objects, what its credentials open")
    _ended(traces.agents)
    _nothing_left(f"on {name}", managed, traces.managed, _namespace(names.DEFAULT_INSTALL_NAMESPACE))
    _refused("the identity's token", managed, {"token": traces.token}, "get namespaces", "Unauthorized")
    _refused("its agent's certificate", hub, traces.certificate, f"get msa,secrets -n {name}", "Forbidden")
    requests = _signing_requests(name)
    _nothing_left("on the hub", hub, traces.hub, requests | _namespace(name) | _identity(name))
    say("and without what people own:")
    run(hub, "delete", "namespace", name)
    _nothing_left("on the hub", hub, traces.hub, requests)


def _ended(processes: list[Process]) -> None:
    if not processes:
        raise DemoError("the cluster had no agent that could have ended")
    waiting("its agent has ended", lambda: all(agent.pid() is None for agent in processes), _GONE_SECONDS)


def _nothing_left(where: str, cluster: Cluster, before: frozenset[str], excuses: Excuses) -> None:
    """Compares all objects of all kinds with those that were there before."""
    seen = [before]

    def clean() -> bool:
        seen.append(inventory(cluster))
        return left_behind(before, seen[-1], excuses) == []

    try:
        waiting(f"nothing is left {where}", clean, _GONE_SECONDS)
    except DemoError as late:
        rest = left_behind(before, seen[-1], excuses)
        raise DemoError("\n  ".join([f"{late}; there still is", *rest])) from late
    say(f"  of all kinds but Events: {len(before)} objects before it joined, {len(seen[-1])} now")
    for why, lines in staying(before, seen[-1], excuses).items():
        say(f"  {why}: {', '.join(lines)}")


def _refused(what: str, cluster: Cluster, user: dict[str, Any], request: str, reason: str) -> None:
    """Raises DemoError where a credential still opens something."""
    say(f"with {what}:")
    answer = run_as(cluster, kubeconfig_with(cluster, user, "left"), *request.split())
    if reason not in answer:
        raise DemoError(f"{what} was not answered with {reason}")


def _namespace(name: str) -> Excuses:
    """A namespace, and what Kubernetes puts into each."""
    name = re.escape(name)
    content = rf"Namespace /{name}|ServiceAccount {name}/default|ConfigMap {name}/kube-root-ca\.crt"
    return {f"v1 ({content})": "a namespace that others may use too stays, as with OCM"}


def _identity(cluster: str) -> Excuses:
    objects = rf"{re.escape(names.GROUP)}/\S+ {names.KIND}|v1 Secret"
    why = "what somebody asked for stays until he deletes it, its token refused by now"
    return {f"({objects}) {re.escape(cluster)}/{_IDENTITY}": why}


def _signing_requests(cluster: str) -> Excuses:
    request = (
        rf"certificates\.k8s\.io/v1 CertificateSigningRequest /addon-{re.escape(cluster)}-{names.ADDON}-\S+"
    )
    return {request: "a signed request, which kube-controller-manager deletes an hour after"}


def _certificate(managed: Cluster) -> dict[str, Any]:
    wanted = ["-n", names.DEFAULT_INSTALL_NAMESPACE, names.HUB_KUBECONFIG_SECRET, "-o", "jsonpath={.data}"]
    data = json.loads(managed.kubectl("get", "secret", *wanted))
    return {"client-certificate-data": data["tls.crt"], "client-key-data": data["tls.key"]}
