"""Content that msgspec cannot decode, down to its bytes: what of it is read all the same, and that nothing but an ApiError comes of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from attrs import frozen

from msa.api.core import ServiceAccount
from msa.kube.resources import Resource, Selection
from msa.runtime.errors import Decode
from msa.runtime.events import Added, Unreadable

_GOOD = b'{"metadata":{"name":"a"}}'
_SPOILT = b'{"metadata":{"name":"b","labels":7}}'
_NO_TEXT = b'{"metadata":{"name":"b","labels":{"a":"\xff"}}}'
_NO_NAME = b'{"metadata":{"name":"\xff"}}'
_NEST = b"[" * 5000 + b"]" * 5000
_DEEP = b'{"metadata":{"name":"c"},"x":' + _NEST + b"}"
_SPOILT_AND_DEEP = b'{"metadata":{"name":"b","labels":7},"x":' + _NEST + b"}"


@frozen
class _Sent:
    """Stands for a transport: whatever is asked for, this comes."""

    body: bytes

    async def send(self, *_: object, **_more: object) -> bytes:
        return self.body

    @asynccontextmanager
    async def stream(self, _path: str) -> AsyncIterator[asyncio.StreamReader]:
        yield self  # type: ignore[misc]  # as far as it is read

    async def readany(self) -> bytes:
        return self.body


def _accounts(body: bytes) -> Resource[ServiceAccount]:
    transport: Any = _Sent(body)
    return Resource(transport, Selection("", "v1", "serviceaccounts"), ServiceAccount)


def _list(*items: bytes) -> Resource[ServiceAccount]:
    return _accounts(b'{"metadata":{"resourceVersion":"9"},"items":[' + b",".join(items) + b"]}")


async def _events(*objects: bytes) -> list[Any]:
    lines = (b'{"type":"ADDED","object":' + item + b"}\n" for item in objects)
    watch = _accounts(b"".join(lines)).watch(resource_version="9", initial_events=False, timeout_seconds=5)
    async with watch as stream:
        return list(await stream.receive())


@pytest.mark.parametrize("spoilt", [_SPOILT, _NO_TEXT, _SPOILT_AND_DEEP])
@pytest.mark.parametrize("beside", [_GOOD, _DEEP])
async def test_what_is_spoilt_hides_neither_itself_nor_what_is_beside_it(
    spoilt: bytes, beside: bytes
) -> None:
    page = await _list(spoilt, beside).list()
    assert len(page.items) == 1
    assert [item.object.metadata.name for item in page.unreadable] == ["b"]
    events = await _events(spoilt, beside)
    assert [type(event) for event in events] == [Unreadable, Added]
    assert events[0].object.metadata.name == "b"


async def test_where_not_even_the_name_is_text_it_is_an_error_of_its_class() -> None:
    with pytest.raises(Decode):
        await _list(_GOOD, _NO_NAME).list()
    with pytest.raises(Decode):
        await _events(_GOOD, _NO_NAME)
    with pytest.raises(Decode):
        await _accounts(_NO_NAME).get("a", into=ServiceAccount)
