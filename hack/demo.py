"""A tour of the addon on a hub and managed clusters, real control planes on loopback: `python -m hack.demo [--once]`.

Installs the addon with helm, lets clusters join and leave, lets programs use the identities, and shows each step as the command that a
user would type. Without --once all of it then stays up until Ctrl-C.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from attrs import frozen

from hack import binaries
from hack.addon import MANIFESTS
from hack.charts import Release
from hack.clusters import Cluster, ClusterError
from hack.demo_consume import consume
from hack.demo_leave import join_and_leave
from hack.demo_stage import (
    AnotherDemoError,
    agents,
    alone,
    available,
    deployed_manager,
    fetched,
    hub_with_ocm,
    kubeconfig_with,
    last_words,
    managed_cluster,
    port_of,
    token_of,
)
from hack.demo_talk import DemoError, exports, relative, run, run_as, say, title, typed, waiting
from hack.ocm.fleet import Fleet, Manager, Member
from msa.api import names

_INSTALL = names.DEFAULT_INSTALL_NAMESPACE
_HELM = (
    f"helm install -n {names.HUB_NAMESPACE} --create-namespace",
    f"{names.ADDON} manifests/charts/{names.ADDON}",
)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 40.0
_INTERRUPTED = 130
_ASKED = (
    "create manifestworks -n cluster1",
    "create secrets -n cluster1",
    "create deployments -n cluster1",
    "create pods -n kube-system",
)


@frozen
class Scene:
    """What runs once the addon is there."""

    fleet: Fleet
    manager: Manager
    members: tuple[Member, ...]

    @property
    def hub(self) -> Cluster:
        return self.fleet.hub


def main(arguments: list[str]) -> int:
    once = arguments == ["--once"]
    if arguments and not once:
        print(__doc__, file=sys.stderr)
        return 2
    _stop_once()
    start, parent = time.monotonic(), os.getppid()
    with ExitStack() as stack, _explained():
        stack.enter_context(alone())
        scene = tour(stack)
        title(f"That was the tour: {time.monotonic() - start:.0f} s")
        read_on()
        if not once:
            stay(scene, parent)
    return 0


@contextmanager
def _explained() -> Iterator[None]:
    """A failure with the last lines of the logs, which go with everything else."""
    try:
        yield
    except (DemoError, ClusterError, RuntimeError) as error:
        words = last_words()
        print(f"demo: {error}" + (f"\n\n{words}" if words else ""), file=sys.stderr)
        sys.exit(1)


def _stop_once() -> None:
    """The first signal ends the demo in good order, and is not disturbed by more."""

    def stop(_number: int, _frame: object) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in _SIGNALS:
        signal.signal(number, stop)


def tour(stack: ExitStack) -> Scene:
    """Raises DemoError where something is not as it should be."""
    title(
        "A hub and two managed clusters: etcd, kube-apiserver and kube-controller-manager each, on loopback"
    )
    start = time.monotonic()
    fleet = stack.enter_context(hub_with_ocm())
    say(f"the hub is up with OCM's stand-ins after {time.monotonic() - start:.1f} s")
    members = tuple(stack.enter_context(managed_cluster(fleet, name)) for name in ("cluster1", "cluster2"))
    say(f"both clusters are up after {time.monotonic() - start:.1f} s")
    exports(fleet.hub)
    scene = Scene(fleet, install(stack, fleet.hub), members)
    join(scene)
    third = stack.enter_context(managed_cluster(fleet, "cluster3"))
    say("(a third cluster is up by now that the hub does not know yet)")
    identities(scene)
    for member in members:
        use(scene.hub, member)
    healing(scene.hub)
    rotation(scene.hub)
    fan_out(scene)
    consume(scene.hub, members[0])
    show_metrics(scene)
    join_and_leave(third)
    return scene


def install(stack: ExitStack, hub: Cluster) -> Manager:
    title("The addon is installed on the hub, with both feature gates on")
    gates = [f"--set=featureGates.{gate}=true" for gate in ("ephemeralIdentity", "clusterProfile")]
    typed(" ".join((*_HELM, *gates)), Release(hub).install(*gates))
    say(
        "there is no node here: the manager runs as a process, with its Deployment's arguments and its ServiceAccount's token"
    )
    manager = stack.enter_context(deployed_manager(hub))
    ready = manager.ports[0]
    waiting("the manager is ready", lambda: fetched(ready, "/readyz").startswith("ok"), _PATIENCE)
    _show_rights(manager)
    return manager


def _show_rights(manager: Manager) -> None:
    """Few, but for what a gate needs."""
    run_as(manager.hub, manager.kubeconfig, "auth", "whoami")
    for request in _ASKED:
        run_as(manager.hub, manager.kubeconfig, "auth", "can-i", *request.split())
    say("it may write Secrets because of the gate ClusterProfile, which copies credentials")


def join(scene: Scene) -> None:
    title("Two clusters join the hub, and get their agents by themselves")
    for member in scene.members:
        member.join()
    run(scene.hub, "get", "managedclusters")
    run(scene.hub, "get", "managedclusteraddon", "-A")
    for member in scene.members:
        waiting(
            f"the addon is AVAILABLE on {member.name}",
            partial(available, scene.fleet, member.name),
            _PATIENCE,
        )
    run(scene.hub, "get", "managedclusteraddon", "-A")
    run(scene.hub, "get", "roles,rolebindings,manifestworks", "-n", "cluster1")
    say("and on cluster1:")
    run(scene.members[0].managed, "get", "deployments,pods,leases", "-n", _INSTALL)


def identities(scene: Scene) -> None:
    title("A hub admin asks for identities on both clusters")
    hub = scene.hub
    run(hub, "apply", "-n", "cluster1", "-f", str(MANIFESTS / "samples"))
    run(hub, "apply", "-n", "cluster2", "-f", str(MANIFESTS / "samples/my-sample.yaml"))
    for member in scene.members:
        run(hub, "wait", "-n", member.name, "msa", "--all", "--for=condition=Ready", "--timeout=20s")
    run(hub, "get", "msa", "-A", "-o", "wide")
    run(hub, "describe", "msa", "-n", "cluster1", "my-sample")
    run(hub, "get", "secret", "-A", "-l", f"{names.LABEL_MANAGED}=true")


def use(hub: Cluster, member: Member) -> None:
    managed, name = member.managed, member.name
    title(f"The token works on {name}, as far as RBAC there allows")
    managed.kubectl("create", "clusterrole", "namespace-reader", "--verb=get,list", "--resource=namespaces")
    account = f"--serviceaccount={_INSTALL}:my-sample"
    run(managed, "create", "clusterrolebinding", "my-sample", "--clusterrole=namespace-reader", account)
    holder = kubeconfig_with(managed, {"token": token_of(hub, name, "my-sample")}, "my-sample")
    for what, expected in (("namespaces", _INSTALL), ("secrets", "Forbidden")):
        if expected not in run_as(managed, holder, "get", what):
            raise DemoError(f"the answer should have told of {expected}")


def healing(hub: Cluster) -> None:
    title("The Secret is deleted; it comes back with a new token")
    before = token_of(hub, "cluster1", "my-sample")
    run(hub, "delete", "secret", "-n", "cluster1", "my-sample")
    waiting("it is back", lambda: token_of(hub, "cluster1", "my-sample") not in ("", before), 10)
    run(hub, "get", "secret", "-n", "cluster1", "my-sample")


def rotation(hub: Cluster) -> None:
    title("A shorter life is asked for: the token is replaced at once")
    before = token_of(hub, "cluster1", "my-sample"), _expiry(hub)
    patch = json.dumps({"spec": {"rotation": {"validity": "1h"}}})
    run(hub, "patch", "msa", "-n", "cluster1", "my-sample", "--type=merge", "-p", patch)
    waiting(
        "there is another token", lambda: token_of(hub, "cluster1", "my-sample") not in ("", before[0]), 10
    )
    waiting("the status tells of it", lambda: _expiry(hub) != before[1], 10)
    run(hub, "get", "msa", "-n", "cluster1")
    run(hub, "events", "-n", "cluster1")


def _expiry(hub: Cluster) -> str:
    path = "jsonpath={.status.expirationTimestamp}"
    return hub.kubectl("get", "msa", "-n", "cluster1", "my-sample", "-o", path)


def fan_out(scene: Scene) -> None:
    title(
        "One object for every cluster of a set: its namespace is bound to the set, and that is what allows it"
    )
    hub = scene.hub
    run(hub, "apply", "-f", str(MANIFESTS / "samples/fleet"))
    run(hub, "wait", "-n", "robots", "msa/robot", "--for=condition=Ready", "--timeout=30s")
    run(hub, "get", "msa", "-A", "--field-selector=metadata.name=robot")
    for member in scene.members:
        user = {"token": token_of(hub, member.name, "robot")}
        answer = run_as(member.managed, kubeconfig_with(member.managed, user, "robot"), "auth", "whoami")
        if f"system:serviceaccount:{_INSTALL}:robot" not in answer:
            raise DemoError(f"{member.name} should know the token")
    run(hub, "get", "msa", "-n", "robots", "robot", "-o", "jsonpath={.status.fanOut}")
    say("a cluster that joins gets one too, and one that leaves loses it: the next one does both")


def show_metrics(scene: Scene) -> None:
    title("What Prometheus sees of the manager, and of the agent on cluster1")
    agent = next(process for process in agents(scene.members[0]) if process.pid() is not None)
    _show_metrics(
        scene.manager.ports[1], ("msa_addon_clusters", "msa_csr_decisions_total", "msa_addon_writes")
    )
    _show_metrics(port_of(agent, "--metrics-bind-address"), ("msa_rotations", "msa_token_exp", "msa_ready"))


def _show_metrics(port: int, prefixes: tuple[str, ...]) -> None:
    lines = [line for line in fetched(port, "/metrics").splitlines() if line.startswith(prefixes)]
    command = f"curl -s http://127.0.0.1:{port}/metrics | grep -E '^({'|'.join(prefixes)})' | grep -v ' 0.0$'"
    typed(command, "\n".join(line for line in lines if not line.endswith(" 0.0")))


def stay(scene: Scene, parent: int) -> None:
    """Keeps everything running until Ctrl-C, or until the parent, make, is gone, which may have been killed."""
    hub, managed = scene.hub, scene.members[0].managed
    print("\nAll of it keeps running until Ctrl-C. To try:")
    exports(hub)
    print("  kubectl get msa -A -w")
    print("  kubectl delete secret -n cluster1 my-sample                    # and it comes back")
    print(
        "  kubectl delete msa -n cluster1 short-lived                     # and its ServiceAccount and Secret are deleted"
    )
    print("  kubectl apply -n cluster2 -f manifests/samples/short-lived.yaml")
    print(
        "  kubectl delete managedclustersetbinding -n robots global       # and robot is deleted on all clusters"
    )
    print(f"  kubectl --kubeconfig={relative(managed.kubeconfig)} get serviceaccounts -n {_INSTALL}")
    print(
        "  kubectl delete rolebinding -n cluster1 managed-serviceaccount-addon-agent    # and it comes back"
    )
    print("  kubectl delete managedcluster cluster2                         # and its agent is deleted")
    print(f"  tail -f {relative(scene.manager.process.log)}\n", flush=True)
    try:
        while os.getppid() == parent:
            time.sleep(1)
    except KeyboardInterrupt:
        print("\nstopping", flush=True)


def as_holder(cluster: Cluster, token: str, *arguments: str) -> str:
    """What kubectl prints for whoever has the token and nothing else."""
    file = kubeconfig_with(cluster, {"token": token}, "holder")
    try:
        return cluster.kubectl(*arguments, f"--kubeconfig={file}", check=False).strip()
    finally:
        file.unlink()


def read_on() -> None:
    title("Read on")
    for what, where in (
        ("install it on a hub of your own", "docs/install.md"),
        ("one identity on many clusters", "docs/fan-out.md"),
        ("credentials for Argo CD, Kueue and kubectl", "docs/clusterprofile.md, docs/cp-creds.md"),
        ("a program of your own", "docs/client.md, examples/"),
        ("run it: sizing, backup, alerts", "docs/operations.md, docs/monitoring.md"),
        ("practise helm on a hub without the addon", "make hub-up"),
    ):
        print(f"  {what:<46}{where}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)  # everything is stopped by now
    except (binaries.Unavailable, AnotherDemoError) as error:
        sys.exit(f"demo: {error}")
