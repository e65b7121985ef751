"""A hub for the chart: a control plane with OCM's kinds and nothing of ours."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from hack.clusters import Cluster, running
from hack.kubectl import Kubectl
from msa.api import names

_OCM = Path(__file__).parents[2] / "hack/ocm/crds"


@contextmanager
def bare_hub(name: str, home: Path, *flags: str) -> Iterator[Cluster]:
    """With more flags for its API server."""
    with running(name, home, extra=flags) as cluster:
        cluster.kubectl("apply", "--server-side", "-f", str(_OCM))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield cluster


def get(hub: Kubectl, *what: str) -> Any:
    return json.loads(hub.kubectl("get", *what, "-o", "json"))


def apply(hub: Kubectl, *objects: dict[str, Any]) -> None:
    hub.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))


def body(api: str, kind: str, name: str, namespace: str = "", **content: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **content}


def forget(hub: Kubectl) -> None:
    """What a release leaves on the hub, so that the next test finds none of it."""
    hub.kubectl(
        "delete",
        "managedclustersetbinding,placement",
        "global",
        "-n",
        names.HUB_NAMESPACE,
        "--ignore-not-found",
    )
    hub.kubectl("delete", "managedclusteraddon", "-A", "--all")
    hub.kubectl("delete", f"crd/{names.PLURAL}.{names.GROUP}", "--ignore-not-found")
