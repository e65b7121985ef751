"""What is on a cluster, object by object, and what of it somebody left behind."""

import re
from typing import Final

from hack.clusters import Cluster

_AGING: Final = ("events", "events.events.k8s.io")
"""Kinds that come all the time and go by themselves."""
_LINES: Final = (
    "jsonpath={range .items[*]}{.apiVersion} {.kind} {.metadata.namespace}/{.metadata.name}{'\\n'}{end}"
)

Excuses = dict[str, str]
"""For objects that stay on purpose: a pattern of their lines in the inventory, and why."""


def inventory(cluster: Cluster) -> frozenset[str]:
    """All objects of all kinds that the API server lists, as `group/version Kind namespace/name`."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", "--output=name").split()
    chosen = ",".join(kind for kind in kinds if kind not in _AGING)
    return frozenset(cluster.kubectl("get", chosen, "-A", f"--output={_LINES}").splitlines())


def left_behind(before: frozenset[str], after: frozenset[str], excuses: Excuses) -> list[str]:
    """What came and should have gone again."""
    return [line for line in sorted(after - before) if not _why_it_stays(line, excuses)]


def staying(before: frozenset[str], after: frozenset[str], excuses: Excuses) -> dict[str, list[str]]:
    """What came and stays on purpose, by reason."""
    reasons: dict[str, list[str]] = {}
    for line in sorted(after - before):
        if why := _why_it_stays(line, excuses):
            reasons.setdefault(why, []).append(line)
    return reasons


def _why_it_stays(line: str, excuses: Excuses) -> str:
    return next((why for pattern, why in excuses.items() if re.fullmatch(pattern, line)), "")
