"""Objects that are larger than is borne: read as a marker, or as no more than their identity; answers are read up to a bound."""

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from msa.api.core import ServiceAccount
from msa.api.meta import ObjectMeta
from msa.kube.decoding import Decoders
from msa.kube.resources import Resource, Selection
from msa.runtime.errors import Decode
from msa.runtime.events import Added, Deleted, Modified, PartialMetadata, Unreadable


class Full(Struct, frozen=True):
    metadata: ObjectMeta
    data: dict[str, str] = {}


class Marker(Struct, frozen=True):
    metadata: PartialMetadata


def _object(name: str, size: int) -> bytes:
    return json.dumps(
        {"metadata": {"name": name, "resourceVersion": "7"}, "data": {"x": "y" * size}}
    ).encode()


def _line(kind: str, content: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), content)


def _decoders(marker: type[Any] | None) -> Decoders[Any]:
    return Decoders(Full, 1000, marker)


_SMALL, _LARGE = _object("small", 10), _object("large", 2000)


def test_a_larger_object_of_a_watch_is_read_as_the_marker_and_the_others_as_they_are() -> None:
    events: Any = _decoders(Marker).events(_line("ADDED", _LARGE) + _line("MODIFIED", _SMALL))
    assert [type(event) for event in events] == [Added, Modified]
    assert [type(event.object) for event in events] == [Marker, Full]
    assert events[0].object.metadata.name == "large"


def test_without_a_marker_only_its_identity_is_told() -> None:
    events: Any = _decoders(None).events(
        _line("ADDED", _LARGE) + _line("MODIFIED", _SMALL) + _line("DELETED", _LARGE)
    )
    assert [type(event) for event in events] == [Unreadable, Modified, Deleted]
    assert events[0].problem == "the object is larger than 1000 bytes"
    assert events[2].object.metadata.name == "large"


@pytest.mark.parametrize("marker", [Marker, None])
async def test_a_larger_object_of_a_list_is_told_as_in_a_watch(marker: type[Any] | None) -> None:
    page = await _decoders(marker).page(
        b'{"metadata":{"resourceVersion":"9","continue":"more"},"items":[' + _LARGE + b"," + _SMALL + b"]}"
    )
    assert (page.resource_version, page.continue_token) == ("9", "more")
    names = [(type(item), item.metadata.name) for item in page.items]
    if marker is None:
        assert names == [(Full, "small")]
        assert [item.object.metadata.name for item in page.unreadable] == ["large"]
    else:
        assert names == [(Marker, "large"), (Full, "small")]


def test_many_small_objects_together_are_not_a_large_one() -> None:
    events: Any = _decoders(None).events(_line("ADDED", _SMALL) * 100)
    assert {type(event.object) for event in events} == {Full}


@pytest.mark.parametrize(
    "filling", [b'"x":' + b"[" * 700_000 + b"]" * 700_000, b'"x":"' + b"y" * 1_400_000 + b'"']
)
def test_the_largest_object_that_etcd_stores_does_not_hold_the_loop(filling: bytes) -> None:
    line = _line("ADDED", b'{"metadata":{"name":"large"},' + filling + b"}")
    start = time.process_time()
    events: Any = _decoders(Marker).events(line)
    assert time.process_time() - start < 1
    assert events[0].object.metadata.name == "large"


async def test_a_page_is_read_up_to_a_bound_and_a_single_object_whole() -> None:
    asked: list[float] = []

    class Sent:
        async def send(self, *_: object, most: float, **_more: object) -> bytes:
            asked.append(most)
            return b'{"metadata":{}}'

    transport: Any = Sent()
    accounts = Resource(transport, Selection("", "v1", "serviceaccounts"), ServiceAccount)
    for limit in (500, 1, 0):
        await accounts.list(limit=limit)
    assert asked == [8 * 1024 * 1024, float("inf"), float("inf")]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ("metadata", "name", "namespace", "uid", "resourceVersion", "data", "labels", "x")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
_LINE = st.fixed_dictionaries(
    {"type": st.sampled_from(("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "NEWS")), "object": _JSON}
).map(lambda value: json.dumps(value).encode())
_TEXT = st.builds(
    lambda text, deep: text.replace(b'"x"', b'"x":' + b"[" * deep + b"]" * deep + b',"x"', 1),
    _LINE | _JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
    st.sampled_from((0, 960, 5000)),
)


@settings(deadline=None)
@given(st.lists(_TEXT, max_size=4), st.booleans(), st.sampled_from((0, 50, 10_000)))
async def test_whatever_a_server_sends_gives_events_or_an_error_of_its_class(
    texts: list[bytes], marked: bool, largest: int
) -> None:
    decoders: Decoders[Any] = Decoders(Full, largest, Marker if marked else None)
    for read in (b"\n".join(texts), *texts):
        with suppress(Decode):
            decoders.events(read)
        with suppress(Decode):
            await decoders.page(b'{"metadata":{},"items":[' + b",".join(texts) + b"]}")
