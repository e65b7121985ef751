"""When something may be deleted because what it belongs to is missing."""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msa.policy.removal import HOLD_SECONDS, Absence, Confirm, Hold, Removal, Wait, removal
from msa.runtime.absences import Recent


@pytest.mark.parametrize(
    ("absence", "wanted"),
    [
        (Absence(0, 1, 10), Wait(60)),
        (Absence(59, 1, 10), Wait(1)),
        (Absence(60, 1, 10), Confirm()),
        (Absence(60, 4, 4), Confirm()),
        (Absence(60, 5, 10), Confirm()),
        (Absence(60, 5, 9), Hold(840)),
        (Absence(60, 50, 50), Hold(840)),
        (Absence(899, 50, 50), Hold(1)),
        (Absence(900, 50, 50), Confirm()),
        (Absence(60, 50, 50, released=True), Confirm()),
        (Absence(0, 50, 50, released=True), Wait(60)),
        (Absence(60, 1, 7, deleted=3), Confirm()),
        (Absence(59, 1, 9, replaced=True), Wait(1)),
        (Absence(60, 1, 9, replaced=True), Hold(840)),
        (Absence(900, 1, 9, replaced=True), Confirm()),
        (Absence(60, 1, 9, replaced=True, released=True), Confirm()),
        (Absence(60, 1, 6, deleted=4), Confirm()),
        (Absence(60, 1, 4, deleted=4), Hold(840)),
        (Absence(60, 1, 5, deleted=4), Hold(840)),
        (Absence(60, 1, 4, deleted=4, released=True), Confirm()),
    ],
)
def test_an_inferred_deletion_waits_and_many_at_once_are_held(absence: Absence, wanted: Removal) -> None:
    assert removal(absence) == wanted


def _deleted(lost_at: Sequence[float], total: int) -> list[float]:
    """When objects are deleted that nobody held, of which these go missing at these times, each looked at as it asks for."""
    since, recent, unheld = dict(enumerate(lost_at)), Recent[int](HOLD_SECONDS), list[float]()
    looks = [(at, item) for item, at in since.items()]
    heapify(looks)
    gone: set[int] = set()
    while looks:
        now, item = heappop(looks)
        missing = sum(at <= now and other not in gone for other, at in since.items())
        absence = Absence(now - since[item], missing, total - len(gone), deleted=len(recent.items(now)))
        match removal(absence):
            case Wait(seconds=seconds) | Hold(seconds=seconds):
                heappush(looks, (now + seconds, item))
            case Confirm():
                gone.add(item)
                recent.add(item, now)
                unheld += [now] * (absence.seconds < HOLD_SECONDS)
    return unheld


@given(
    st.integers(1, 30).flatmap(
        lambda total: st.tuples(st.just(total), st.lists(st.integers(0, 4000), max_size=total))
    )
)
def test_no_order_of_losses_deletes_more_than_half_and_four_within_the_time_of_a_hold_without_one(
    case: tuple[int, list[int]],
) -> None:
    total, lost_at = case
    unheld = _deleted([float(at) for at in lost_at], total)
    for at in unheld:
        before = total - sum(earlier < at for earlier in unheld)
        within = sum(at <= later <= at + HOLD_SECONDS for later in unheld)
        assert within < 5 or 2 * within <= before


def test_losses_of_four_at_a_time_are_held_from_where_they_are_most() -> None:
    lost_at = [100.0 * (number // 4) for number in range(20)]
    assert len(_deleted(lost_at, 20)) == 8, "with the next four there would be more than half"
