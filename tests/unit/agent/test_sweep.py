from datetime import UTC, datetime

import anyio
import pytest
from attrs import define, evolve, field
from msgspec.structs import replace

from msa.agent.cluster import ManagedCluster
from msa.agent.sweep import HeldToken, TokenSweep
from msa.api.core import Credential
from msa.api.token import Token
from msa.runtime.errors import NotFound
from msa.runtime.result import Key
from msa.runtime.store import Store, StoreWriter
from tests.support.builders import credential


@define
class Reviews:
    refused: set[str] = field(factory=set)
    asked: list[str] = field(factory=list)
    version: str = "6"

    async def read_token(self, name: str) -> HeldToken | None:
        return HeldToken(Token(name), self.version)

    async def review(self, token: Token, audiences: tuple[str, ...]) -> bool:
        self.asked.append(token.reveal())
        return token.reveal() not in self.refused


async def _no_keys() -> bytes:
    raise NotFound("no such path")


async def _empty_key_set() -> bytes:
    return b'{"keys":[]}'


def _store(*names: str) -> Store[Credential]:
    store: Store[Credential] = Store()
    stored = [evolve(credential(), metadata=replace(credential().metadata, name=name)) for name in names]
    StoreWriter(store).replace(stored, "9")
    return store


def _cluster(*, tells_keys: bool) -> ManagedCluster:
    fetch = _empty_key_set if tells_keys else _no_keys
    return ManagedCluster(
        "install",
        fetch,
        ca=lambda: b"",
        now=lambda: datetime.now(UTC),
        skew=lambda: None,
        interruptions=lambda: 0,
    )


async def _sweep(cluster: ManagedCluster, reviews: Reviews, seconds: float) -> list[Key]:
    await cluster.refresh()
    looked_at: list[Key] = []
    with anyio.move_on_after(seconds):
        await TokenSweep(cluster, _store("good", "bad"), reviews, looked_at.append).run()
    return looked_at


async def test_where_the_cluster_does_not_tell_its_keys_each_token_is_asked_about_every_ten_minutes() -> None:
    reviews, cluster = Reviews({"bad"}), _cluster(tells_keys=False)
    assert await _sweep(cluster, reviews, 605) == ["bad"]
    assert reviews.asked == ["good", "bad"]


async def test_a_secret_that_was_written_meanwhile_is_left_for_the_next_round() -> None:
    reviews = Reviews({"bad"}, version="7")
    assert await _sweep(_cluster(tells_keys=False), reviews, 605) == []
    assert reviews.asked == []


async def test_where_the_cluster_tells_its_keys_nobody_is_asked() -> None:
    reviews = Reviews({"bad"})
    assert await _sweep(_cluster(tells_keys=True), reviews, 5000) == []
    assert reviews.asked == []


@pytest.mark.parametrize("version", ["6", "7"])
async def test_a_refused_token_is_refused_until_the_secret_is_written_anew(version: str) -> None:
    cluster = _cluster(tells_keys=False)
    cluster.refused("one", "6")
    later = evolve(credential(), metadata=replace(credential().metadata, resource_version=version))
    assert cluster.refuses(later) is (version == "6")
