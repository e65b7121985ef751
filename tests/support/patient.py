"""What a scripted server has in common with a real one that is never away."""

import anyio


class Patient:
    """Implements `server` and `rest` of `ListWatch` and `LeaseLock`: nobody calls before the time is over, unless a test does with `come_back`."""

    server = "https://one"

    def __init__(self) -> None:
        self._back = anyio.Event()

    def come_back(self) -> None:
        """The server is back after an outage."""
        self._back.set()
        self._back = anyio.Event()

    async def rest(self, seconds: float) -> bool:
        with anyio.move_on_after(seconds):
            await self._back.wait()
            return True
        return False
