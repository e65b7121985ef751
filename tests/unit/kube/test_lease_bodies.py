"""What is sent to keep a Lease."""

import math
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from msa.kube.credentials import Credential
from msa.kube.lease import KubeLease
from msa.kube.transport import Transport
from msa.runtime.metrics import Metrics
from msa.runtime.ports import LeaseRecord

OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "anchor", "uid": "u"}


class Recording(Transport):
    def __init__(self) -> None:
        async def load() -> Credential:
            raise AssertionError

        super().__init__(load, Metrics(CollectorRegistry()))
        self.sent: list[tuple[str, str, Any]] = []
        self.spec = b"{}"

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        content_type: str = "",
        accept: str = "",
        fenced: bool = True,
        most: float = math.inf,
    ) -> bytes:
        self.sent.append((method, content_type, msgspec.json.decode(body or b"{}")))
        return b'{"metadata":{"name":"lock","namespace":"ns","resourceVersion":"8"},"spec":%b}' % self.spec


async def test_a_renewal_is_merged_so_that_marks_of_others_stay_and_fails_if_somebody_was_faster() -> None:
    transport = Recording()
    await KubeLease(transport, "ns", "lock").update(LeaseRecord("me", 15, None, None, resource_version="7"))
    ((method, content_type, body),) = transport.sent
    assert (method, content_type) == ("PATCH", "application/merge-patch+json")
    assert body["metadata"] == {"name": "lock", "namespace": "ns", "resourceVersion": "7"}


async def test_a_lease_goes_with_its_owners_from_the_first_renewal_on_that_knows_them() -> None:
    transport, owners = Recording(), list[dict[str, str]]()
    lease = KubeLease(transport, "ns", "lock", owners=lambda: owners)
    await lease.create(LeaseRecord("me", 15, None, None))
    owners.append(OWNER)
    await lease.update(LeaseRecord("me", 15, None, None, resource_version="7"))
    assert [body["metadata"].get("ownerReferences") for _, _, body in transport.sent] == [None, [OWNER]]


@pytest.mark.parametrize(
    "moment",
    [
        "0000-12-31T10:00:00.000000Z",
        "0001-01-01T00:00:00.000000+14:00",
        "9999-12-31T23:59:59.000000-14:00",
        "now",
        "",
    ],
)
async def test_times_in_a_lease_that_nobody_can_read_keep_nobody_from_it(moment: str) -> None:
    transport = Recording()
    transport.spec = msgspec.json.encode({"holderIdentity": "me", "acquireTime": moment, "renewTime": moment})
    lease = KubeLease(transport, "ns", "lock")
    found = await lease.get()
    assert found is not None
    await lease.update(found)
    assert transport.sent[-1][2]["spec"]["acquireTime"] is None


async def test_a_time_is_written_back_as_it_was() -> None:
    transport = Recording()
    transport.spec = b'{"acquireTime":"2026-12-01T03:04:05.000006Z"}'
    lease = KubeLease(transport, "ns", "lock")
    found = await lease.get()
    assert found is not None
    await lease.update(found)
    assert transport.sent[-1][2]["spec"]["acquireTime"] == "2026-12-01T03:04:05.000006Z"
