"""A real Prometheus scrapes manager and agent through their Services."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack import dashboard_picture
from hack.clusters import HOME, free_ports
from hack.kubectl import Kubeconfig
from hack.processes import Process, wait_until
from msa.api import names
from tests.e2e.site import PATIENCE, Site
from tests.support.identities import create, wait_ready
from tests.support.prometheus import Prometheus, Target, scraping

_RULES = Path(__file__).parents[2] / "manifests/monitoring/alerts.yaml"
_PICTURE = HOME.parent / "e2e/dashboard.svg"
_MANAGER = "managed-serviceaccount-addon-manager-metrics"
_AGENT = "managed-serviceaccount-addon-agent-metrics"
_OURS = {
    _MANAGER: ("msa_build_info", "msa_addon_clusters", "msa_csr_decisions_total", "msa_watch_age_seconds"),
    _AGENT: (
        "msa_build_info",
        "msa_ready",
        "msa_token_expiration_timestamp_seconds",
        "msa_watch_age_seconds",
    ),
}


@contextlib.contextmanager
def _proxied(cluster: Kubeconfig, folder: Path) -> Iterator[int]:
    """The cluster's API server by plain HTTP on a port of loopback, as the administrator: any kubeconfig will do."""
    (port,) = free_ports(1)
    proxy = Process("kubectl-proxy", folder)
    command = [str(cluster.binary), f"--kubeconfig={cluster.kubeconfig}", "proxy", f"--port={port}"]
    proxy.start(command, die_with_parent=True)
    try:
        yield port
    finally:
        proxy.stop()


@pytest.fixture(scope="module")
def prometheus(installed: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has seen some identities."""
    with (
        _proxied(installed.hub, tmp_path_factory.mktemp("hub")) as hub,
        _proxied(installed.managed, tmp_path_factory.mktemp("managed")) as managed,
    ):
        jobs = {
            _MANAGER: Target(hub, _through_service(names.HUB_NAMESPACE, _MANAGER)),
            _AGENT: Target(managed, _through_service(installed.install_namespace, _AGENT)),
        }
        with scraping(tmp_path_factory.mktemp("prometheus"), jobs, _RULES) as server:
            for name in ("watched-a", "watched-b"):
                create(installed, name, validity="12h")
                wait_ready(installed, name)
            yield server


def _through_service(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/services/{name}:metrics/proxy/metrics"


@pytest.mark.parametrize("job", [_MANAGER, _AGENT])
def test_both_are_scraped_through_their_services(prometheus: Prometheus, job: str) -> None:
    assert wait_until(lambda: prometheus.targets().get(job) == "up", PATIENCE), prometheus.get("targets")
    for series in _OURS[job]:
        assert wait_until(
            lambda series=series: prometheus.query(f'{series}{{job="{job}"}}') != [],  # type: ignore[misc]  # mypy cannot infer a default's type
            PATIENCE,
        ), series


def test_the_expiry_of_each_identity_is_there(prometheus: Prometheus) -> None:
    def left() -> list[float]:
        found = prometheus.query('msa_token_expiration_timestamp_seconds{name=~"watched-.*"} - time()')
        return [float(sample["value"][1]) for sample in found]

    assert wait_until(lambda: len(left()) == 2, PATIENCE)
    assert all(11.9 * 3600 < seconds <= 12 * 3600 for seconds in left())


def test_no_alert_fires_and_every_rule_can_be_evaluated(prometheus: Prometheus) -> None:
    assert wait_until(lambda: prometheus.query("up == 0") == [], PATIENCE)
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert rules
    assert wait_until(
        lambda: all(
            rule["health"] == "ok" for group in prometheus.get("rules")["groups"] for rule in group["rules"]
        ),
        PATIENCE,
    )
    assert [alert for alert in prometheus.get("alerts")["alerts"] if alert["state"] == "firing"] == []


@pytest.mark.parametrize("path", ["/", "/healthz", "/livez", "/readyz", "/debug/pprof/"])
def test_the_port_for_metrics_serves_nothing_else(installed: Site, path: str) -> None:
    (pod,) = installed.agent_pods()
    where = f"/api/v1/namespaces/{installed.install_namespace}/pods/{pod['metadata']['name']}"
    assert "# HELP" in installed.managed.kubectl("get", f"--raw={where}:38080/proxy/metrics")
    said = installed.managed.kubectl("get", f"--raw={where}:38080/proxy{path}", check=False)
    assert "could not find the requested resource" in said or "not found" in said, said
    assert "# HELP" not in installed.managed.kubectl("get", f"--raw={where}:8000/proxy/metrics", check=False)


def test_the_dashboard_can_be_drawn_from_its_answers(prometheus: Prometheus) -> None:
    """For people to look at: build/e2e/dashboard.svg."""
    drawn = dashboard_picture.draw(prometheus.address, seconds=60)
    assert drawn.count("<polyline") >= 5
    _PICTURE.parent.mkdir(parents=True, exist_ok=True)
    _PICTURE.write_text(drawn)
