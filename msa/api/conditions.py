"""metav1 conditions, by the rules of KEP-1623: a transition time moves only when the status does."""

from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from msa.api.meta import Condition


def find(stored: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of that type."""
    return next((item for item in stored if item.type == type_), None)


def news(before: Iterable[Condition], after: Iterable[Condition]) -> tuple[Condition, ...]:
    """The conditions of `after` whose status or reason is another than before."""
    stood = {(item.type, item.status, item.reason) for item in before}
    return tuple(item for item in after if (item.type, item.status, item.reason) not in stood)


def merge(stored: tuple[Condition, ...], wanted: Iterable[Condition], now: datetime) -> tuple[Condition, ...]:
    """The stored conditions with ours put in.

    Conditions of other types stay as they are. A condition of ours whose status did not change keeps its transition time.

    Args:
        stored: what the object has.
        wanted: ours; their `last_transition_time` is ignored.
        now: written into those whose status changed, cut to whole seconds as the API stores them.
    """
    merged = {condition.type: condition for condition in stored}
    for condition in wanted:
        old = merged.get(condition.type)
        unchanged = old is not None and old.status == condition.status
        since = old.last_transition_time if old is not None and unchanged else now.replace(microsecond=0)
        merged[condition.type] = replace(condition, last_transition_time=since)
    return tuple(merged.values())
