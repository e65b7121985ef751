"""When a credential that is read anew takes the place of the one in use."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from attrs import evolve
from prometheus_client import CollectorRegistry

from msa.kube.credentials import Credential, CredentialError
from msa.kube.transport import Transport
from msa.runtime.metrics import Metrics


@pytest.mark.parametrize("anew", [{"certificate_digest": "two"}, {"digest": "two"}, {"authorization": "two"}])
async def test_a_credential_that_differs_in_anything_that_is_shown_is_taken(anew: dict[str, Any]) -> None:
    """A certificate that a plugin renewed is in no file and in no header."""
    first = Credential("http://hub", "", b"", None, (), "one", certificate_digest="one")
    given = [first, evolve(first), evolve(first, **anew)]

    async def load() -> Credential:
        return given.pop(0)

    transport = Transport(load, Metrics(CollectorRegistry()))
    await transport.open()
    await transport.reload()
    assert transport.credential is first
    second = given[0]
    await transport.reload()
    assert transport.credential is second
    await transport.close()


_FIRST = Credential("http://hub", "", b"", None, (), "one")


async def _opened(load: Callable[[], Awaitable[Credential]]) -> Transport:
    transport = Transport(load, Metrics(CollectorRegistry()))
    await transport.open()
    return transport


@pytest.mark.parametrize(
    "error", [CredentialError("no"), TypeError("text that is not ASCII"), OSError(5, "I/O"), RecursionError()]
)
async def test_whatever_reading_raises_the_credential_in_use_stays(
    error: Exception, logged: list[Any]
) -> None:
    given: list[Credential | Exception] = [_FIRST, error]

    async def load() -> Credential:
        if isinstance(found := given.pop(0), Exception):
            raise found
        return found

    transport = await _opened(load)
    await transport.reload()
    assert transport.credential is _FIRST
    assert [line["event"] for line in logged] == ["credential_kept"]
    await transport.close()


async def test_those_who_want_another_credential_at_once_share_one_reading() -> None:
    """It may start a program, and all requests under way are refused together."""
    given = [_FIRST, evolve(_FIRST, digest="two")]

    async def load() -> Credential:
        await asyncio.sleep(0)
        return given.pop(0)

    transport = await _opened(load)
    await asyncio.gather(*(transport.reload() for _ in range(5)))
    assert transport.credential.digest == "two"
    await transport.close()
