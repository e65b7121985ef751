"""Writes the notices of `policy.notices` into the status of ManagedServiceAccounts in clusters' namespaces, whose agents keep them."""

from typing import Protocol

import anyio
from attrs import frozen

from msa.api.fleet_identity import FleetIdentity
from msa.api.meta import ObjectMeta
from msa.hub.bodies import Body
from msa.policy import notices
from msa.policy.notices import Notice
from msa.runtime.errors import NotFound
from msa.runtime.freshness import Freshness
from msa.runtime.ports import Now
from msa.runtime.result import Key
from msa.runtime.store import Store


class StatusWriter(Protocol):
    """See `hub.identity_writes.IdentityHub`."""

    async def whole(self, stored: ObjectMeta) -> FleetIdentity | None: ...

    async def patch_status(self, stored: ObjectMeta, changes: Body) -> str: ...


@frozen
class Notices:
    """One writer of notices; an agent that writes at the same time makes it fail with Conflict, and it is tried again."""

    identities: Store[FleetIdentity]
    hub: StatusWriter
    freshness: Freshness
    now: Now

    async def write(self, key: Key, identity: FleetIdentity, type_: str, notice: Notice | None) -> bool:
        """Says it, or says no longer anything of this type. Whether something was written.

        Raises:
            ApiError: it could not be written.
        """
        if notices.changed(identity, type_, notice, self.now()) is None:
            return False
        try:
            whole = await self.hub.whole(identity.metadata) if identity.abridged else identity
            wanted = notices.changed(whole, type_, notice, self.now()) if whole is not None else None
            if whole is None or wanted is None:
                return False
            version = await self.hub.patch_status(whole.metadata, {"conditions": wanted})
        except NotFound:
            return False  # deleted meanwhile: the next event says so
        self.freshness.wrote(key, self.identities, version, anyio.current_time())
        return True
