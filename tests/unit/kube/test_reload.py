"""When a credential that is read anew takes the place of the one in use."""

from typing import Any

import pytest
from attrs import evolve
from prometheus_client import CollectorRegistry

from msa.kube.credentials import Credential
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
