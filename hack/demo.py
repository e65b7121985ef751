"""A tour of one identity on two real control planes: `python -m hack.demo [--once]`.

Starts a hub and a managed cluster on loopback and the agent with the rights it has for real, and shows each step as the command
that a user would type.
"""

import json
import shlex
import sys
import time
from base64 import b64decode
from pathlib import Path

import yaml

from hack.addon import MANIFESTS, Addon
from hack.clusters import HOME, Cluster, free_ports, running
from hack.processes import wait_until
from msa.api import names

_NAMESPACE = "cluster1"
_BOLD, _DIM, _PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


def main(arguments: list[str]) -> int:
    once = arguments == ["--once"]
    if arguments and not once:
        print(__doc__, file=sys.stderr)
        return 2
    start = time.monotonic()
    title(
        "Starting a hub and a managed cluster: etcd, kube-apiserver and kube-controller-manager each, on loopback"
    )
    with running("demo-hub") as hub, running("demo-managed") as managed:
        say(f"both are up after {time.monotonic() - start:.1f} s")
        tour(hub, managed)
        title(f"That was the tour: {time.monotonic() - start:.0f} s")
        if not once:
            stay(hub, managed)
    return 0


def tour(hub: Cluster, managed: Cluster) -> None:
    title("Installing the CRD, and starting the agent with its few rights on both sides")
    health, metrics = free_ports(2)
    addon = Addon(hub, managed, _NAMESPACE, health_port=health, metrics_port=metrics)
    addon.install()
    addon.start()
    say(f"the agent is ready; its log is {relative(addon.process.log)}")
    try:
        identity(hub, managed)
        healing(hub)
        rotation(hub)
        show_metrics(addon)
    finally:
        title("Stopping the agent")
        addon.stop()


def identity(hub: Cluster, managed: Cluster) -> None:
    title("A hub admin asks for an identity on cluster1")
    run(hub, "apply", "-n", _NAMESPACE, "-f", str(MANIFESTS / "samples/my-sample.yaml"))
    run(hub, "apply", "-n", _NAMESPACE, "-f", str(MANIFESTS / "samples/short-lived.yaml"))
    run(hub, "wait", "-n", _NAMESPACE, "msa", "--all", "--for=condition=Ready", "--timeout=20s")
    run(hub, "get", "msa", "-n", _NAMESPACE, "-o", "wide")
    run(hub, "describe", "msa", "-n", _NAMESPACE, "my-sample")
    run(hub, "get", "secret", "-n", _NAMESPACE)
    title("The token works on cluster1, as far as RBAC there allows")
    managed.kubectl("create", "clusterrole", "namespace-reader", "--verb=get,list", "--resource=namespaces")
    account = f"--serviceaccount={names.DEFAULT_INSTALL_NAMESPACE}:my-sample"
    run(managed, "create", "clusterrolebinding", "my-sample", "--clusterrole=namespace-reader", account)
    token = token_of(hub, "my-sample")
    for what in ("namespaces", "secrets"):
        print(f"{_BOLD}$ kubectl --server=$CLUSTER1 --token=$TOKEN get {what}{_PLAIN}")
        print(as_holder(managed, token, "get", what))


def healing(hub: Cluster) -> None:
    title("The Secret is deleted; it comes back with a new token")
    before = token_of(hub, "my-sample")
    run(hub, "delete", "secret", "-n", _NAMESPACE, "my-sample")
    wait_until(lambda: token_of(hub, "my-sample") not in ("", before), 10)
    run(hub, "get", "secret", "-n", _NAMESPACE, "my-sample")


def rotation(hub: Cluster) -> None:
    title("A shorter life is asked for: the token is replaced at once")
    before = token_of(hub, "my-sample")
    run(
        hub,
        "patch",
        "msa",
        "-n",
        _NAMESPACE,
        "my-sample",
        "--type=merge",
        "-p",
        json.dumps({"spec": {"rotation": {"validity": "1h"}}}),
    )
    wait_until(lambda: token_of(hub, "my-sample") not in ("", before), 10)
    time.sleep(0.5)  # for the status, which is written after the Secret
    run(hub, "get", "msa", "-n", _NAMESPACE)
    run(hub, "events", "-n", _NAMESPACE)


def show_metrics(addon: Addon) -> None:
    title("What Prometheus sees")
    print(
        "\n".join(
            line
            for line in addon.metrics().splitlines()
            if line.startswith(("msa_rotations", "msa_token_exp", "msa_ready"))
        )
    )


def stay(hub: Cluster, managed: Cluster) -> None:
    """Keeps everything running until Ctrl-C."""
    addon = Addon(hub, managed, _NAMESPACE, health_port=free_ports(1)[0])
    addon.start()
    print("\nAll of it keeps running until Ctrl-C. To try:\n")
    install = names.DEFAULT_INSTALL_NAMESPACE
    print(f"  export PATH={hub.binaries['kubectl'].parent}:$PATH    # kubectl of this release")
    print(f"  export KUBECONFIG={relative(hub.kubeconfig)}            # the hub")
    print(f"  kubectl get msa -n {_NAMESPACE} -w")
    print(f"  kubectl delete secret -n {_NAMESPACE} my-sample                    # and it comes back")
    print(f"  kubectl delete msa -n {_NAMESPACE} short-lived                     # and all of it goes")
    print(f"  kubectl apply -n {_NAMESPACE} -f manifests/samples/short-lived.yaml")
    print(f"  kubectl --kubeconfig={relative(managed.kubeconfig)} get serviceaccounts -n {install}\n")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print("\nstopping")
    finally:
        addon.stop()


def token_of(hub: Cluster, name: str) -> str:
    """The token in a Secret, "" while there is none."""
    encoded = hub.kubectl(
        "get", "secret", "-n", _NAMESPACE, name, "--ignore-not-found", "-o", "jsonpath={.data.token}"
    )
    return b64decode(encoded).decode()


def as_holder(cluster: Cluster, token: str, *arguments: str) -> str:
    """What kubectl prints for whoever has the token and nothing else."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    file = cluster.folder / "holder.kubeconfig"
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(config))
    try:
        return cluster.kubectl(*arguments, f"--kubeconfig={file}", check=False).strip()
    finally:
        file.unlink()


def run(cluster: Cluster, *arguments: str) -> None:
    """Shows a command and what it prints."""
    shown = [relative(Path(argument)) if argument.startswith("/") else argument for argument in arguments]
    print(f"{_BOLD}$ kubectl {shlex.join(shown)}{_PLAIN}", flush=True)
    print(cluster.kubectl(*arguments).rstrip(), flush=True)


def title(text: str) -> None:
    print(f"\n{_BOLD}== {text}{_PLAIN}", flush=True)


def say(text: str) -> None:
    print(f"{_DIM}{text}{_PLAIN}", flush=True)


def relative(path: Path) -> str:
    return str(path.relative_to(HOME.parents[1])) if path.is_relative_to(HOME.parents[1]) else str(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
