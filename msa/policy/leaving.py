"""What is still missing when the addon is removed from the whole hub, and how that is said. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

from msa.api import names
from msa.api.addon import CLUSTER_MANAGEMENT_ADDON, ManagedClusterAddOn
from msa.api.conditions import find
from msa.api.fleet_identity import FleetIdentity
from msa.policy.availability import agent_of
from msa.policy.readiness import ADDON_REMOVED, READY, TOKEN_REPORTED

DONE: Final = "the addon is removed from all clusters, and no ManagedServiceAccount is Ready any more"

_SHOWN: Final = 5
_EVENTS_AT_ONCE: Final = 50
_EVENTS_A_SECOND: Final = 10
_LEAST_SECONDS: Final = 2.0
_MOST_SECONDS: Final = 15.0


@frozen
class Left:
    """What the end of the addon has not reached yet.

    Attributes:
        clusters: where the addon is still installed.
        identities: ManagedServiceAccounts, `namespace/name`, whose Ready does not say that the addon was removed.
    """

    clusters: tuple[str, ...]
    identities: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.clusters or self.identities)


def left(addons: Iterable[ManagedClusterAddOn], identities: Iterable[FleetIdentity]) -> Left:
    """Of all that is on the hub; the manager judges the same identities by the same rule, `policy.availability`."""
    clusters = (addon.metadata.namespace for addon in addons if _is_installed(addon))
    waiting = (_name(identity) for identity in identities if _is_unreported(identity))
    return Left(tuple(sorted(clusters)), tuple(sorted(waiting)))


def goes_with_the_fleets(addon: ManagedClusterAddOn) -> bool:
    """Whether it belongs to the ClusterManagementAddOn alone: when that is deleted, the hub's garbage collector deletes it, sooner or later."""
    owners = addon.metadata.owner_references
    return bool(owners) and all(
        (owner.kind, owner.name) == (CLUSTER_MANAGEMENT_ADDON, names.ADDON) for owner in owners
    )


def progress(rest: Left) -> str:
    """One line while there is something left."""
    return (
        f"waiting for {_counted(rest.clusters, 'ManagedClusterAddOn')} to be deleted and for "
        f"{_counted(rest.identities, 'ManagedServiceAccount')} to report {ADDON_REMOVED}"
    )


def seconds_for_events(reported: int) -> float:
    """How long the manager takes to send an Event for each that it reported: 50 at once, then 10 a second (`runtime.recorder`)."""
    late = max(0, reported - _EVENTS_AT_ONCE) / _EVENTS_A_SECOND
    return min(_LEAST_SECONDS + late, _MOST_SECONDS)


def overdue(rest: Left, seconds: float) -> list[str]:
    """What to say when the time is over; nothing where only Events were waited for."""
    lines = [f"not finished after {seconds:.0f} s; the removal goes on"] if rest else []
    if rest.clusters:
        lines.append(f"the ManagedClusterAddOn is not deleted in {_listed(rest.clusters)}")
    if rest.identities:
        lines.append(
            f"Ready does not report {ADDON_REMOVED} in {_listed(rest.identities)}, and may stay True although the token is no longer "
            "valid: the manager did not answer in time"
        )
    return lines


def _is_installed(addon: ManagedClusterAddOn) -> bool:
    return agent_of(addon.metadata.namespace, addon).installed


def _is_unreported(identity: FleetIdentity) -> bool:
    """One that is being deleted, or that no agent has ever answered for, reports nothing."""
    if identity.metadata.deletion_timestamp is not None:
        return False
    ready = find(identity.status.conditions, READY)
    reported = find(identity.status.conditions, TOKEN_REPORTED)
    return reported is not None and (ready is None or ready.reason != ADDON_REMOVED)


def _name(identity: FleetIdentity) -> str:
    return f"{identity.metadata.namespace}/{identity.metadata.name}"


def _counted(found: Sequence[str], kind: str) -> str:
    return f"{len(found)} {kind}" if len(found) == 1 else f"{len(found)} {kind}s"


def _listed(found: Sequence[str]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{', '.join(found[:_SHOWN])}{more}"
