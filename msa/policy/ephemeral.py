"""Identities with an end: `spec.ttlSecondsAfterCreation`."""

from datetime import datetime, timedelta

from msa.api.managedserviceaccount import ManagedServiceAccount

_LONGEST = 2**31 - 1
"""An int32, as the API says; a time that far away can still be written."""


def end_of_life(identity: ManagedServiceAccount) -> datetime | None:
    """When it is to be deleted, on the hub's clock; None for never."""
    ttl, created = identity.spec.ttl_seconds_after_creation, identity.metadata.creation_timestamp
    return (
        created + timedelta(seconds=min(ttl, _LONGEST)) if ttl is not None and created is not None else None
    )
