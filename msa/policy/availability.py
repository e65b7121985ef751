"""Whether the agent of a cluster is there to keep its identities, as the hub sees it, and what `Ready` must say where it is not. Pure.

`policy.readiness` says who may write that condition when.
"""

from datetime import datetime, timedelta
from typing import Final

from attrs import frozen

from msa.api import names
from msa.api.addon import ManagedClusterAddOn
from msa.api.conditions import find
from msa.api.durations import rfc3339
from msa.api.managedserviceaccount import Status
from msa.api.meta import Condition
from msa.policy.readiness import ADDON_REMOVED, AGENT_UNAVAILABLE, READY, TOKEN_EXPIRED, TOKEN_REPORTED

AVAILABLE: Final = "Available"
"""OCM's condition of a ManagedClusterAddOn: the agent's heartbeat is fresh."""

_REPLACEMENT: Final = timedelta(seconds=60)


@frozen
class Agent:
    """What the hub knows of the agent on one cluster.

    Attributes:
        cluster: its name.
        installed: there is an addon on the cluster that is not on its way out.
        available: OCM says that it works.
        since: when OCM last changed its mind about that; None where it has not said anything.
        created: when the addon was installed on the cluster.
    """

    cluster: str
    installed: bool
    available: bool = False
    since: datetime | None = None
    created: datetime | None = None


def agent_of(cluster: str, addon: ManagedClusterAddOn | None) -> Agent:
    """From the ManagedClusterAddOn in the cluster's namespace; None where there is none."""
    if addon is None or addon.metadata.deletion_timestamp is not None:
        return Agent(cluster, installed=False)
    said, created = find(addon.status.conditions, AVAILABLE), addon.metadata.creation_timestamp
    if said is None:
        return Agent(cluster, installed=True, created=created)
    available = said.status == "True"
    return Agent(
        cluster, installed=True, available=available, since=said.last_transition_time, created=created
    )


def judgement(status: Status, agent: Agent, now: datetime) -> Condition | None:
    """The worst that the hub knows and an agent cannot say of itself, as `Ready`; None where all is well.

    Args:
        status: of a ManagedServiceAccount in the agent's cluster's namespace.
        agent: who keeps it.
        now: on the hub's clock.
    """
    reported, expires = find(status.conditions, TOKEN_REPORTED), status.expiration_timestamp
    if reported is None:
        return None  # no agent has ever answered, so there is nothing that could be untrue
    if not agent.installed:
        return _ready(status, "False", ADDON_REMOVED, _removed(agent))
    found_by_agent = agent.available and reported.status == "False"
    if expires is not None and expires <= now and not found_by_agent:
        return _ready(status, "False", TOKEN_EXPIRED, _expired(agent, expires))
    if not agent.available:
        return _ready(status, "Unknown", AGENT_UNAVAILABLE, _unavailable(agent))
    return None


def seconds_to_expiry(status: Status, now: datetime) -> float | None:
    """When time alone changes the judgement; None where it does not."""
    expires = status.expiration_timestamp
    return (expires - now).total_seconds() if expires is not None and expires > now else None


def seconds_to_replacement(status: Status, agent: Agent, now: datetime) -> float | None:
    """How long an agent that is back may still take to replace a token; None where there is nothing to wait for.

    Such a token is over, since it was issued before the addon was installed, or it is due. Until it is replaced it is not called fresh.
    After the time it is: the agent found it good, as on a hub that was restored.
    """
    if not agent.available or agent.since is None or not _is_outdated(status, agent, now):
        return None
    left = min(agent.since + _REPLACEMENT - now, _REPLACEMENT).total_seconds()
    return left if left > 0 else None


def _is_outdated(status: Status, agent: Agent, now: datetime) -> bool:
    reported = find(status.conditions, TOKEN_REPORTED)
    if reported is None or reported.status != "True":
        return False
    secret, due = status.token_secret_ref, status.next_refresh_timestamp
    issued = secret.last_refresh_timestamp if secret is not None else None
    is_older = issued is not None and agent.created is not None and issued < agent.created
    return is_older or (due is not None and due <= now)


def _ready(status: Status, said: str, reason: str, message: str) -> Condition:
    return Condition(READY, said, reason, message, None, status.observed_generation)


def _removed(agent: Agent) -> str:
    return (
        f"the addon was removed from cluster {agent.cluster}, which deletes the ServiceAccounts there and so ends their tokens. "
        f"Install the addon on that cluster to get new tokens"
    )


def _expired(agent: Agent, expires: datetime) -> str:
    return f"the token expired at {rfc3339(expires)} and was not renewed. Find out why: {_describe(agent)}"


def _unavailable(agent: Agent) -> str:
    since = f" since {rfc3339(agent.since)}" if agent.since is not None else ""
    return (
        f"the agent of cluster {agent.cluster} is not available{since}. The current token stays in place, but no agent checks or renews it. "
        f"Find out why: {_describe(agent)}"
    )


def _describe(agent: Agent) -> str:
    return f"kubectl describe managedclusteraddon -n {agent.cluster} {names.ADDON}"
