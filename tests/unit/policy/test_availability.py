"""What `Ready` must say where the agent cannot: a table of what the hub knows."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from msgspec.structs import replace

from msa.api.addon import AddonStatus, ManagedClusterAddOn
from msa.api.managedserviceaccount import Status, TokenSecretRef
from msa.api.meta import Condition, ObjectMeta
from msa.policy.availability import Agent, agent_of, judgement, seconds_to_expiry, seconds_to_replacement

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
SINCE = NOW - HOUR
GOOD = Status(
    (Condition("Ready", "True", "TokenFresh"), Condition("TokenReported", "True", "TokenReported")),
    observed_generation=3,
    expiration_timestamp=NOW + timedelta(hours=5),
)
FAILING = replace(
    GOOD, conditions=tuple(Condition(kind, "False", "HubBusy") for kind in ("Ready", "TokenReported"))
)
WORKS = Agent("c1", installed=True, available=True, since=SINCE)
SILENT = Agent("c1", installed=True, available=False, since=SINCE)
GONE = Agent("c1", installed=False)


def _expired(status: Status) -> Status:
    return replace(status, expiration_timestamp=NOW)


@pytest.mark.parametrize(
    ("status", "agent", "told"),
    [
        pytest.param(GOOD, WORKS, None, id="all is well"),
        pytest.param(GOOD, SILENT, ("Unknown", "AgentUnavailable"), id="the agent is silent"),
        pytest.param(
            GOOD, Agent("c1", installed=True), ("Unknown", "AgentUnavailable"), id="OCM has said nothing yet"
        ),
        pytest.param(GOOD, GONE, ("False", "AddonRemoved"), id="the addon is gone"),
        pytest.param(
            _expired(GOOD), WORKS, ("False", "TokenExpired"), id="expired under an agent that says True"
        ),
        pytest.param(
            _expired(GOOD), SILENT, ("False", "TokenExpired"), id="expired while the agent is silent"
        ),
        pytest.param(_expired(FAILING), WORKS, None, id="expired, and the agent says why"),
        pytest.param(
            _expired(FAILING), SILENT, ("False", "TokenExpired"), id="expired, and the agent said why once"
        ),
        pytest.param(_expired(GOOD), GONE, ("False", "AddonRemoved"), id="gone is worse than expired"),
        pytest.param(Status(), GONE, None, id="no agent has ever answered"),
    ],
)
def test_the_worst_that_the_hub_knows_is_told(
    status: Status, agent: Agent, told: tuple[str, str] | None
) -> None:
    found = judgement(status, agent, NOW)
    assert (found and (found.status, found.reason)) == told


def test_messages_name_the_cluster_the_time_and_the_command() -> None:
    silent, expired = judgement(GOOD, SILENT, NOW), judgement(_expired(GOOD), SILENT, NOW)
    assert silent is not None
    assert expired is not None
    assert "agent of cluster c1 is not available since 2026-01-01T23:00:00Z" in silent.message
    assert "expired at 2026-01-02T00:00:00Z" in expired.message
    for told in (silent, expired):
        assert "kubectl describe managedclusteraddon -n c1 managed-serviceaccount" in told.message
        assert told.observed_generation == 3


@pytest.mark.parametrize(("said", "available"), [("True", True), ("False", False), ("Unknown", False)])
def test_only_a_true_available_counts(said: str, available: bool) -> None:
    status = AddonStatus(conditions=(Condition("Available", said, last_transition_time=SINCE),))
    assert agent_of("c1", ManagedClusterAddOn(ObjectMeta(), status=status)) == Agent(
        "c1", installed=True, available=available, since=SINCE
    )


def test_an_addon_on_its_way_out_counts_as_gone() -> None:
    assert agent_of("c1", ManagedClusterAddOn(ObjectMeta(deletion_timestamp=NOW))) == GONE
    assert agent_of("c1", None) == GONE


def test_time_alone_changes_the_judgement_when_the_token_expires() -> None:
    assert seconds_to_expiry(GOOD, NOW) == 5 * 3600
    assert seconds_to_expiry(_expired(GOOD), NOW) is None
    assert seconds_to_expiry(Status(), NOW) is None


def _refreshed(ago: timedelta, **more: object) -> Status:
    return replace(GOOD, token_secret_ref=TokenSecretRef("s", NOW - ago), **more)


BACK = Agent("c1", installed=True, available=True, since=NOW - timedelta(seconds=10), created=NOW - HOUR)


@pytest.mark.parametrize(
    ("status", "agent", "seconds"),
    [
        pytest.param(_refreshed(2 * HOUR), BACK, 50, id="from before the addon was installed"),
        pytest.param(_refreshed(HOUR / 2), BACK, None, id="issued since"),
        pytest.param(_refreshed(HOUR / 2, next_refresh_timestamp=NOW), BACK, 50, id="due for rotation"),
        pytest.param(_refreshed(2 * HOUR), WORKS, None, id="the agent has been back for an hour"),
        pytest.param(
            _refreshed(2 * HOUR), evolve(BACK, since=NOW + HOUR), 60, id="the cluster's clock is ahead"
        ),
        pytest.param(_refreshed(2 * HOUR), SILENT, None, id="the agent is not back"),
        pytest.param(
            replace(_refreshed(2 * HOUR), conditions=FAILING.conditions), BACK, None, id="the agent says why"
        ),
        pytest.param(GOOD, BACK, None, id="nothing says when it was issued"),
    ],
)
def test_an_agent_that_is_back_has_a_minute_to_replace_a_token_that_is_over_or_due(
    status: Status, agent: Agent, seconds: float | None
) -> None:
    assert seconds_to_replacement(status, agent, NOW) == seconds
