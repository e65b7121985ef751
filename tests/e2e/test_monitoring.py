"""A real Prometheus scrapes manager and agent through their Services."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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

_Ask = Callable[[Site, int, str], str]
"""What a port and a path of a program's pod answer."""


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


def test_neither_is_missed_at_any_scrape(prometheus: Prometheus) -> None:
    always_up = "min_over_time(up[10s]) == 1 and count_over_time(up[10s]) > 8"
    assert wait_until(lambda: len(prometheus.query(always_up)) == 2, PATIENCE), prometheus.get(
        "query", query="up[10s]"
    )


def test_no_alert_is_on_its_way_and_every_rule_can_be_evaluated(prometheus: Prometheus) -> None:
    """Most would fire only after minutes, so those that are pending count, too."""

    def rules() -> list[Any]:
        return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]

    assert rules()
    assert wait_until(lambda: all(rule["health"] == "ok" for rule in rules()), PATIENCE), rules()
    assert wait_until(lambda: prometheus.get("alerts")["alerts"] == [], PATIENCE), prometheus.get("alerts")


def _ask_manager(site: Site, port: int, path: str) -> str:
    (pod,) = site.manager_pods()
    return _ask(site.hub, pod, port, path)


def _ask_agent(site: Site, port: int, path: str) -> str:
    (pod,) = site.agent_pods()
    return _ask(site.managed, pod, port, path)


def _ask(cluster: Kubeconfig, pod: dict[str, Any], port: int, path: str) -> str:
    """What a pod's port answers, or kubectl's complaint."""
    found = pod["metadata"]
    where = f"/api/v1/namespaces/{found['namespace']}/pods/{found['name']}:{port}/proxy{path}"
    return cluster.kubectl("get", f"--raw={where}", check=False)


@pytest.mark.parametrize("path", ["/", "/healthz", "/livez", "/readyz", "/debug/pprof/"])
@pytest.mark.parametrize("ask", [_ask_manager, _ask_agent])
def test_the_port_for_metrics_serves_nothing_else(installed: Site, ask: _Ask, path: str) -> None:
    assert "# HELP" in ask(installed, 38080, "/metrics")
    said = ask(installed, 38080, path)
    assert "could not find the requested resource" in said, said


@pytest.mark.parametrize(("ask", "port"), [(_ask_manager, 38081), (_ask_agent, 8000)])
def test_the_port_for_probes_serves_no_metrics(installed: Site, ask: _Ask, port: int) -> None:
    assert ask(installed, port, "/healthz").strip() == "ok"
    said = ask(installed, port, "/metrics")
    assert "could not find the requested resource" in said, said


def test_the_dashboard_can_be_drawn_from_its_answers(prometheus: Prometheus) -> None:
    """For people to look at: build/e2e/dashboard.svg."""
    drawn = dashboard_picture.draw(prometheus.address, seconds=60)
    assert drawn.count("<polyline") >= 5
    _PICTURE.parent.mkdir(parents=True, exist_ok=True)
    _PICTURE.write_text(drawn)
