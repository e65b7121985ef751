from collections.abc import Callable
from datetime import datetime

import anyio
from attrs import define, field
from prometheus_client import CollectorRegistry

from msa.runtime.errors import AlreadyExists, ApiError, Network, NotFound
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecord, EventRecorder, ObjectReference

OBJECT = ObjectReference("v1", "Thing", "ns", "one", "uid")


@define
class Sink:
    created: list[tuple[float, EventRecord]] = field(factory=list)
    bumped: list[EventRecord] = field(factory=list)
    error: ApiError | None = None
    seconds: float = 0.0
    loses_answers: bool = False

    async def create(self, event: EventRecord) -> None:
        await self._reach()
        if event.name in self.names():
            raise AlreadyExists
        self.created.append((anyio.current_time(), event))
        if self.loses_answers:
            raise Network("cut")

    async def bump(self, event: EventRecord) -> None:
        await self._reach()
        if event.name not in self.names():
            raise NotFound
        self.bumped.append(event)

    async def _reach(self) -> None:
        await anyio.sleep(self.seconds)
        if self.error is not None:
            raise self.error

    def names(self) -> list[str]:
        return [event.name for _, event in self.created]


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


async def test_what_lasts_is_told_once_by_all_processes_together_and_counted_up_by_one_that_tells_it_again(
    now: Callable[[], datetime],
) -> None:
    sink = Sink()
    for times in (1, 1, 2):
        recorder = EventRecorder(sink, now, Metrics(CollectorRegistry()))
        for _ in range(times):
            recorder.record(OBJECT, "Warning", "Undecided", "why", lasting=True)
            await _send(recorder, 700)
    assert len(sink.created) == 1
    assert [event.count for event in sink.bumped] == [2], "the last process said it twice"
    recorder.record(OBJECT, "Warning", "Undecided", "why else", lasting=True)
    await _send(recorder)
    assert len(set(sink.names())) == 2


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


async def _again_while_under_way(recorder: EventRecorder, sink: Sink, *, times: int = 2) -> None:
    """Records the same thing at once, and again while the first is being sent."""
    sink.seconds = 5
    recorder.record(OBJECT, "Normal", "Issued", "a token")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_send, recorder, 60)
        for _ in range(times):
            await anyio.sleep(1)
            recorder.record(OBJECT, "Normal", "Issued", "a token")


async def test_an_event_that_comes_again_while_it_is_being_created_is_counted_up_after_that(
    now: Callable[[], datetime],
) -> None:
    metrics, sink = Metrics(CollectorRegistry()), Sink()
    await _again_while_under_way(EventRecorder(sink, now, metrics), sink)
    assert len(sink.created) == 1
    assert [(event.name, event.count) for event in sink.bumped] == [(sink.names()[0], 3)]
    assert metrics.registry.get_sample_value("msa_events_dropped_total") == 0


async def test_an_event_that_comes_again_while_its_creation_fails_is_created_with_all_its_count(
    now: Callable[[], datetime],
) -> None:
    sink = Sink(error=Network("gone"))
    recorder = EventRecorder(sink, now, Metrics(CollectorRegistry()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_again_while_under_way, recorder, sink)
        await anyio.sleep(6)
        sink.error = None
    assert [event.count for _, event in sink.created] == [3]
    assert sink.bumped == []


async def test_an_event_whose_answer_was_lost_is_not_created_twice(now: Callable[[], datetime]) -> None:
    sink = Sink(loses_answers=True)
    recorder = EventRecorder(sink, now, Metrics(CollectorRegistry()))
    await _again_while_under_way(recorder, sink, times=1)
    assert len(sink.created) == 1
    assert [event.count for event in sink.bumped] == [2]


async def test_a_count_that_could_not_be_sent_goes_with_the_next(now: Callable[[], datetime]) -> None:
    sink = Sink()
    recorder = EventRecorder(sink, now, Metrics(CollectorRegistry()))
    for error in (None, Network("gone"), None):
        sink.error = error
        recorder.record(OBJECT, "Normal", "Issued", "a token")
        await _send(recorder)
    assert len(sink.created) == 1
    assert [event.count for event in sink.bumped] == [3]


async def test_an_event_that_the_server_has_forgotten_is_created_anew(now: Callable[[], datetime]) -> None:
    """Events live for an hour by default."""
    sink = Sink()
    recorder = EventRecorder(sink, now, Metrics(CollectorRegistry()))
    for _ in range(3):
        recorder.record(OBJECT, "Normal", "Issued", "a token")
        await _send(recorder)
        sink.created, before = sink.created[:0], sink.created
        await anyio.sleep(1)
    assert [event.count for _, event in before] == [1]


async def test_an_event_that_hangs_is_told_to_the_liveness_probe(now: Callable[[], datetime]) -> None:
    sink = Sink(seconds=1000)
    recorder = EventRecorder(sink, now, Metrics(CollectorRegistry()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recorder.run)
        await anyio.sleep(1000)
        assert recorder.problem(anyio.current_time()) is None, "there was nothing to send"
        recorder.record(OBJECT, "Normal", "Issued", "a token")
        await anyio.sleep(200)
        assert recorder.problem(anyio.current_time()) is None
        await anyio.sleep(110)
        assert "sending of Events" in (recorder.problem(anyio.current_time()) or "")
        await anyio.sleep(900)
        assert recorder.problem(anyio.current_time()) is None
        tasks.cancel_scope.cancel()


async def test_an_event_that_cannot_be_written_does_not_end_the_others(now: Callable[[], datetime]) -> None:
    """A message with half a character in it, say, which no JSON can hold."""

    class Choosy(Sink):
        async def create(self, event: EventRecord) -> None:
            event.message.encode()
            await super().create(event)

    sink = Choosy()
    recorder = EventRecorder(sink, now, Metrics(CollectorRegistry()))
    recorder.record(OBJECT, "Normal", "Issued", "\ud800")
    recorder.record(OBJECT, "Normal", "Issued", "a token")
    await _send(recorder)
    assert [event.message for _, event in sink.created] == ["a token"]


async def test_an_event_that_was_under_way_when_the_lead_was_lost_is_sent_with_the_next(
    now: Callable[[], datetime],
) -> None:
    sink = Sink(seconds=5)
    recorder = EventRecorder(sink, now, Metrics(CollectorRegistry()))
    recorder.record(OBJECT, "Normal", "Issued", "a token")
    await _send(recorder, 1)
    assert recorder.problem(anyio.current_time() + 1000) is None, "it is not under way any more"
    await _send(recorder, 10)
    assert [event.count for _, event in sink.created] == [1]
