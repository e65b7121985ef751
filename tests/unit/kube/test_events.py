from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from msa.kube.credentials import Credential
from msa.kube.events import KubeEvents
from msa.kube.transport import Transport
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecord, ObjectReference

_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


class Recording(Transport):
    def __init__(self) -> None:
        async def load() -> Credential:
            raise AssertionError

        super().__init__(load, Metrics(CollectorRegistry()))
        self.sent: list[tuple[str, Any]] = []

    async def send(self, method: str, path: str, *, body: bytes | None = None, **_: Any) -> bytes:
        self.sent.append((f"{method} {path}", msgspec.json.decode(body or b"{}")))
        return b"{}"


@pytest.fixture
def transport() -> Recording:
    return Recording()


def _event(namespace: str) -> EventRecord:
    regarding = ObjectReference("example/v1", "Thing", namespace, "one", "uid")
    return EventRecord("one.1", regarding, "Normal", "Issued", "a token", _MOMENT, _MOMENT)


async def test_the_event_of_a_namespaced_object_is_in_its_namespace(transport: Recording) -> None:
    await KubeEvents(transport, "msa", "host").create(_event("ns"))
    ((request, body),) = transport.sent
    assert request == "POST /api/v1/namespaces/ns/events"
    assert (body["metadata"]["namespace"], body["involvedObject"]["namespace"]) == ("ns", "ns")


async def test_the_event_of_a_cluster_scoped_object_is_in_default_and_names_no_namespace(
    transport: Recording,
) -> None:
    """Or `kubectl describe` does not find it."""
    events = KubeEvents(transport, "msa", "host")
    await events.create(_event(""))
    await events.bump(_event(""))
    (created, body), (bumped, _) = transport.sent
    assert created == "POST /api/v1/namespaces/default/events"
    assert bumped == "PATCH /api/v1/namespaces/default/events/one.1"
    assert body["metadata"]["namespace"] == "default"
    assert "namespace" not in body["involvedObject"]
