"""What the demo takes for left behind."""

from hack.demo_inventory import left_behind, staying

BEFORE = frozenset(("v1 Namespace /default",))
EXCUSES = {r"v1 Namespace /cluster1": "the hub keeps a cluster's namespace"}


def test_what_was_there_before_is_not_left_behind_nor_is_what_went() -> None:
    assert left_behind(BEFORE, BEFORE, {}) == left_behind(BEFORE, frozenset(), {}) == []


def test_what_came_and_did_not_go_is_left_behind() -> None:
    assert left_behind(BEFORE, BEFORE | {"v1 Secret a/b", "v1 ConfigMap a/b"}, EXCUSES) == [
        "v1 ConfigMap a/b",
        "v1 Secret a/b",
    ]


def test_what_stays_on_purpose_is_told_with_its_reason_and_excuses_no_other() -> None:
    after = BEFORE | {"v1 Namespace /cluster1", "v1 Namespace /cluster10"}
    assert left_behind(BEFORE, after, EXCUSES) == ["v1 Namespace /cluster10"]
    assert staying(BEFORE, after, EXCUSES) == {
        "the hub keeps a cluster's namespace": ["v1 Namespace /cluster1"]
    }
