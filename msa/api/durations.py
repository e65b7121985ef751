"""Go durations and RFC 3339 times, as the API carries them."""

import re
from datetime import UTC, datetime, timedelta

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9800, 1, 1, tzinfo=UTC)
"""To which every duration of the API (at most 2^32 s, 136 years) can be added."""

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST = 64


def parse(text: str) -> timedelta:
    """A duration in the syntax of Go's time.ParseDuration, `8640h0m0s`.

    Raises:
        ValueError: it is none; the message quotes it.
    """
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return timedelta()
    seconds, end = 0.0, 0
    for part in _PART.finditer(rest[:_LONGEST]):
        if part.start() != end:
            break
        seconds += float(part[1]) * _UNITS[part[2]]
        end = part.end()
    if end == 0 or end != len(rest):
        raise ValueError(f"{text[:_LONGEST]!r} is no duration like 24h or 8640h0m0s")
    try:
        return timedelta(seconds=sign * seconds)
    except OverflowError:
        raise ValueError(f"{text!r} is too long for a duration") from None


def render(duration: timedelta) -> str:
    """As Go prints it, in whole seconds: `24h0m0s`, `10m0s`, `0s`."""
    total = round(duration.total_seconds())
    sign, total = ("-", -total) if total < 0 else ("", total)
    hours, rest = divmod(total, 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}s"
    return f"{sign}{minutes}m{seconds}s" if minutes else f"{sign}{seconds}s"


def clamped(moment: datetime) -> datetime:
    """The time in UTC, and between `EARLIEST` and `LATEST`; without a zone it counts as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if EARLIEST <= moment <= LATEST:
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return EARLIEST if moment < EARLIEST else LATEST


def rfc3339(moment: datetime) -> str:
    """metav1.Time: whole seconds, UTC, Z."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"


def parse_rfc3339(text: str) -> datetime | None:
    """The time that `text` says, in UTC and whole seconds as metav1.Time has it; None where it says none within the bounds."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    known = moment.tzinfo is not None and EARLIEST <= moment <= LATEST
    return moment.astimezone(UTC).replace(microsecond=0) if known else None
