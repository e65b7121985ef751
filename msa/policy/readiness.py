"""Who writes `Ready`: the agent, and the manager where the agent cannot judge. Pure rules that both follow, so that no two writers alternate.

While the stored Ready carries one of `MANAGER_REASONS`, the manager owns it; otherwise the agent does (docs/operations.md, "Who writes Ready").
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from msa.api.conditions import find
from msa.api.durations import rfc3339
from msa.api.managedserviceaccount import Status
from msa.api.meta import Condition

READY: Final = "Ready"
TOKEN_REPORTED: Final = "TokenReported"  # noqa: S105 - the name of a condition
TOKEN_FRESH: Final = "TokenFresh"  # noqa: S105 - a reason, no password

AGENT_UNAVAILABLE: Final = "AgentUnavailable"
TOKEN_EXPIRED: Final = "TokenExpired"  # noqa: S105 - a reason, no password
ADDON_REMOVED: Final = "AddonRemoved"
MANAGER_REASONS: Final = (AGENT_UNAVAILABLE, TOKEN_EXPIRED, ADDON_REMOVED)

_ENDS: Final = frozenset((TOKEN_EXPIRED, ADDON_REMOVED))
"""While the agent is only unavailable, the token may live."""

_DAYS: Final = timedelta(days=2)


def ended(stored: Iterable[Condition]) -> Condition | None:
    """The condition Ready where it says that the token can be used no more; None where it may be."""
    ready = find(stored, READY)
    return ready if ready is not None and ready.status != "True" and ready.reason in _ENDS else None


def fresh(status: Status) -> Condition:
    """Ready of a status that reports a good token."""
    return Condition(READY, "True", TOKEN_FRESH, _validity(status), None, status.observed_generation)


def leaves_ready(stored: Status, wanted: Status) -> bool:
    """Whether the agent leaves Ready as the manager wrote it.

    The agent takes Ready back itself only in the write that ends what the manager judged: with a new token after `TokenExpired`, and after
    an `AddonRemoved` that the agent reported itself. It writes its own `AddonRemoved` over everything.

    Args:
        stored: what the hub has.
        wanted: what the agent would store if it were the only writer.
    """
    ready, own = find(stored.conditions, READY), find(wanted.conditions, READY)
    if ready is None or ready.reason not in MANAGER_REASONS:
        return False
    if own is not None and own.reason == ADDON_REMOVED:
        return ready.reason == ADDON_REMOVED
    if ready.reason == TOKEN_EXPIRED:
        return not _has_newer_token(stored, wanted)
    return ready.reason == AGENT_UNAVAILABLE or not _reports_removal(stored)


def manager_ready(stored: Status, judgement: Condition | None) -> Condition | None:
    """The Ready that the manager stores; None where it writes nothing.

    Args:
        stored: what the hub has.
        judgement: Ready with one of `MANAGER_REASONS`, the worst that holds; None where the manager finds nothing wrong.
    """
    ready = find(stored.conditions, READY)
    owned = ready is not None and ready.reason in MANAGER_REASONS
    if judgement is None or (owned and judgement.reason != ADDON_REMOVED and _reports_removal(stored)):
        found = _handed_back(stored) if owned else None
    elif (
        judgement.reason == AGENT_UNAVAILABLE and not owned and ready is not None and ready.status == "False"
    ):
        found = None  # the agent's last word is the worse news
    else:
        found = judgement
    return None if found is None or _says_the_same(ready, found) else found


def _handed_back(stored: Status) -> Condition | None:
    """Ready by TokenReported; None where the agent has not reported yet."""
    reported = find(stored.conditions, TOKEN_REPORTED)
    if reported is None:
        return None
    return fresh(stored) if reported.status == "True" else replace(reported, type=READY)


def _reports_removal(stored: Status) -> bool:
    """Whether the agent itself said that the addon is being removed, which it goes on writing."""
    reported = find(stored.conditions, TOKEN_REPORTED)
    return reported is not None and reported.reason == ADDON_REMOVED


def _has_newer_token(stored: Status, wanted: Status) -> bool:
    before, after = stored.expiration_timestamp, wanted.expiration_timestamp
    return after is not None and (before is None or after > before)


def _says_the_same(stored: Condition | None, found: Condition) -> bool:
    return stored is not None and (stored.status, stored.reason, stored.message) == (
        found.status,
        found.reason,
        found.message,
    )


def _validity(status: Status) -> str:
    expires, renewal = status.expiration_timestamp, status.next_refresh_timestamp
    if expires is None:
        return ""
    if renewal is None:
        return f"valid until {rfc3339(expires)}"
    return f"valid until {rfc3339(expires)}; next rotation about {_about(renewal, expires)}"


def _about(renewal: datetime, expires: datetime) -> str:
    """The day; the minute where the token is renewed within days of its expiry."""
    text = rfc3339(renewal)
    return text[:10] if expires - renewal > _DAYS else f"{text[:16]}Z"
