"""The kubeconfig that OCM puts into an addon agent's Secret: the hub's address, and credentials in the files beside it."""

from base64 import b64encode
from pathlib import Path

import yaml

from hack.ocm.api import Body


def with_certificate(own: Path) -> str:
    """From the cluster's own kubeconfig for the hub."""
    return _kubeconfig(own, {"client-certificate": "tls.crt", "client-key": "tls.key"})


def with_token(own: Path) -> str:
    return _kubeconfig(own, {"tokenFile": "token"})


def _kubeconfig(own: Path, user: Body) -> str:
    config = yaml.safe_load(own.read_text())
    context = {"cluster": "hub", "user": "default-auth", "namespace": "configuration"}
    made = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "hub", "cluster": config["clusters"][0]["cluster"]}],
        "users": [{"name": "default-auth", "user": user}],
        "contexts": [{"name": "default-context", "context": context}],
        "current-context": "default-context",
    }
    return b64encode(yaml.safe_dump(made, sort_keys=False).encode()).decode()
