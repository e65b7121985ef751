"""Where a cluster is: asked for until it is known, and anew when there is a reason to."""

import math
from collections.abc import Awaitable, Callable

import anyio

from msa.client.credential import Address
from msa.client.errors import TokenError, Unreachable

_SHORTEST_SECONDS, _LONGEST_SECONDS = 1.0, 60.0
"""Between two attempts, doubled each time: rights and addresses that were missing are given while programs run."""


class Locator:
    """One cluster's address.

    Args:
        ask: asks the hub once.
        on_change: called when it, or why it is not known, is another than before.

    Attributes:
        address: the last one, or why there is none. May be read in any thread.
        asked: set once there was an answer, of whatever kind.
    """

    def __init__(self, ask: Callable[[], Awaitable[Address]], on_change: Callable[[], None]) -> None:
        self._ask = ask
        self._on_change = on_change
        self._refreshed = anyio.Event()
        self._doubted = False
        self.address: Address | TokenError = TokenError("the address has not been asked for yet")
        self.asked = anyio.Event()

    async def run(self) -> None:
        """Asks, for ever."""
        seconds = _SHORTEST_SECONDS
        while True:
            self._refreshed = anyio.Event()
            found = await self._locate()
            with anyio.move_on_after(math.inf if found else seconds):
                await self._refreshed.wait()
            seconds = _SHORTEST_SECONDS if found else min(seconds * 2, _LONGEST_SECONDS)

    def refresh(self) -> None:
        """Asks anew, at once."""
        self._refreshed.set()

    async def _locate(self) -> bool:
        """Whether an address was read."""
        before = self.address
        try:
            self.address, self._doubted = await self._ask(), False
        except TokenError as error:
            self._fail(error)
            return False
        finally:
            self.asked.set()
            if self.address != before:
                self._on_change()
        return True

    def _fail(self, error: TokenError) -> None:
        """What was known stays good while the hub does not answer, and until it has refused or denied it twice."""
        unreachable = isinstance(error, Unreachable)
        if not isinstance(self.address, Address) or (self._doubted and not unreachable):
            self.address = error
        self._doubted = self._doubted or not unreachable
