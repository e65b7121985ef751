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

    def over(self) -> bool:
        """Asked once for each step of the loop: whether it is time to let others run, by `rest`."""
        self._steps += 1
        return self._steps % _STEPS == 0 and anyio.current_time() - self._since > _SLICE_SECONDS

    async def rest(self) -> None:
        await anyio.lowlevel.checkpoint()
        self._since = anyio.current_time()
