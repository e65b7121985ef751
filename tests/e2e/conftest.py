"""The addon as users run it: their helm line, pods under the restricted Pod Security Standard, real nodes."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.kubectl import Kubeconfig
from msa.api import names
from tests.e2e.site import Site

_ENFORCED = "pod-security.kubernetes.io/enforce=restricted"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def site() -> Site:
    try:
        site = Site.of(os.environ)
    except ValueError as error:
        pytest.fail(str(error), pytrace=False)
    for cluster, namespace in ((site.hub, names.HUB_NAMESPACE), (site.managed, site.install_namespace)):
        _enforce(cluster, namespace)
    return site


@pytest.fixture(scope="module")
def installed(site: Site) -> Iterator[Site]:
    """By the users' helm line, and available; put back to that for each module. Identities go at its end."""
    if site.release.exists():
        site.release.upgrade("--reset-values", *site.chart_values())
    else:
        site.release.install(*site.chart_values())
    site.wait_manager()
    site.wait_agent()
    site.wait_available()
    yield site
    identities = f"/apis/{names.GROUP}/{names.STORAGE_VERSION}/namespaces/{site.cluster_name}/{names.PLURAL}"
    site.hub.kubectl("delete", f"--raw={identities}")  # in one request: hundreds one by one take minutes


def _enforce(cluster: Kubeconfig, namespace: str) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    cluster.kubectl("label", "--overwrite", f"namespace/{namespace}", _ENFORCED)
