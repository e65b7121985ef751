"""What a fresh read of the hub says of who may use a cluster."""

from typing import Any

import pytest
from attrs import define, field

from msa.hub.fanout_fresh import FreshReads
from msa.runtime.ports import Page
from msa.runtime.result import Key
from tests.support.fanout_hub import binding, cluster, cluster_set


@define
class Listing:
    """As much of a `ListWatch` as is asked: one page of these."""

    items: tuple[Any, ...] = ()
    unreadable: tuple[Any, ...] = ()
    asked: list[int] = field(factory=list)

    async def list(
        self, *, resource_version: str = "", limit: int = 0, continue_token: str = ""
    ) -> Page[Any]:
        del resource_version, continue_token
        self.asked.append(limit)
        return Page(self.items, "7", "", self.unreadable)


def _hub(sets: Any, bindings: Any, clusters: Any) -> FreshReads:
    found: Any = {
        "clusters": lambda _name: clusters,
        "sets": sets,
        "bindings": lambda _namespace: bindings,
        "decisions": Listing(),
        "named": lambda _key: Listing(),
    }
    return FreshReads(**found)


ALL = Listing((cluster_set(),)), Listing((binding(),)), Listing((cluster("c1"),))


@pytest.mark.parametrize(
    ("sets", "bindings", "clusters", "may"),
    [
        (*ALL, True),
        (Listing(), *ALL[1:], False),
        (ALL[0], Listing(), ALL[2], False),
        (*ALL[:2], Listing((cluster("c1", "other"),)), False),
        (*ALL[:2], Listing(), True),
        (*ALL[:2], Listing(unreadable=("c1",)), True),
        (Listing(unreadable=("s",)), *ALL[1:], True),
        (ALL[0], Listing(unreadable=("b",)), ALL[2], True),
    ],
    ids=["bound", "no set", "no binding", "other set", "no cluster", "odd cluster", "odd set", "odd binding"],
)
async def test_who_may_use_a_cluster_is_read_anew_and_what_cannot_be_told_takes_nothing_away(
    sets: Listing, bindings: Listing, clusters: Listing, *, may: bool
) -> None:
    assert await _hub(sets, bindings, clusters).may_use("team", "c1") is may


async def test_an_identity_that_is_not_there_is_not_there() -> None:
    assert not await _hub(*ALL).has(Key("c1/robot"))
