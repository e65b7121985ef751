"""How often others may cause work: a noisy cluster waits for itself alone."""

from collections import OrderedDict

from attrs import define, field

_REMEMBERED = 4096


@define
class Allowance:
    """For each who causes work, `burst` times at once and then `rate` times a second.

    Attributes:
        longest: seconds that anybody waits at most.
        _free_at: when all that was caused is paid for, in monotonic seconds; from the one that was quiet for longest on.
    """

    burst: int
    rate: float
    longest: float
    _free_at: OrderedDict[str, float] = field(factory=OrderedDict, init=False)

    def wait(self, who: str, now: float) -> float:
        """Counts one, and says how many seconds it waits, 0 for none.

        Args:
            who: by whom it was caused.
            now: monotonic seconds.
        """
        free_at = min(max(self._free_at.get(who, now), now) + 1 / self.rate, now + self._debt)
        self._free_at[who] = free_at
        self._free_at.move_to_end(who)
        if len(self._free_at) > _REMEMBERED:
            self._free_at.popitem(last=False)
        return max(0.0, free_at - now - self.burst / self.rate)

    @property
    def _debt(self) -> float:
        return self.burst / self.rate + self.longest


def of_identities() -> Allowance:
    """For all identities of a cluster together, of which it may have thousands: what a few hundred need at once is free."""
    return Allowance(burst=500, rate=50.0, longest=60.0)


def of_clusters() -> Allowance:
    """A cluster that joins causes some ten changes; whatever one writes, it is looked at twice a second."""
    return Allowance(burst=20, rate=2.0, longest=0.5)
