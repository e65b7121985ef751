"""Which clusters a namespace reaches."""

import pytest
from msgspec.structs import replace

from msa.api.cluster import ClusterSpec
from msa.api.clusterset import (
    ClusterSelector,
    ClusterSetSpec,
    LabelSelector,
    ManagedClusterSet,
    Requirement,
)
from msa.api.meta import ObjectMeta
from msa.policy.reach import bound_sets, members, picked, selects
from tests.conftest import START
from tests.support.fanout_hub import binding, cluster, cluster_set, decision
from tests.support.fleet import with_

LABELS = {"env": "prod", "zone": "a"}


def _global(**selector: object) -> ManagedClusterSet:
    selected = ClusterSelector("LabelSelector", LabelSelector(**selector))  # type: ignore[arg-type]  # a table's cells
    return ManagedClusterSet(ObjectMeta(name="global"), ClusterSetSpec(selected))


@pytest.mark.parametrize(
    ("requirement", "holds"),
    [
        (Requirement("env", "In", ("prod", "test")), True),
        (Requirement("env", "In", ("test",)), False),
        (Requirement("none", "In", ("prod",)), False),
        (Requirement("env", "NotIn", ("test",)), True),
        (Requirement("env", "NotIn", ("prod",)), False),
        (Requirement("none", "NotIn", ("prod",)), True),
        (Requirement("env", "Exists"), True),
        (Requirement("none", "Exists"), False),
        (Requirement("none", "DoesNotExist"), True),
        (Requirement("env", "DoesNotExist"), False),
        (Requirement("env", "Gt", ("1",)), False),
    ],
    ids=str,
)
def test_a_label_selector_selects_as_the_api_says(requirement: Requirement, *, holds: bool) -> None:
    assert selects(LabelSelector(match_expressions=(requirement,)), LABELS) is holds


def test_all_of_a_label_selector_must_hold() -> None:
    in_a = Requirement("zone", "In", ("a",))
    assert selects(LabelSelector({"env": "prod"}, (in_a,)), LABELS)
    assert not selects(LabelSelector({"env": "test"}, (in_a,)), LABELS)
    assert not selects(LabelSelector({"env": "prod", "more": "x"}, (in_a,)), LABELS)


def test_an_empty_label_selector_selects_every_cluster() -> None:
    assert members([_global()], [cluster("c1"), cluster("c2", "other")]) == {"c1", "c2"}


def test_a_set_has_the_clusters_that_name_it_and_no_other() -> None:
    assert members([cluster_set("edge")], [cluster("c1"), cluster("c2", "edge-2")]) == {"c1"}


def test_several_sets_have_the_clusters_of_each() -> None:
    sets = [cluster_set("edge"), _global(match_labels={"env": "prod"})]
    found = members(sets, [cluster("c1"), cluster("c2", "x", env="prod"), cluster("c3", "x")])
    assert found == {"c1", "c2"}


def test_clusters_that_are_not_accepted_or_on_their_way_out_are_no_members() -> None:
    leaving = with_(cluster("c2"), deletion_timestamp=START)
    unaccepted = replace(cluster("c3"), spec=ClusterSpec(hub_accepts_client=False))
    assert members([cluster_set()], [cluster("c1"), leaving, unaccepted]) == {"c1"}


def test_a_binding_counts_only_while_it_and_its_set_are_there() -> None:
    sets = {"edge": cluster_set("edge"), "going": with_(cluster_set("going"), deletion_timestamp=START)}
    bindings = [
        binding("edge"),
        binding("going"),
        binding("absent"),
        with_(binding("edge"), deletion_timestamp=START),
    ]
    assert bound_sets(bindings[:1], sets.get) == (sets["edge"],)
    assert bound_sets(bindings[1:], sets.get) == ()


def test_a_binding_that_is_not_named_like_its_set_binds_nothing() -> None:
    assert bound_sets([binding("edge", name="other")], {"edge": cluster_set()}.get) == ()


def test_all_decisions_of_a_placement_count() -> None:
    decisions = [decision("p", "c1", "c2"), decision("p", "c3", name="d2")]
    assert picked(decisions) == {"c1", "c2", "c3"}
