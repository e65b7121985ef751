"""The largest and the oddest that a server may send; answers are read up to a bound."""

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


class Full(Struct, frozen=True):
    metadata: ObjectMeta
    data: dict[str, str] = {}


def _line(kind: str, content: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), content)


@pytest.mark.parametrize(
    "filling", [b'"x":' + b"[" * 700_000 + b"]" * 700_000, b'"x":"' + b"y" * 1_400_000 + b'"']
)
def test_the_largest_object_that_etcd_stores_does_not_hold_the_loop(filling: bytes) -> None:
    line = _line("ADDED", b'{"metadata":{"name":"large"},' + filling + b"}")
    start = time.process_time()
    decoders: Decoders[Full] = Decoders(Full)
    events: Any = decoders.events(line)
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
@given(st.lists(_TEXT, max_size=4))
async def test_whatever_a_server_sends_gives_events_or_an_error_of_its_class(texts: list[bytes]) -> None:
    decoders: Decoders[Full] = Decoders(Full)
    for read in (b"\n".join(texts), *texts):
        with suppress(Decode):
            decoders.events(read)
        with suppress(Decode):
            await decoders.page(b'{"metadata":{},"items":[' + b",".join(texts) + b"]}")
