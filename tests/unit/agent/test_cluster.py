"""What the agent knows of its managed cluster's signing keys, on virtual time."""

from datetime import UTC, datetime

import anyio
import pytest
from attrs import define, field

from msa.agent.cluster import ManagedCluster
from msa.runtime.errors import ApiError, Forbidden, Network, NotFound
from tests.support.builders import jwks

OLD, NEW = jwks("old"), jwks("new")


@define
class Served:
    """What `/openid/v1/jwks` answers, and when it was asked."""

    answer: bytes | ApiError = OLD
    asked: list[float] = field(factory=list)

    async def __call__(self) -> bytes:
        self.asked.append(anyio.current_time())
        if isinstance(self.answer, ApiError):
            raise self.answer
        return self.answer


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.fixture
def cluster(served: Served) -> ManagedCluster:
    return _managed(served, [0])


def _managed(served: Served, interruptions: list[int]) -> ManagedCluster:
    return ManagedCluster(
        "install",
        served,
        ca=lambda: b"ca",
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        skew=lambda: None,
        interruptions=lambda: interruptions[0],
    )


def _known(cluster: ManagedCluster) -> frozenset[str]:
    assert cluster.keys is not None
    return frozenset(cluster.keys.key_ids)


async def test_keys_that_could_not_be_had_are_asked_for_again_within_seconds(
    served: Served, cluster: ManagedCluster
) -> None:
    """The API server restarts with a new key: its watches come back, and nothing else says that it did."""
    await cluster.refresh()
    served.answer = Network("refused")
    await cluster.refresh()
    served.answer = NEW
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cluster.run)
        await anyio.sleep(6)
        tasks.cancel_scope.cancel()
    assert _known(cluster) == {"new"}


async def test_a_cluster_that_does_not_serve_its_keys_is_asked_every_few_minutes_only(
    served: Served, cluster: ManagedCluster
) -> None:
    served.answer = NotFound("no such path", code=404)
    await cluster.refresh()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cluster.run)
        await anyio.sleep(1000)
        tasks.cancel_scope.cancel()
    assert 2 <= len([moment for moment in served.asked if moment > 120]) <= 3
    assert max(served.asked[:24]) <= 120, "what a server that was just started says is not its lasting word"


@pytest.mark.parametrize("answer", [Forbidden("not warm yet"), NotFound("no such path"), OLD])
async def test_after_an_interruption_no_answer_counts_as_lasting_for_two_minutes(
    served: Served, answer: bytes | ApiError
) -> None:
    """A server that was just restarted answers 403 until its authorizer is warm; one that is shut down, with the old keys."""
    interruptions = [0]
    cluster = _managed(served, interruptions)
    await cluster.refresh()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cluster.run)
        await anyio.sleep(100)
        interruptions[0], served.answer = 1, answer
        await anyio.sleep(60)
        served.answer = NEW
        await anyio.sleep(6)
        tasks.cancel_scope.cancel()
    assert _known(cluster) == {"new"}


async def test_one_fetch_answers_all_tokens_that_show_an_unknown_key(
    served: Served, cluster: ManagedCluster
) -> None:
    """50 tokens of a replaced key waited five seconds each, one after the other."""
    await cluster.refresh()
    served.answer = NEW
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(cluster.learn, "old, replaced")
    assert anyio.current_time() <= 6
    assert len(served.asked) == 2


async def test_an_unknown_key_is_looked_up_even_right_after_a_fetch_though_not_at_once(
    served: Served, cluster: ManagedCluster
) -> None:
    await cluster.refresh()
    served.answer = NEW
    await cluster.learn("new")
    assert _known(cluster) == {"new"}
    assert served.asked[1] - served.asked[0] == 5.0


async def test_an_incomplete_key_set_is_trusted_again_when_it_changes(
    served: Served, cluster: ManagedCluster
) -> None:
    await cluster.refresh()
    cluster.distrust()
    await cluster.refresh()
    assert cluster.view().thumbprints is None, "the same set proves no more than before"
    served.answer = NEW
    await cluster.refresh()
    assert cluster.view().thumbprints is not None
