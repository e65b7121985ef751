"""Asks the managed cluster about each token, slowly, where it does not tell its keys: TokenReview instead of signatures.

One Secret read and one review a second at most, a round every ten minutes: a replaced signing key is noticed late, but noticed.
"""

from collections.abc import Callable
from typing import Protocol

import anyio
import structlog
from attrs import frozen

from msa.agent.cluster import ManagedCluster
from msa.api.core import Credential
from msa.api.token import Token
from msa.runtime.errors import ApiError
from msa.runtime.result import Key
from msa.runtime.store import Store

_ROUND_SECONDS = 600.0
_PAUSE_SECONDS = 1.0
_log = structlog.get_logger(__name__)


@frozen
class HeldToken:
    """A token and the resourceVersion of the Secret that held it."""

    token: Token
    version: str


class Reviews(Protocol):
    """What the sweep asks of the two clusters. Every method raises `ApiError`."""

    async def read_token(self, name: str) -> HeldToken | None:
        """The token in the hub Secret, None where it has none."""
        ...

    async def review(self, token: Token, audiences: tuple[str, ...]) -> bool:
        """Whether the managed cluster takes this token for one of the audiences."""
        ...


class TokenSweep:
    """Runs for ever; does nothing while signatures can be checked.

    Args:
        cluster: is told of tokens that are refused.
        credentials: what there is to ask about.
        reviews: who is asked.
        enqueue: has an identity looked at.
    """

    def __init__(
        self,
        cluster: ManagedCluster,
        credentials: Store[Credential],
        reviews: Reviews,
        enqueue: Callable[[Key], None],
    ) -> None:
        self._cluster = cluster
        self._credentials = credentials
        self._reviews = reviews
        self._enqueue = enqueue

    async def run(self) -> None:
        while True:
            await anyio.sleep(_ROUND_SECONDS)
            for key in self._credentials.keys():  # noqa: SIM118 - a Store is no dict
                # A round takes long: what is asked about is what is there now.
                credential = self._credentials.get(key)
                if credential is not None and self._cluster.view().thumbprints is None:
                    await self._ask(credential)
                    await anyio.sleep(_PAUSE_SECONDS)

    async def _ask(self, credential: Credential) -> None:
        claims, name = credential.claims, credential.metadata.name
        if claims is None:
            return  # found wrong without asking anybody
        try:
            held = await self._reviews.read_token(name)
            if held is None or held.version != credential.metadata.resource_version:
                return  # written meanwhile: asked about in the next round
            if await self._reviews.review(held.token, claims.audiences):
                return
        except ApiError as error:
            _log.warning("token_not_reviewed", name=name, reason=error.reason, problem=error.message)
            return
        self._cluster.refused(name, held.version)
        self._enqueue(Key(name))
