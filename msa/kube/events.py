"""core/v1 Events as `runtime.recorder.EventSink`."""

from msgspec import Raw

from msa.kube.resources import Resource, Selection
from msa.kube.skew import dated
from msa.kube.transport import Transport
from msa.runtime.events import BookmarkObject
from msa.runtime.recorder import EventRecord

_CLUSTER_SCOPED = "default"
"""Where Events are about objects that have no namespace; kubectl describe finds them by the reference, which has none either."""


class KubeEvents:
    """Sends Events to the namespace of what they are about."""

    def __init__(self, transport: Transport, component: str, host: str) -> None:
        self._events = Resource(transport, Selection("", "v1", "events"), BookmarkObject)  # type: ignore[type-var]  # never read
        self._source = {"component": component, "host": host}

    async def create(self, event: EventRecord) -> None:
        regarding = event.regarding
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": event.name, "namespace": _namespace(event)},
            "involvedObject": {
                "apiVersion": regarding.api_version,
                "kind": regarding.kind,
                **({"namespace": regarding.namespace} if regarding.namespace else {}),
                "name": regarding.name,
                "uid": regarding.uid,
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message,
            "firstTimestamp": dated(event.first),
            "lastTimestamp": dated(event.last),
            "count": event.count,
            "source": self._source,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._source["host"],
        }
        await self._events.within(_namespace(event)).create(body, into=Raw)

    async def bump(self, event: EventRecord) -> None:
        again = {"count": event.count, "lastTimestamp": dated(event.last)}
        await self._events.within(_namespace(event)).patch(event.name, again, into=Raw)


def _namespace(event: EventRecord) -> str:
    return event.regarding.namespace or _CLUSTER_SCOPED
