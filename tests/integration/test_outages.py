"""API servers that are away for longer than a lead lasts: the programs stay, and work goes on as soon as the servers do.

With leader election, as deployed. The outages here are as short as they can be for the lead to be lost; longer ones are measured in
docs/operations.md.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hack.addon import Addon
from hack.clusters import Cluster
from hack.ocm.fleet import Fleet
from hack.processes import wait_until
from msa.api import names
from tests.integration.conftest import StartAddon
from tests.support.identities import PATIENCE, condition, create, sample
from tests.support.manager import Membership, Replica

_OUTAGE = 12.0
_RETURN_SECONDS = 4.0
"""Two of the programs', the rest kubectl's and this machine's."""

pytestmark = pytest.mark.timeout(300)


@contextmanager
def _away(*clusters: Cluster) -> Iterator[None]:
    for cluster in clusters:
        cluster.stop_apiserver()
    try:
        yield
    finally:
        for cluster in clusters:
            cluster.start_apiserver()


def _events(addon: Addon) -> list[str]:
    return [line for line in addon.process.log.read_text().splitlines() if '"event":"lead' in line]


def _ready_within(addon: Addon, name: str, seconds: float) -> float:
    """How long a new identity took."""
    start = time.monotonic()
    create(addon, name)
    assert wait_until(lambda: condition(addon, name).get("status") == "True", seconds)
    return time.monotonic() - start


def test_an_agent_works_on_at_once_when_both_its_servers_are_back(
    hub: Cluster, managed: Cluster, start_addon: StartAddon
) -> None:
    addon = start_addon("outage", "--leader-elect")
    _ready_within(addon, "before", PATIENCE)
    process, interrupted = addon.process.pid(), len(_events(addon))
    with _away(hub, managed):
        time.sleep(_OUTAGE)
        assert addon.alive(), "the kubelet leaves it alone"
        assert addon.ready(), "its caches are complete"
        assert len(_events(addon)) > interrupted, "the lead was lost"
    assert _ready_within(addon, "after", PATIENCE) <= _RETURN_SECONDS
    assert addon.process.pid() == process, "it was not restarted"
    assert sample(addon, "leader_election_master_status") == 1


def test_of_two_managers_one_works_on_at_once_when_the_hub_is_back(ocm: Fleet) -> None:
    replicas = [Replica(ocm.hub, f"outage-{name}", ("--leader-elect",)) for name in ("one", "two")]
    cluster = Membership(ocm, "outage")
    try:
        for replica in replicas:
            replica.start()
            replica.wait_ready()
        cluster.accept()
        cluster.wait_installed()
        ocm.stop()  # OCM's stand-ins are not made for this
        with _away(ocm.hub):
            time.sleep(_OUTAGE)
        start = time.monotonic()
        ocm.hub.kubectl("delete", "rolebinding", names.AGENT_ROLE, "-n", cluster.name)
        cluster.wait_installed()
        assert time.monotonic() - start <= _RETURN_SECONDS
        leading = [replica.value("leader_election_master_status") for replica in replicas]
        assert sorted(leading) == [0, 1]
    finally:
        ocm.start()
        for replica in replicas:
            replica.send(signal.SIGTERM)
        codes = [replica.wait() for replica in replicas]
    assert codes == [0, 0], "neither was restarted, nor ended by itself"
    for (
        replica
    ) in replicas:  # an API server that starts refuses everybody for a moment, so they may have been
        assert '"level":"critical"' not in replica.log.read_text()
