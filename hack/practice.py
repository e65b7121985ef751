"""A hub to practise helm on: OCM's stand-ins, one cluster that has joined, and no addon yet.

python -m hack.practice up      start it; it runs until down
python -m hack.practice down    stop it and remove its state
"""

import sys
from typing import Final

from hack import binaries
from hack.clusters import HOME, Cluster, ClusterError
from hack.demo_talk import exports, relative, say, title
from hack.ocm.fleet import Fleet, Member
from msa.api import names

_CLUSTER: Final = "cluster1"
_HUB: Final = "practice-hub"
_STEPS: Final = (
    f"helm install -n {names.HUB_NAMESPACE} --create-namespace {names.ADDON} manifests/charts/{names.ADDON}",
    f"kubectl rollout status -n {names.HUB_NAMESPACE} deployment/managed-serviceaccount-addon-manager",
    f"kubectl wait -n {_CLUSTER} managedclusteraddon/{names.ADDON} --for=condition=Available --timeout=2m",
    f"kubectl apply -n {_CLUSTER} -f manifests/samples/my-sample.yaml",
    f"kubectl wait -n {_CLUSTER} msa/my-sample --for=condition=Ready --timeout=1m",
    f"kubectl describe msa -n {_CLUSTER} my-sample",
    f"helm upgrade -n {names.HUB_NAMESPACE} {names.ADDON} manifests/charts/{names.ADDON} --set hubDeployMode=AddOnTemplate",
    f"helm rollback -n {names.HUB_NAMESPACE} {names.ADDON} 1",
    f"helm uninstall -n {names.HUB_NAMESPACE} {names.ADDON}",
    f"kubectl get msa -n {_CLUSTER}",
)


def main(arguments: list[str]) -> int:
    match arguments:
        case ["up"]:
            up()
        case ["down"]:
            down()
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


def up() -> None:
    fleet, member = _parts(binaries_needed=True)
    title("A hub and one managed cluster, on loopback")
    for cluster in (fleet.hub, member.managed):
        cluster.up()
        say(f"{cluster.name} is up")
    fleet.install_ocm()
    if fleet.process.pid() is None:
        fleet.start(manager_pods=True)
    if member.process.pid() is None:
        member.join()
    title(f"{_CLUSTER} has joined the hub")
    exports(fleet.hub, "to try these commands")
    for step in _STEPS:
        print(f"  {step}")
    print(
        f"There is no kubelet and no image: pods run as processes, their logs are {relative(HOME)}/practice-*/agent-*.log.\n"
        "make hub-down stops all of it and deletes its state."
    )


def down() -> None:
    fleet, member = _parts(binaries_needed=False)
    member.stop()
    fleet.stop()
    for cluster in (member.managed, fleet.hub):
        cluster.down()


def _parts(*, binaries_needed: bool) -> tuple[Fleet, Member]:
    hub, managed = (
        _cluster(name, binaries_needed=binaries_needed) for name in (_HUB, f"practice-{_CLUSTER}")
    )
    fleet = Fleet(hub)
    return fleet, Member(fleet, managed, _CLUSTER)


def _cluster(name: str, *, binaries_needed: bool) -> Cluster:
    return Cluster(name, HOME / name) if binaries_needed else Cluster(name, HOME / name, binaries={})


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ClusterError, RuntimeError, binaries.Unavailable) as error:
        sys.exit(f"practice: {error}")
