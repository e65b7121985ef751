"""The three answers of a reconciler. There is no other way to ask for another look."""

from typing import NewType, TypeAlias

from attrs import frozen

Key = NewType("Key", str)
"""Name of a unit of work in a queue: `name`, or `namespace/name` where a queue spans namespaces."""


@frozen
class Done:
    """Nothing more to do until something changes."""


@frozen
class RequeueAfter:
    """Look again then, whatever happens meanwhile.

    Attributes:
        seconds: from now; 0 means at once.
    """

    seconds: float


@frozen
class Terminal:
    """Trying again would not help; only a change of the object does.

    Attributes:
        reason: the stable word that the condition, the Event, the log and the metric carry.
    """

    reason: str


Result: TypeAlias = Done | RequeueAfter | Terminal
