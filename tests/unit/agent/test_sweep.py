import anyio
import anyio.lowlevel
import pytest
from attrs import define, evolve, field
from msgspec.structs import replace

from msa.agent.cluster import ManagedCluster
from msa.agent.ingest import digest
from msa.agent.keyset import KeySet
from msa.agent.reconciler import Caches
from msa.agent.sweep import HeldToken, TokenSweep
from msa.api.core import Credential, ServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.api.token import Claims, Token, TokenFacts
from msa.policy.rotation import Reason, Request, Snapshot, violation
from msa.runtime import slices
from msa.runtime.errors import NotFound
from msa.runtime.result import Key
from msa.runtime.store import Store, StoreWriter
from tests.support import builders
from tests.support.builders import START, claims, credential


@define
class Reviews:
    refused: set[str] = field(factory=set)
    asked: list[str] = field(factory=list)
    audiences: set[tuple[str, ...]] = field(factory=set)
    version: str = "6"

    async def read_token(self, name: str) -> HeldToken | None:
        return HeldToken(Token(name), self.version)

    async def review(self, token: Token, audiences: tuple[str, ...]) -> bool:
        self.asked.append(token.reveal())
        self.audiences.add(audiences)
        return token.reveal() not in self.refused


async def _no_keys() -> bytes:
    raise NotFound("no such path")


_KEYS = builders.jwks("k")
(_KEY,) = KeySet.from_jwks(_KEYS).thumbprints


async def _key_set() -> bytes:
    return _KEYS


def _held(name: str, said: Claims) -> Credential:
    own = evolve(said, subject=f"system:serviceaccount:install:{name}")
    return evolve(
        credential(own, ca_digest=digest(b"")),
        token=TokenFacts("k", own, _KEY),
        metadata=replace(credential().metadata, name=name),
    )


def _caches(*names: str, said: Claims | None = None) -> Caches:
    identities: Store[ManagedServiceAccount] = Store()
    credentials: Store[Credential] = Store()
    accounts: Store[ServiceAccount] = Store()
    StoreWriter(identities).replace([builders.identity(name) for name in names], "9")
    StoreWriter(credentials).replace([_held(name, said or claims()) for name in names], "9")
    StoreWriter(accounts).replace([builders.account(name) for name in names], "9")
    return Caches(identities, credentials, accounts)


def _cluster(*, tells_keys: bool, interruptions: list[int] | None = None) -> ManagedCluster:
    fetch = _key_set if tells_keys else _no_keys
    return ManagedCluster(
        "install",
        fetch,
        ca=lambda: b"",
        now=lambda: START + builders.HOUR,
        skew=lambda: None,
        interruptions=lambda: (interruptions or [0])[0],
    )


async def _sweep(
    cluster: ManagedCluster, reviews: Reviews, seconds: float, caches: Caches | None = None
) -> list[Key]:
    await cluster.refresh()
    await cluster.refresh()
    looked_at: list[Key] = []
    with anyio.move_on_after(seconds):
        await TokenSweep(cluster, caches or _caches("good", "bad"), reviews, looked_at.append).run()
    return looked_at


async def test_where_the_cluster_does_not_tell_its_keys_each_token_is_asked_about_every_ten_minutes() -> None:
    reviews, cluster = Reviews({"bad"}), _cluster(tells_keys=False)
    assert await _sweep(cluster, reviews, 605) == ["bad"]
    assert reviews.asked[1:] == ["good", "bad"], "after one at the start"


