"""What tests do with identities, as a user would: through kubectl."""

import json
from base64 import b64decode
from typing import Any

from hack.addon import Addon
from hack.clusters import Cluster
from hack.processes import wait_until
from msa.api import names

PATIENCE = 15.0


def create(
    addon: Addon, name: str, *, validity: str = "", audiences: tuple[str, ...] = (), ttl: int | None = None
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


def get(cluster: Cluster, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
    text = cluster.kubectl("get", kind, "-n", namespace, name, "--ignore-not-found", "-o", "json")
    return json.loads(text) if text else None


def identity(addon: Addon, name: str) -> dict[str, Any] | None:
    return get(
        addon.hub,
        "managedserviceaccounts.v1beta1.authentication.open-cluster-management.io",
        addon.cluster_name,
        name,
    )


def secret(addon: Addon, name: str) -> dict[str, Any] | None:
    return get(addon.hub, "secret", addon.cluster_name, name)


def account(addon: Addon, name: str) -> dict[str, Any] | None:
    return get(addon.managed, "serviceaccount", addon.install_namespace, name)


def token(addon: Addon, name: str) -> str:
    """The token in the Secret, "" while there is none."""
    found = secret(addon, name)
    return b64decode(found.get("data", {}).get("token", "")).decode() if found else ""


def condition(addon: Addon, name: str, type_: str = "Ready") -> dict[str, Any]:
    """The condition, {} while there is none."""
    found = identity(addon, name)
    conditions = found.get("status", {}).get("conditions", []) if found else []
    return next((condition for condition in conditions if condition["type"] == type_), {})


def wait_ready(addon: Addon, name: str) -> None:
    generation = (identity(addon, name) or {})["metadata"]["generation"]

    def ready() -> bool:
        found = condition(addon, name)
        return found.get("status") == "True" and found["observedGeneration"] == generation

    assert wait_until(ready, PATIENCE, 0.1), condition(addon, name)


def wait_refused(addon: Addon, name: str, reason: str) -> str:
    """The message of the refusal."""
    assert wait_until(lambda: condition(addon, name).get("reason") == reason, PATIENCE, 0.1), condition(
        addon, name
    )
    return str(condition(addon, name)["message"])


def wait_new_token(addon: Addon, name: str, before: str) -> str:
    assert wait_until(lambda: token(addon, name) not in ("", before), PATIENCE, 0.1), (
        "the token is still the old one, or none"
    )
    return token(addon, name)
