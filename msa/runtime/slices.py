"""Keeps long loops from holding the event loop."""

import anyio
import anyio.lowlevel

_SLICE_SECONDS = 0.002
_STEPS = 16


class Slices:
    """Lets the other tasks run whenever a long loop has held the processor for 2 ms."""

    def __init__(self) -> None:
        self._since = anyio.current_time()
        self._steps = 0

    async def maybe(self) -> None:
        """Called once for each step of the loop."""
        self._steps += 1
        if self._steps % _STEPS == 0 and anyio.current_time() - self._since > _SLICE_SECONDS:
            await anyio.lowlevel.checkpoint()
            self._since = anyio.current_time()
