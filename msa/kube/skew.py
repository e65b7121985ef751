"""How far an API server's clock is from ours, read off the Date headers of its answers."""

from collections import deque
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from statistics import median

_SAMPLES = 9
_SPACING = 1.0
_CUT_OFF_SECONDS = 0.5
"""A Date header has whole seconds, cut off: it is behind by this on average."""


class ClockSkew:
    """What the last few answers say, at most one a second taken."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=_SAMPLES)
        self._bounds: deque[float] = deque(maxlen=_SAMPLES)
        self._last = float("-inf")

    def answered(self, date: str | None, sent: float, received: float, monotonic: float) -> None:
        """Takes an answer's Date header.

        Args:
            date: the header, None where there was none.
            sent: wall seconds when the request went out.
            received: wall seconds when the answer came.
            monotonic: the same moment on the monotonic clock, which nobody sets.
        """
        if date is None or 0.0 <= received - self._last < _SPACING:
            return
        try:
            theirs = parsedate_to_datetime(date).replace(tzinfo=UTC).timestamp()
        except ValueError:
            return
        self._last = received
        self._samples.append(theirs + _CUT_OFF_SECONDS - (sent + received) / 2)
        self._bounds.append(theirs - monotonic)

    @property
    def seconds(self) -> float | None:
        """Server minus ours, as well as is known; None before any answer."""
        return median(self._samples) if self._samples else None

    def at_least(self, monotonic: float) -> float:
        """What the server's clock shows at that moment, in seconds of the epoch, surely not too much; 0 before any answer.

        When a Date came here, it had been so late there already.
        """
        return max(self._bounds) + monotonic if self._bounds else 0.0


def wall_clock() -> datetime:
    """Now, UTC."""
    return datetime.now(UTC)


def dated(moment: datetime) -> str:
    """As the API writes times: whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
