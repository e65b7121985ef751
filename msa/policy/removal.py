"""May something be deleted because what it belongs to is missing: decided from how long, and with how many others, it is missing. Pure.

A deletion that was seen is acted on at once and does not come here. One that is only inferred, since an object is not in a list any
more, may be the work of a server that was restored empty, or that is another one: it waits, is checked once more, and where most
objects are missing all of them are held. What was deleted like that in the last 15 minutes counts as missing too: many small losses
are a large one.
"""

from datetime import datetime, timedelta
from typing import Final, TypeAlias

from attrs import frozen

WAIT_SECONDS: Final = 60.0
"""How long an object must have been missing before anything is deleted for that."""

HOLD_SECONDS: Final = 900.0
"""The same, where most objects are missing."""

_FEWEST: Final = 5
_SKEW: Final = timedelta(minutes=1)


@frozen
class Absence:
    """One object that is missing though nobody saw its deletion.

    Attributes:
        seconds: for how long.
        missing: how many are missing like that, this one included.
        total: how many there are, the missing ones included.
        released: a person said that the deletions are meant.
        deleted: how many more were deleted in the last `HOLD_SECONDS` because they were missing like that; of them nothing is in
            the other two numbers. Those that a person released are not among them.
        replaced: the server was replaced or restored since we know it. It may have nothing of what there was, and says so however often
            it is asked: then even a single deletion is held.
    """

    seconds: float
    missing: int
    total: int
    released: bool = False
    deleted: int = 0
    replaced: bool = False

    @property
    def is_mass(self) -> bool:
        return is_mass(self.missing + self.deleted, self.total + self.deleted)

    @property
    def is_suspicious(self) -> bool:
        """Whether it waits for long, unless a person says that it is meant."""
        return (self.is_mass or self.replaced) and not self.released


@frozen
class Wait:
    """Nothing is deleted yet."""

    seconds: float


@frozen
class Hold:
    """Nothing is deleted for so long, unless a person says so: too many are missing at once."""

    seconds: float


@frozen
class Confirm:
    """It may be deleted if the server, asked once more, has no such object."""


Removal: TypeAlias = Wait | Hold | Confirm


def removal(absence: Absence) -> Removal:
    """What is to be done about something whose owner is missing."""
    if absence.seconds < WAIT_SECONDS:
        return Wait(WAIT_SECONDS - absence.seconds)
    if absence.is_suspicious and absence.seconds < HOLD_SECONDS:
        return Hold(HOLD_SECONDS - absence.seconds)
    return Confirm()


def is_mass(missing: int, total: int) -> bool:
    """More than half, and at least five."""
    return missing >= _FEWEST and 2 * missing > total


def can_release(said: datetime, now: datetime) -> bool:
    """Whether a person's word of that time counts: a time to come would release what has not happened yet, for good."""
    return said <= now + _SKEW


def is_released(said: datetime | None, now: datetime, gone_for: float) -> bool:
    """Whether a person said so since the last of them is missing.

    Args:
        said: when; None for never.
        now: by the clock that a person goes by.
        gone_for: seconds since the last of them is missing.
    """
    if said is None or not can_release(said, now):
        return False
    return (now - said).total_seconds() <= gone_for + 1.0
