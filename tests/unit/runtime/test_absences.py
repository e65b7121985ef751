"""What is missing, and how that is known."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from msa.api.meta import ObjectMeta
from msa.runtime.absences import Absences, Recent
from msa.runtime.result import Key
from msa.runtime.store import Change, Store, StoreWriter

ONE = Key("one")


class Thing(Struct, frozen=True):
    metadata: ObjectMeta


def _thing(version: str = "1") -> Thing:
    return Thing(ObjectMeta(name="one", uid="u", resource_version=version))


def _told(changes: Sequence[Change[Any] | None]) -> Absences:
    absences = Absences()
    for change in changes:
        assert change is not None
        absences.changed(ONE, change)
    return absences


def _stored() -> StoreWriter[Thing]:
    writer: StoreWriter[Thing] = StoreWriter(Store())
    writer.put(_thing())
    return writer


def test_a_deletion_that_the_watch_told_of_was_seen() -> None:
    assert _told([_stored().remove(_thing("2"))]).seen(ONE) == "u"


def test_what_is_not_in_a_full_list_or_cannot_be_read_any_more_was_not_seen_deleted() -> None:
    assert _told(_stored().replace([], "5")).seen(ONE) is None
    assert _told([_stored().drop(ONE)]).seen(ONE) is None


def test_an_absence_begins_when_it_is_first_noticed_and_ends_when_the_object_is_back() -> None:
    absences = Absences()
    assert [absences.since(ONE, now) for now in (3.0, 5.0)] == [3.0, 3.0]
    assert absences.inferred == 1
    absences.changed(ONE, Change(ONE, None, _thing()))
    assert [absences.since(ONE, now) for now in (9.0, 9.5)] == [9.0, 9.0]


def test_what_happened_lately_is_forgotten_in_time() -> None:
    recent: Recent[str] = Recent(900.0)
    recent.add("a", 0.0)
    recent.add("b", 500.0)
    assert set(recent.items(900.0)) == {"a", "b"}
    assert set(recent.items(901.0)) == {"b"}
    recent.add("b", 1000.0)
    assert set(recent.items(1900.0)) == {"b"}
    assert not recent.items(1901.0)
