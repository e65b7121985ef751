"""What administrators configure, and what becomes of the agent's pods."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hack.processes import wait_until
from msa.api import names
from tests.e2e.site import PATIENCE, Site
from tests.support.identities import create, token, wait_ready

_REGISTRIES = "open-cluster-management.io/image-registries"
_TOLERATION = {"key": "dedicated", "operator": "Equal", "value": "infra", "effect": "NoSchedule"}


def _pod_spec(site: Site) -> dict[str, Any]:
    deployment = site.agent()
    assert deployment is not None
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def _image(site: Site) -> str:
    return str(_pod_spec(site)["containers"][0]["image"])


@pytest.fixture
def configured(installed: Site) -> Iterator[Site]:
    """Pods for nodes of Linux alone, with a toleration."""
    reference = {"name": "e2e", "namespace": installed.cluster_name}
    body = {
        "apiVersion": "addon.open-cluster-management.io/v1alpha1",
        "kind": "AddOnDeploymentConfig",
        "metadata": reference,
        "spec": {
            "nodePlacement": {"nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": [_TOLERATION]}
        },
    }
    installed.hub.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    kind = {"group": "addon.open-cluster-management.io", "resource": "addondeploymentconfigs"}
    _configure(installed, [{**kind, **reference}])
    yield installed
    _configure(installed, [])
    assert wait_until(lambda: "nodeSelector" not in _pod_spec(installed), PATIENCE)
    installed.wait_agent()


def _configure(site: Site, configs: list[dict[str, str]]) -> None:
    site.hub.kubectl(
        *("patch", "managedclusteraddon", names.ADDON, "-n", site.cluster_name),
        *("--type=merge", "-p", json.dumps({"spec": {"configs": configs}})),
    )


def test_pods_go_where_a_configuration_sends_them(configured: Site) -> None:
    assert wait_until(
        lambda: _pod_spec(configured).get("nodeSelector") == {"kubernetes.io/os": "linux"}, PATIENCE
    )
    assert _TOLERATION in _pod_spec(configured)["tolerations"]
    configured.wait_agent()
    create(configured, "configured")
    wait_ready(configured, "configured", PATIENCE)


def test_the_image_comes_from_the_clusters_registry_and_back(installed: Site) -> None:
    source = installed.image.rpartition("/")[0]
    registries = json.dumps({"registries": [{"source": source, "mirror": installed.mirror}]})
    mirrored = installed.mirror + installed.image.removeprefix(source)
    create(installed, "mirrored")
    wait_ready(installed, "mirrored")
    before = token(installed, "mirrored")
    for annotation, image in (f"={registries}", mirrored), ("-", installed.image):
        installed.hub.kubectl(
            *("annotate", "--overwrite", f"managedcluster/{installed.cluster_name}", _REGISTRIES + annotation)
        )
        assert wait_until(lambda image=image: _image(installed) == image, PATIENCE), _image(installed)  # type: ignore[misc]  # mypy cannot infer a default's type
        installed.wait_agent()
    assert token(installed, "mirrored") == before
