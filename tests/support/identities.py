"""What tests do with identities, as a user would: through kubectl."""

import json
import time
from base64 import b64decode
from collections.abc import Callable
from typing import Any, Protocol

from prometheus_client.parser import text_string_to_metric_families

from hack.addon import Addon
from hack.kubectl import Kubectl
from hack.processes import wait_until
from msa.api import names

PATIENCE = 15.0

REPAIR_SECONDS = 5.0
"""Within which what somebody altered is right again."""

SETTLING_SECONDS = 3.0
"""How long the agent waits for somebody who alters a Secret to finish."""


class Pair(Protocol):
    """A hub and one of its managed clusters, with our addon between them."""

    @property
    def hub(self) -> Kubectl: ...
    @property
    def managed(self) -> Kubectl: ...
    @property
    def cluster_name(self) -> str: ...
    @property
    def install_namespace(self) -> str: ...


def create(
    addon: Pair, name: str, *, validity: str = "", audiences: tuple[str, ...] = (), ttl: int | None = None
) -> None:
    spec: dict[str, Any] = {"rotation": {"validity": validity} if validity else {}}
    if audiences:
        spec["audiences"] = list(audiences)
    if ttl is not None:
        spec["ttlSecondsAfterCreation"] = ttl
    body = {
        "apiVersion": f"{names.GROUP}/{names.STORAGE_VERSION}",
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": addon.cluster_name},
        "spec": spec,
    }
    addon.hub.kubectl("create", "-f", "-", stdin=json.dumps(body))


def get(cluster: Kubectl, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
    text = cluster.kubectl("get", kind, "-n", namespace, name, "--ignore-not-found", "-o", "json")
    return json.loads(text) if text else None


def identity(addon: Pair, name: str) -> dict[str, Any] | None:
    return get(
        addon.hub,
        "managedserviceaccounts.v1beta1.authentication.open-cluster-management.io",
        addon.cluster_name,
        name,
    )


def secret(addon: Pair, name: str) -> dict[str, Any] | None:
    return get(addon.hub, "secret", addon.cluster_name, name)


def account(addon: Pair, name: str) -> dict[str, Any] | None:
    return get(addon.managed, "serviceaccount", addon.install_namespace, name)


def token(addon: Pair, name: str) -> str:
    """The token in the Secret, "" while there is none."""
    found = secret(addon, name)
    return b64decode(found.get("data", {}).get("token", "")).decode() if found else ""


def condition(addon: Pair, name: str, type_: str = "Ready") -> dict[str, Any]:
    """The condition, {} while there is none."""
    found = identity(addon, name)
    conditions = found.get("status", {}).get("conditions", []) if found else []
    return next((condition for condition in conditions if condition["type"] == type_), {})


def patch(addon: Pair, kind: str, name: str, body: object, *flags: str) -> None:
    """A merge patch of something in the cluster's namespace on the hub."""
    addon.hub.kubectl(
        *("patch", kind, "-n", addon.cluster_name, name, "--type=merge", "-p", json.dumps(body), *flags)
    )


def events(addon: Pair, name: str) -> list[tuple[str, str, str]]:
    """Type, reason and message of the Events about an identity."""
    about = f"involvedObject.kind={names.KIND},involvedObject.name={name}"
    text = addon.hub.kubectl(
        "get", "events", "-n", addon.cluster_name, f"--field-selector={about}", "-o", "json"
    )
    return [(event["type"], event["reason"], event["message"]) for event in json.loads(text)["items"]]


def sample(addon: Addon, name: str, **labels: str) -> float:
    """The sum of the samples of that name that have these labels."""
    return sum(
        found.value
        for family in text_string_to_metric_families(addon.metrics())
        for found in family.samples
        if found.name == name and labels.items() <= found.labels.items()
    )


def wait_ready(addon: Pair, name: str, patience: float = PATIENCE) -> None:
    generation = (identity(addon, name) or {})["metadata"]["generation"]

    def ready() -> bool:
        found = condition(addon, name)
        return found.get("status") == "True" and found["observedGeneration"] == generation

    assert wait_until(ready, patience, 0.1), condition(addon, name)


def wait_refused(addon: Pair, name: str, reason: str) -> str:
    """The message of the refusal."""
    assert wait_until(lambda: condition(addon, name).get("reason") == reason, PATIENCE, 0.1), condition(
        addon, name
    )
    return str(condition(addon, name)["message"])


def wait_new_token(addon: Pair, name: str, before: str) -> str:
    assert wait_until(lambda: token(addon, name) not in ("", before), PATIENCE, 0.1), (
        "the token is still the old one, or none"
    )
    return token(addon, name)


def wait_repaired(alter: Callable[[], object], repaired: Callable[[], bool]) -> None:
    """Alters something and waits until it is right again; the time counts from before the alteration."""
    patience = SETTLING_SECONDS + REPAIR_SECONDS
    deadline = time.monotonic() + patience
    alter()
    assert wait_until(repaired, deadline - time.monotonic(), 0.1), f"not repaired within {patience} s"
