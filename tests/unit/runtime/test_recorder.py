from collections.abc import Callable
from datetime import datetime

import anyio
from attrs import define, field
from prometheus_client import CollectorRegistry

from msa.runtime.errors import ApiError, Network
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecord, EventRecorder, ObjectReference

OBJECT = ObjectReference("v1", "Thing", "ns", "one", "uid")


@define
class Sink:
    created: list[tuple[float, EventRecord]] = field(factory=list)
    bumped: list[EventRecord] = field(factory=list)
    error: ApiError | None = None

    async def create(self, event: EventRecord) -> None:
        if self.error is not None:
            raise self.error
        self.created.append((anyio.current_time(), event))

    async def bump(self, event: EventRecord) -> None:
        self.bumped.append(event)


async def _send(recorder: EventRecorder, seconds: float = 1) -> None:
    with anyio.move_on_after(seconds):
        await recorder.run()


async def test_the_same_event_again_is_counted_up(now: Callable[[], datetime]) -> None:
    sink = Sink()
    recorder = EventRecorder(sink, now, Metrics(CollectorRegistry()))
    for _ in range(3):
        recorder.record(OBJECT, "Normal", "Issued", "a token")
        await _send(recorder)
    assert len(sink.created) == 1
    assert [event.count for event in sink.bumped] == [2, 3]


async def test_after_a_burst_of_fifty_ten_a_second_go_out(now: Callable[[], datetime]) -> None:
    sink = Sink()
    recorder = EventRecorder(sink, now, Metrics(CollectorRegistry()))
    for number in range(100):
        recorder.record(OBJECT, "Normal", "Issued", f"token {number}")
    start = anyio.current_time()
    await _send(recorder, 60)
    times = [moment - start for moment, _ in sink.created]
    assert sum(moment == 0 for moment in times) == 50
    assert 4.9 < times[-1] < 5.1


async def test_a_flood_is_cut_and_counted_and_never_waits(now: Callable[[], datetime]) -> None:
    metrics = Metrics(CollectorRegistry())
    recorder = EventRecorder(Sink(), now, metrics)
    for number in range(1500):
        recorder.record(OBJECT, "Normal", "Issued", f"token {number}")
    assert metrics.registry.get_sample_value("msa_events_dropped_total") == 500


async def test_an_event_that_cannot_be_sent_is_dropped_and_the_next_is_sent(
    now: Callable[[], datetime],
) -> None:
    metrics, sink = Metrics(CollectorRegistry()), Sink(error=Network("gone"))
    recorder = EventRecorder(sink, now, metrics)
    recorder.record(OBJECT, "Normal", "Issued", "lost")
    await _send(recorder)
    sink.error = None
    recorder.record(OBJECT, "Normal", "Issued", "sent")
    await _send(recorder)
    assert [event.message for _, event in sink.created] == ["sent"]
    assert metrics.registry.get_sample_value("msa_events_dropped_total") == 1


async def test_an_event_lets_other_requests_go_first_but_not_for_ever(now: Callable[[], datetime]) -> None:
    sink, quiet_at = Sink(), anyio.current_time() + 2
    recorder = EventRecorder(
        sink, now, Metrics(CollectorRegistry()), busy=lambda: anyio.current_time() < quiet_at
    )
    recorder.record(OBJECT, "Normal", "Issued", "a token")
    await _send(recorder, 10)
    assert 0 <= sink.created[0][0] - quiet_at < 0.2
    start, quiet_at = anyio.current_time(), float("inf")
    recorder.record(OBJECT, "Normal", "Issued", "another token")
    await _send(recorder, 10)
    assert sink.created[1][0] - start == 5