async def test_while_all_tokens_are_compared_other_tasks_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At 10,000 identities the comparison takes a good part of a second."""
    monkeypatch.setattr(slices, "_SLICE_SECONDS", -1.0)
    caches, turns = _caches(*(f"n{number}" for number in range(256))), 0
    sweep = TokenSweep(_cluster(tells_keys=False), caches, Reviews(), lambda _key: None)

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        assert await sweep._kinds(START + builders.HOUR)
        tasks.cancel_scope.cancel()
    assert turns >= 8


async def test_a_token_for_the_default_audience_is_reviewed_for_the_server_s_own() -> None:
    """Asked about its own audience, the server would accept it even where its own is another by now."""
    reviews = Reviews()
    await _sweep(_cluster(tells_keys=False), reviews, 605)
    assert reviews.audiences == {()}


async def test_a_secret_that_was_written_meanwhile_is_left_for_the_next_round() -> None:
    reviews = Reviews({"bad"}, version="7")
    assert await _sweep(_cluster(tells_keys=False), reviews, 605) == []
    assert reviews.asked == []


async def test_where_the_cluster_tells_its_keys_one_token_is_asked_about_at_the_start_and_then_none() -> None:
    reviews, caches = Reviews(), _caches("a", "b", "c")
    assert await _sweep(_cluster(tells_keys=True), reviews, 5000, caches) == []
    assert reviews.asked == ["a"]


async def test_after_a_restart_of_the_api_server_one_token_of_each_kind_is_asked_about_until_it_has_settled() -> (
    None
):
    reviews, caches, interruptions = Reviews(), _caches("a", "b", "c"), [0]
    cluster = _cluster(tells_keys=True, interruptions=interruptions)
    await cluster.refresh()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cluster.run)
        tasks.start_soon(_sweep, cluster, reviews, 5000, caches)
        await anyio.sleep(1000)
        interruptions[0] += 1
        await anyio.sleep(1000)
        tasks.cancel_scope.cancel()
    assert reviews.asked == ["a"] * 6


async def test_two_refused_tokens_mean_new_ones_for_all_of_their_kind_that_were_issued_until_then() -> None:
    reviews, caches = Reviews({"a", "b", "c"}), _caches("a", "b", "c")
    cluster = _cluster(tells_keys=True)
    assert await _sweep(cluster, reviews, 31, caches) == ["a", "b", "c"]
    assert reviews.asked == ["a", "b"]
    held = _held("one", claims())
    found = violation(_snapshot(cluster, held), START)
    assert found is not None
    assert found.reason is Reason.REFUSED
    newer = _held("one", claims(issued_at=START + builders.HOUR))
    assert violation(_snapshot(cluster, newer), START) is None


async def test_one_refused_token_among_others_proves_nothing_of_its_kind() -> None:
    reviews, caches = Reviews({"a"}), _caches("a", "b", "c")
    assert await _sweep(_cluster(tells_keys=True), reviews, 31, caches) == []


async def test_the_only_token_of_its_kind_is_enough() -> None:
    assert await _sweep(_cluster(tells_keys=True), Reviews({"a"}), 31, _caches("a")) == ["a"]


async def test_a_new_token_of_another_issuer_has_the_older_ones_asked_about() -> None:
    """The API server was reconfigured and no watch of ours broke: it is one of several."""
    reviews, caches = Reviews(), _caches("a")
    cluster = _cluster(tells_keys=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_sweep, cluster, reviews, 5000, caches)
        await anyio.sleep(100)
        cluster.witness(claims())
        await anyio.sleep(200)
        assert reviews.asked == ["a"]
        cluster.witness(claims(issuer="https://new.example.com"))
        await anyio.sleep(6)
        assert reviews.asked == ["a", "a"]
        tasks.cancel_scope.cancel()


def _snapshot(cluster: ManagedCluster, held: Credential) -> Snapshot:
    identity = builders.identity("one")
    return Snapshot(identity, builders.account("one"), held, cluster.view(), Request.from_spec(identity.spec))


@pytest.mark.parametrize("version", ["6", "7"])
async def test_a_refused_token_is_refused_until_the_secret_is_written_anew(version: str) -> None:
    cluster = _cluster(tells_keys=False)
    cluster.refused("one", "6")
    later = evolve(credential(), metadata=replace(credential().metadata, resource_version=version))
    assert cluster.refuses(later) is (version == "6")
