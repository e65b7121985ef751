"""A coordination.k8s.io/v1 Lease as `runtime.ports.LeaseLock`."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import anyio
from msgspec import Struct

from msa.kube.resources import Resource, Selection
from msa.kube.transport import Transport
from msa.runtime.errors import NotFound, ShortWatch
from msa.runtime.events import Bookmark, Failed, PartialMetadata, WatchEvent
from msa.runtime.ports import LeaseRecord
from msa.runtime.reflector import refusal


class _Spec(Struct, frozen=True, rename="camel"):
    """Its times are for people: one that nobody can read must not keep anybody from the Lease."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Lease(Struct, frozen=True):
    metadata: PartialMetadata
    spec: _Spec = _Spec()


class KubeLease:
    """One named Lease.

    Args:
        transport: to its API server.
        namespace: where it is.
        name: its name.
        owners: the ownerReferences of the objects that it shall go with.
        fenced: False for the Lease of the leader election itself, which opens the fence.
    """

    def __init__(
        self,
        transport: Transport,
        namespace: str,
        name: str,
        *,
        owners: Callable[[], Sequence[object]] = tuple,
        fenced: bool = True,
    ) -> None:
        selection = Selection(
            "coordination.k8s.io", "v1", "leases", namespace, fields=f"metadata.name={name}"
        )
        self._leases = Resource(transport, selection, _Lease, fenced=fenced)
        self._namespace = namespace
        self._name = name
        self._owners = owners

    async def get(self) -> LeaseRecord | None:
        try:
            return _record(await self._leases.get(self._name, into=_Lease))
        except NotFound:
            return None

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        return _record(await self._leases.create(self._body(record), into=_Lease))

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        return _record(await self._leases.patch(self._name, self._body(record), into=_Lease))

    async def rest(self, seconds: float) -> bool:
        return await self._leases.rest(seconds)

    async def wait_for_change(self, record: LeaseRecord | None, seconds: float) -> None:
        known = record.resource_version if record is not None else ""
        with anyio.move_on_after(seconds):
            async with self._leases.watch(
                resource_version=known, initial_events=False, timeout_seconds=max(1, int(seconds) + 1)
            ) as stream:
                while events := await stream.receive():
                    if any(_tells_of_change(event, known) for event in events):
                        return
            # Whoever waits again begins with a request: at once, and that for every watch that is cut, would be a storm of them.
            raise ShortWatch("the watch of the Lease ended before its time")

    def _body(self, record: LeaseRecord) -> dict[str, Any]:
        """To be created, or merged into what is stored: marks of others stay."""
        metadata: dict[str, Any] = {"name": self._name, "namespace": self._namespace}
        if record.resource_version:
            metadata["resourceVersion"] = record.resource_version
        if owners := self._owners():
            metadata["ownerReferences"] = owners
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": record.holder,
                "leaseDurationSeconds": record.duration_seconds,
                "acquireTime": micro_time(record.acquire_time),
                "renewTime": micro_time(record.renew_time),
                "leaseTransitions": record.transitions,
            },
        }


def _tells_of_change(event: WatchEvent[_Lease], known: str) -> bool:
    if isinstance(event, Failed):
        raise refusal(event.object)
    return not isinstance(event, Bookmark) and event.object.metadata.resource_version != known


def micro_time(moment: datetime | None) -> str | None:
    """metav1.MicroTime: exactly six fractional digits and Z, or the API server refuses it."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _record(lease: _Lease) -> LeaseRecord:
    spec = lease.spec
    return LeaseRecord(
        holder=spec.holder_identity or "",
        duration_seconds=spec.lease_duration_seconds or 0,
        acquire_time=_moment(spec.acquire_time),
        renew_time=_moment(spec.renew_time),
        transitions=spec.lease_transitions or 0,
        resource_version=lease.metadata.resource_version,
    )


def _moment(text: str | None) -> datetime | None:
    """In UTC; None for what is no time, or beyond the calendar there."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except (ValueError, OverflowError):
        return None
