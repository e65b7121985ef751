"""Whatever an API server stores, what comes out of a decoder can be compared, added to, printed and sent."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from msa.api.durations import EARLIEST, LATEST, rfc3339
from msa.api.meta import Condition
from tests.support.hostile import TIMES, bytes_for, wire_types

_LONGEST_DURATION = timedelta(seconds=2**32)


@pytest.mark.parametrize("kind", wire_types(), ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_an_object_is_unreadable_or_wholly_sound(kind: type[Struct], data: st.DataObject) -> None:
    content = data.draw(bytes_for(kind))
    try:
        read = msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    for moment in _times(read):
        assert moment.tzinfo is UTC
        assert EARLIEST <= moment <= LATEST
        assert rfc3339(moment + _LONGEST_DURATION).endswith("Z")
        assert (moment - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds() < 2**39
    assert repr(read)
    assert msgspec.json.encode(read)
    assert read == msgspec.json.decode(content, type=kind)


@pytest.mark.parametrize("text", TIMES)
def test_a_time_out_of_all_bounds_is_moved_to_the_nearest_bound(text: str) -> None:
    body = msgspec.json.encode({"type": "Ready", "status": "True", "lastTransitionTime": text})
    try:
        moment = msgspec.json.decode(body, type=Condition).last_transition_time
    except msgspec.ValidationError:
        return
    assert moment is not None
    assert moment in (EARLIEST, LATEST) or moment.year in (2025, 2026)


def _times(read: Any) -> Iterator[datetime]:
    match read:
        case datetime():
            yield read
        case Struct():
            for name in read.__struct_fields__:
                yield from _times(getattr(read, name))
        case tuple() | list():
            for item in read:
                yield from _times(item)
