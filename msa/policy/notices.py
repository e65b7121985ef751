"""Conditions that the manager adds to a cluster's ManagedServiceAccount: each is there only while there is something to say."""

from datetime import datetime

from attrs import frozen

from msa.api import conditions
from msa.api.fleet_identity import FleetIdentity
from msa.api.meta import Condition

_LONGEST = 1024


@frozen
class Notice:
    """Something that the user must know.

    Attributes:
        type: of the condition; its status is True.
        reason: CamelCase.
        message: the fact, then the remedy.
    """

    type: str
    reason: str
    message: str


def changed(
    identity: FleetIdentity, type_: str, notice: Notice | None, now: datetime
) -> tuple[Condition, ...] | None:
    """All conditions with this notice, or without one of its type; None where nothing is to be written.

    Args:
        identity: with the stored conditions, of which those of others stay.
        type_: of the condition.
        notice: None where there is nothing to say.
        now: for the transition time.
    """
    stored = identity.status.conditions
    others = tuple(item for item in stored if item.type != type_)
    wanted = others if notice is None else conditions.merge(stored, [_condition(identity, notice)], now)
    return None if wanted == stored else wanted


def _condition(identity: FleetIdentity, notice: Notice) -> Condition:
    generation = identity.metadata.generation
    message = notice.message[:_LONGEST]
    return Condition(notice.type, "True", notice.reason, message, observed_generation=generation)
