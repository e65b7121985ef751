"""When something may be deleted because what it belongs to is missing."""

import pytest

from msa.policy.removal import Absence, Confirm, Hold, Removal, Wait, removal


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
    ],
)
def test_an_inferred_deletion_waits_and_many_at_once_are_held(absence: Absence, wanted: Removal) -> None:
    assert removal(absence) == wanted
