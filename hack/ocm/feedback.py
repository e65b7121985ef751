"""What a ManifestWork wants to know of an applied object: a part of kubectl's JSON paths, and the values as OCM types them. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from hack.ocm.api import Body

_STEP: Final = re.compile(
    r"""\.(?P<field>[A-Za-z0-9_-]+)|\[(?P<index>\d+)\]|\[\?\(@\.(?P<key>[A-Za-z0-9_.-]+)==["'](?P<value>[^"']*)["']\)\]"""
)

WELL_KNOWN: Final = {
    "Deployment": [
        {"name": "ReadyReplicas", "path": ".status.readyReplicas"},
        {"name": "Replicas", "path": ".status.replicas"},
        {"name": "AvailableReplicas", "path": ".status.availableReplicas"},
    ]
}
"""What OCM reports of a kind where no paths are asked for."""


def values(object_: Body, paths: Iterable[Body]) -> tuple[list[Body], list[str]]:
    """The values that are there, and what is wrong with the others."""
    found, problems = [], []
    for item in paths:
        try:
            value = next(iter(select(object_, item["path"])), None)
            if value is not None:
                found.append({"name": item["name"], "fieldValue": _typed(value)})
        except ValueError as error:
            problems.append(f"{item['name']}: {error}")
    return found, problems


def select(object_: Any, path: str) -> Sequence[Any]:
    """What a path leads to: fields, numbers of items, and filters such as `[?(@.type=="Available")]`.

    Raises:
        ValueError: the path has something else in it.
    """
    at, nodes = 0, [object_]
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            raise ValueError(f"failed to parse json path {path} at {path[at:]!r}")
        nodes = [after for node in nodes for after in _follow(node, step)]
        at = step.end()
    return nodes


def _follow(node: Any, step: re.Match[str]) -> Iterable[Any]:
    match node, step["field"], step["index"]:
        case dict(), str() as field, _ if field in node:
            return [node[field]]
        case list(), None, str() as index if int(index) < len(node):
            return [node[int(index)]]
        case list(), None, None:
            return [item for item in node if item.get(step["key"]) == step["value"]]
        case _:
            return []


def _typed(value: Any) -> Body:
    match value:
        case bool():
            return {"type": "Boolean", "boolean": value}
        case int():
            return {"type": "Integer", "integer": value}
        case str():
            return {"type": "String", "string": value}
        case _:
            raise ValueError(f"the type of {value!r} is none that is reported")
