"""No task of a process ends unnoticed: what must run for ever takes the process down when it does not.

An exception does that by itself, since all tasks are in one task group. A task that just returns would be missed by nobody; whoever
starts the process again (the kubelet, say) then gives all of them a clean start.
"""

from collections.abc import Awaitable, Callable


class Ended(Exception):
    """A task that must run for ever came to its end; the message names it."""


async def for_ever(name: str, task: Callable[[], Awaitable[None]]) -> None:
    """Runs a task.

    Args:
        name: for the message.
        task: what must not end.

    Raises:
        Ended: it did.
    """
    await task()
    raise Ended(f"{name} came to its end")
