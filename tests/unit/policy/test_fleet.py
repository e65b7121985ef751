"""What the policy does to whole fleets, over a year and over the minute after a storm: a discrete simulation, no waiting."""

import heapq
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise

from msa.api.token import Claims
from msa.policy.rotation import Reason, refresh_time, violation
from tests.support.builders import START, claims, credential, snapshot

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def rotations(uids: dict[str, datetime], life: timedelta, until: datetime) -> dict[str, list[datetime]]:
    """When each identity gets a token, the first one included; each new one is issued the moment the policy wants it."""
    issued = {uid: [first] for uid, first in uids.items()}
    due = [(refresh_time(_token(first, life), uid), uid) for uid, first in uids.items()]
    heapq.heapify(due)
    while due and due[0][0] < until:
        now, uid = heapq.heappop(due)
        issued[uid].append(now)
        heapq.heappush(due, (refresh_time(_token(now, life), uid), uid))
    return issued


def _token(issued: datetime, life: timedelta) -> Claims:
    return claims(issued_at=issued, expires_at=issued + life)


def test_in_a_year_of_200_identities_with_tokens_of_a_day_there_is_never_a_moment_without_a_valid_one() -> (
    None
):
    fleet = {f"uid-{number}": START for number in range(200)}
    issued = rotations(fleet, DAY, START + 365 * DAY)
    total = sum(len(moments) - 1 for moments in issued.values())
    assert 85_000 < total < 110_000
    for moments in issued.values():
        assert all(after - before < DAY for before, after in pairwise(moments))


def test_a_rotation_happens_when_the_whole_chain_says_so() -> None:
    """The simulation above asks `refresh_time` alone; the chain of checks gives the same moment."""
    due = refresh_time(claims(), "msa-uid")
    assert violation(snapshot(credential()), due - timedelta(seconds=1)) is None
    found = violation(snapshot(credential()), due)
    assert found is not None
    assert found.reason is Reason.DUE


def test_ten_thousand_identities_made_in_a_minute_are_renewed_spread_out_for_a_week() -> None:
    assert _worst(rotations(_storm(), DAY, START + 7 * DAY)) <= 2.0


def test_a_restart_of_the_agent_in_the_worst_minute_makes_no_herd() -> None:
    """What falls due in the 20 s while it is down comes when it is back; from then on each goes its own way again."""
    first = rotations(_storm(), DAY, START + DAY)
    worst, _ = Counter(_minute(moments[1]) for moments in first.values() if len(moments) > 1).most_common(1)[
        0
    ]
    down = START + worst * MINUTE
    back = down + MINUTE / 3
    resumed = {uid: _resume(moments, down, back) for uid, moments in first.items()}
    later = rotations(resumed, DAY, START + 7 * DAY)
    for uid, moments in later.items():
        moments[:0] = [moment for moment in first[uid] if moment < min(down, moments[0])]
    assert _worst(later) <= 2.0


def _storm() -> dict[str, datetime]:
    return {f"uid-{number}": START + number * MINUTE / 10_000 for number in range(10_000)}


def _resume(moments: list[datetime], down: datetime, back: datetime) -> datetime:
    """The last token before the agent went down, or the one it issues on its return."""
    return (
        back
        if any(down <= moment < back for moment in moments)
        else max(moment for moment in moments if moment < down)
    )


def _minute(moment: datetime) -> int:
    return int((moment - START) / MINUTE)


def _worst(issued: dict[str, list[datetime]]) -> float:
    """The busiest minute against the mean minute of the window that its round is spread over, the worst of all rounds.

    The first token of each identity is left out: when users ask is not ours to spread. So is a last round that is not complete.
    """
    rounds = zip(*(moments[1:] for moments in issued.values()), strict=False)
    return max(_peak([_minute(moment) for moment in round_]) for round_ in rounds)


def _peak(minutes: list[int]) -> float:
    window = max(minutes) - min(minutes) + 1
    return max(Counter(minutes).values()) / (len(minutes) / window)


def test_the_measure_of_a_herd_sees_one() -> None:
    spread = {f"uid-{number}": [START, START + DAY + number * MINUTE] for number in range(144)}
    herd = {**spread, **{f"uid-{number}": [START, START + DAY + 49 * MINUTE] for number in range(1, 4)}}
    assert _worst(spread) == 1.0
    assert _worst(herd) > 2.0


def test_a_week_of_tokens_of_a_day_has_nine_complete_rounds_to_measure() -> None:
    fleet = {f"uid-{number}": START for number in range(10)}
    assert min(len(moments) for moments in rotations(fleet, DAY, START + 7 * DAY).values()) >= 9
