"""Two replicas of the manager with --leader-elect: one works, the other follows, and at no time do both write."""

import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from hack.ocm.fleet import Fleet
from hack.processes import wait_until
from msa.api import names
from tests.support.manager import PATIENCE, Membership, Replica, assert_clean, managed_cluster
from tests.support.manager_writes import Write, WriteLog

_HANDOVER_SECONDS = 2.0
_LEASE_SECONDS = 15.0

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def replicas(ocm: Fleet, request: pytest.FixtureRequest) -> Iterator[tuple[Replica, Replica]]:
    """The first leads, the second is ready to."""
    stem = request.node.name.removeprefix("test_")[:20]
    leader, follower = (Replica(ocm.hub, f"{stem}-{name}", ("--leader-elect",)) for name in ("one", "two"))
    try:
        leader.start()
        assert wait_until(lambda: leader.said("leading"), PATIENCE)
        follower.start()
        follower.wait_ready()
        yield leader, follower
    finally:
        leader.stop()
        follower.stop()
    assert_clean(leader)
    assert_clean(follower)


def _accept(fleet: Fleet, clusters: list[Membership]) -> None:
    fleet.apply(
        {"apiVersion": "v1", "kind": "List", "items": [managed_cluster(item.name) for item in clusters]}
    )


def _by_writer(writes: list[Write]) -> list[list[Write]]:
    """Those of each replica, in the order in which they began."""
    credentials = dict.fromkeys(write.credential for write in sorted(writes, key=lambda write: write.at))
    return [[write for write in writes if write.credential == credential] for credential in credentials]


def test_one_works_and_the_other_follows_within_two_seconds_of_a_clean_stop(
    ocm: Fleet, write_log: WriteLog, replicas: tuple[Replica, Replica]
) -> None:
    """In the middle of its work: what it has begun it ends, and only then the other begins."""
    leader, follower = replicas
    clusters, log = [Membership(ocm, f"handed-{number}") for number in range(30)], write_log.from_now()
    joining = threading.Thread(target=_accept, args=(ocm, clusters))
    joining.start()
    assert wait_until(lambda: log.count() > 20, PATIENCE, 0.01)
    assert not follower.said("leading")
    assert follower.value("leader_election_master_status") == 0
    start = time.monotonic()
    leader.send(signal.SIGTERM)
    assert wait_until(lambda: follower.said("leading"), PATIENCE, 0.01)
    assert time.monotonic() - start <= _HANDOVER_SECONDS
    assert leader.wait() == 0
    joining.join()
    for cluster in clusters:
        cluster.wait_installed()
    _assert_one_after_the_other(log.writes())
    _assert_made_once(log.writes(), [cluster.name for cluster in clusters])


def _assert_one_after_the_other(writes: list[Write]) -> None:
    writers = _by_writer(writes)
    assert len(writers) == 2
    for before, after in pairwise(writers):
        assert max(write.done for write in before) <= min(write.at for write in after)


def _assert_made_once(writes: list[Write], clusters: list[str]) -> None:
    made = [
        (write.namespace, write.resource)
        for write in writes
        if write.verb == "create" and write.namespace in clusters and write.resource != "events"
    ]
    assert sorted(made) == sorted(
        (name, kind) for name in clusters for kind in ("rolebindings", "manifestworks", "manifestworks")
    )


def test_a_leader_that_was_frozen_writes_nothing_more_and_follows(
    ocm: Fleet, write_log: WriteLog, replicas: tuple[Replica, Replica]
) -> None:
    """Its caches tell it of work when it wakes up, but its lead is over. It stands for the next one as before."""
    leader, follower = replicas
    cluster = Membership(ocm, "frozen")
    cluster.accept()
    cluster.wait_installed()
    leader.send(signal.SIGSTOP)
    frozen_at, log = datetime.now(UTC), write_log.from_now()
    try:
        assert wait_until(lambda: follower.said("leading"), 2 * _LEASE_SECONDS)
        ocm.hub.kubectl("delete", "rolebinding", names.AGENT_ROLE, "-n", cluster.name)
        cluster.wait_installed()
        ocm.hub.kubectl("delete", "manifestwork", names.DEPLOY_WORK, "-n", cluster.name)
    finally:
        leader.send(signal.SIGCONT)
    assert wait_until(lambda: leader.said("lead_lost"), PATIENCE)
    cluster.wait_installed()
    writers = _by_writer([write for write in log.writes() if write.at > frozen_at])
    assert len(writers) == 1
    assert follower.value("leader_election_master_status") == 1
    assert leader.value("leader_election_master_status") == 0
    follower.send(signal.SIGTERM)
    assert wait_until(lambda: leader.value("leader_election_master_status") == 1, _HANDOVER_SECONDS, 0.01)
