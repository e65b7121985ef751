"""How far an API server's clock is from ours, read off the Date headers of its answers."""

from collections import deque
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from statistics import median

_SAMPLES = 9
_SPACING = 1.0
SKEW_ERROR_SECONDS = 0.5
"""A Date header has whole seconds, cut off: it is behind by this on average, and wrong by as much either way."""


class ClockSkew:
    """The median of the last few answers, at most one a second taken."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=_SAMPLES)
        self._last = float("-inf")

    def answered(self, date: str | None, sent: float, received: float) -> None:
        """Takes an answer's Date header.

        Args:
            date: the header, None where there was none.
            sent: wall seconds when the request went out.
            received: wall seconds when the answer came.
        """
        if date is None or 0.0 <= received - self._last < _SPACING:
            return
        try:
            theirs = parsedate_to_datetime(date).replace(tzinfo=UTC).timestamp()
        except ValueError:
            return
        self._last = received
        self._samples.append(theirs + SKEW_ERROR_SECONDS - (sent + received) / 2)

    @property
    def seconds(self) -> float | None:
        """Server minus ours; None before any answer."""
        return median(self._samples) if self._samples else None


def wall_clock() -> datetime:
    """Now, UTC."""
    return datetime.now(UTC)
