"""Who writes Ready: the agent's rule and the manager's, each alone and against each other."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from msa.api import conditions
from msa.api.conditions import find
from msa.api.managedserviceaccount import ManagedServiceAccount, Status
from msa.api.meta import Condition
from msa.policy import status
from msa.policy.readiness import MANAGER_REASONS, READY, TOKEN_REPORTED, fresh, manager_ready
from msa.policy.status import Holding, Trouble
from tests.support.builders import HOUR, START, account, claims, credential, identity

REMOVED = Trouble("AddonRemoved", "the addon is being removed")
DOWN = Trouble("ManagedClusterUnreachable", "unreachable")
OLD, NEW = credential(), credential(claims(issued_at=START + HOUR, expires_at=START + 25 * HOUR))
AWAY = Condition(READY, "Unknown", "AgentUnavailable", "the agent is not available")
EXPIRED = Condition(READY, "False", "TokenExpired", "the token expired")
GONE = Condition(READY, "False", "AddonRemoved", "the addon is being removed by its deletion")
JUDGEMENTS = (None, AWAY, EXPIRED, GONE)


def _stored(found: Status) -> ManagedServiceAccount:
    return replace(identity(), status=found)


def _agent(found: Status, held: Holding, trouble: Trouble | None) -> Status:
    return status.wanted(_stored(found), held, None, trouble, START)


def _manager(found: Status, judgement: Condition | None) -> Status:
    ready = manager_ready(found, judgement)
    return replace(found, conditions=conditions.merge(found.conditions, [ready], START)) if ready else found


def _ready(found: Status) -> Condition:
    ready = find(found.conditions, READY)
    assert ready is not None
    return ready


HOLDINGS = st.sampled_from(
    [Holding(account(), OLD), Holding(account(), NEW), Holding(account(), None), Holding(None, None)]
)
TROUBLES = st.sampled_from([None, DOWN, REMOVED])
STEPS = st.lists(st.tuples(HOLDINGS, TROUBLES, st.sampled_from(JUDGEMENTS)), min_size=1, max_size=8)


@given(world=STEPS, agent_first=st.booleans())
def test_the_agent_and_the_manager_never_alternate(
    world: list[tuple[Holding, Trouble | None, Condition | None]], *, agent_first: bool
) -> None:
    """Whatever happened before, once nothing changes any more each of them writes at most twice."""
    found = Status()
    for held, trouble, judgement in world:
        for turn in range(6):
            before = found
            found = (
                _agent(found, held, trouble) if (turn % 2 == 0) is agent_first else _manager(found, judgement)
            )
            if turn >= 4:
                assert found == before, f"still writing in turn {turn}"


@given(STEPS)
def test_ready_is_true_only_while_both_find_it_so(
    world: list[tuple[Holding, Trouble | None, Condition | None]],
) -> None:
    found = Status()
    for held, trouble, judgement in world:
        for _ in range(3):
            found = _manager(_agent(found, held, trouble), judgement)
        assert (_ready(found).status == "True") is (trouble is None and judgement is None)


@pytest.mark.parametrize("judgement", [AWAY, EXPIRED, GONE])
def test_what_the_manager_wrote_into_ready_stays_and_the_rest_is_the_agents(judgement: Condition) -> None:
    first = _manager(_agent(Status(), Holding(account(), OLD), None), judgement)
    second = _agent(first, Holding(account(), OLD), DOWN)
    assert _ready(second).reason == judgement.reason
    reported = find(second.conditions, TOKEN_REPORTED)
    assert reported is not None
    assert (reported.status, reported.reason) == ("False", DOWN.reason)


@pytest.mark.parametrize("trouble", [None, DOWN])
@pytest.mark.parametrize("judgement", [AWAY, EXPIRED, GONE])
def test_the_manager_hands_ready_back_as_the_agent_would_write_it(
    judgement: Condition, trouble: Trouble | None
) -> None:
    """So the hand-over costs one write."""
    own = _agent(Status(), Holding(account(), OLD), trouble)
    back = _manager(_agent(_manager(own, judgement), Holding(account(), OLD), trouble), None)
    assert _ready(back) == _ready(own)
    assert _agent(back, Holding(account(), OLD), trouble) == back


def test_a_new_token_ends_token_expired_without_the_manager() -> None:
    expired = _manager(_agent(Status(), Holding(account(), OLD), None), EXPIRED)
    assert _ready(_agent(expired, Holding(account(), NEW), None)).status == "True"


def test_an_addon_removed_that_the_agent_reported_ends_without_the_manager() -> None:
    removed = _agent(Status(), Holding(account(), OLD), REMOVED)
    assert _ready(_agent(removed, Holding(account(), OLD), None)).status == "True"


def test_an_unavailable_agent_does_not_hide_why_the_agent_failed() -> None:
    failed = _agent(Status(), Holding(account(), OLD), DOWN)
    assert _ready(_manager(failed, AWAY)).reason == DOWN.reason


def test_an_identity_that_no_agent_reported_on_is_unknown() -> None:
    assert _ready(_manager(Status(), AWAY)).status == "Unknown"
    assert _manager(Status((AWAY,)), None) == Status((AWAY,)), "nothing to hand back yet"


def test_the_manager_writes_once_per_judgement() -> None:
    for judgement in MANAGER_REASONS:
        first = _manager(Status(), Condition(READY, "False", judgement, "why"))
        assert manager_ready(first, Condition(READY, "False", judgement, "why")) is None


@pytest.mark.parametrize(
    ("renewal", "message"),
    [
        (timedelta(days=100), "valid until 2026-12-27T00:00:00Z; next rotation about 2026-04-11"),
        (timedelta(days=359), "valid until 2026-12-27T00:00:00Z; next rotation about 2026-12-26T00:00Z"),
        (None, "valid until 2026-12-27T00:00:00Z"),
    ],
)
def test_a_true_ready_says_how_long_the_token_is_valid(renewal: timedelta | None, message: str) -> None:
    planned = START + renewal if renewal is not None else None
    found = Status(
        expiration_timestamp=START + timedelta(days=360),
        next_refresh_timestamp=planned,
        observed_generation=1,
    )
    assert fresh(found).message == message
