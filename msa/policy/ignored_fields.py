"""Fields of a ManagedServiceAccount that have no effect where it is, or with the manager's feature gates: said, rather than ignored in silence."""

from typing import Final

from msa.api import names
from msa.api.fleet_identity import FanOutSpec, FleetIdentity
from msa.policy.notices import Notice

FIELDS_IGNORED: Final = "FieldsIgnored"
"""Condition; the agent says with the same type what it ignores itself."""

GATE_OFF: Final = "ClusterProfileGateOff"
NOT_FANNED_OUT: Final = "NotFannedOut"
REASONS: Final = (GATE_OFF, NOT_FANNED_OUT)


def ignored(identity: FleetIdentity, *, in_cluster: bool, copies: bool) -> Notice | None:
    """What the manager ignores of it; None for nothing.

    Args:
        identity: that it is about. One that was fanned out says what its origin says, so the origin alone tells.
        in_cluster: whether its namespace is a managed cluster's own.
        copies: whether credentials are copied to ClusterProfiles.
    """
    metadata = identity.metadata
    if metadata.deletion_timestamp is not None or metadata.label(names.LABEL_ORIGIN_UID):
        return None
    found = [
        *([_not_fanned_out(fields)] if in_cluster and (fields := _fan_out_fields(identity)) else []),
        *([_gate_off()] if not copies and _asks_for_copies(identity) else []),
    ]
    return (
        Notice(FIELDS_IGNORED, found[0].reason, "; ".join(item.message for item in found)) if found else None
    )


def is_others(identity: FleetIdentity) -> bool:
    """Whether what stands there is what the agent ignores: then that is left, and is its to take away."""
    return any(
        item.type == FIELDS_IGNORED and item.reason not in REASONS for item in identity.status.conditions
    )


def has_said(identity: FleetIdentity) -> bool:
    """Whether a notice of the manager stands there."""
    return any(item.type == FIELDS_IGNORED and item.reason in REASONS for item in identity.status.conditions)


def _fan_out_fields(identity: FleetIdentity) -> list[str]:
    spec, unset = identity.spec, FanOutSpec()
    given = {
        "spec.placementRef": spec.placement_ref is not None,
        "spec.rollout": spec.rollout != unset.rollout,
    }
    return [name for name, is_given in given.items() if is_given]


def _asks_for_copies(identity: FleetIdentity) -> bool:
    return (identity.metadata.labels or {}).get(names.LABEL_SYNC_TO_PROFILE, "false") != "false"


def _not_fanned_out(fields: list[str]) -> Notice:
    message = (
        f"{' and '.join(fields)} {'have' if len(fields) > 1 else 'has'} no effect in a managed cluster's namespace. Remove "
        f"{'them' if len(fields) > 1 else 'it'}, or create this object in a namespace that a ManagedClusterSet is bound to"
    )
    return Notice(FIELDS_IGNORED, NOT_FANNED_OUT, message)


def _gate_off() -> Notice:
    message = (
        f"label {names.LABEL_SYNC_TO_PROFILE} has no effect: the feature gate ClusterProfile is off. Enable it with helm upgrade "
        "--reuse-values --set featureGates.clusterProfile=true, or remove the label"
    )
    return Notice(FIELDS_IGNORED, GATE_OFF, message)
