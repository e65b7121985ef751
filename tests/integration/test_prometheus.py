"""A real Prometheus scrapes a real agent and a real manager: are the alerts' and the dashboard's queries answered, and quiet?"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from attrs import frozen

from hack import dashboard
from hack.addon import Addon
from hack.charts import Release
from hack.clusters import Cluster, running
from hack.ocm.fleet import Fleet
from hack.processes import wait_until
from msa.api import names
from tests.integration.conftest import InstallAddon
from tests.support.identities import create, patch, sample, wait_ready, wait_refused
from tests.support.manager import Membership, Replica
from tests.support.prometheus import Prometheus, Target, scraping
from tests.support.proxy import UnrulyProxy, redirect, unruly_proxy

_RULES = Path(__file__).parents[2] / "manifests/monitoring/alerts.yaml"
_MANAGER_JOB = "managed-serviceaccount-addon-manager-metrics"
_AGENT_JOB = "managed-serviceaccount-addon-agent-metrics"
_PATIENCE = 15.0
_ALWAYS_ON_THE_HUB = ("MsaAgentNotInstalled",)
"""Nobody deploys the agent on the cluster that the manager is shown here, so it waits for one."""


@frozen
class _Scraped:
    """An agent with a proxy to each side."""

    addon: Addon
    to_hub: UnrulyProxy
    to_managed: UnrulyProxy


@pytest.fixture(scope="module")
def scraped(hub: Cluster, managed: Cluster, install_shared: InstallAddon) -> Iterator[_Scraped]:
    kubeconfig = managed.folder / "prometheus.kubeconfig"
    addon = install_shared("prometheus", "--leader-elect", f"--spoke-kubeconfig={kubeconfig}")
    with (
        unruly_proxy(urlsplit(hub.server).port or 0) as to_hub,
        unruly_proxy(urlsplit(managed.server).port or 0) as to_managed,
    ):
        redirect(addon.hub_kubeconfig, to_hub.port, to=addon.hub_kubeconfig)
        redirect(managed.folder / "msa-agent.kubeconfig", to_managed.port, to=kubeconfig)
        addon.start()
        yield _Scraped(addon, to_hub, to_managed)
        addon.stop()


@pytest.fixture(scope="module")
def agent(scraped: _Scraped) -> Addon:
    return scraped.addon


@pytest.fixture(scope="module")
def ocm(home: Path) -> Iterator[Fleet]:
    """A hub of its own: on the shared one other tests leave clusters that are not well."""
    with running("scraped", home) as hub:
        fleet = Fleet(hub)
        fleet.install()
        Release(hub).install()
        fleet.start()
        yield fleet
        fleet.stop()


@pytest.fixture(scope="module")
def manager(ocm: Fleet) -> Iterator[Replica]:
    replica = Replica(ocm.hub, "prometheus", ("--leader-elect",))
    replica.start()
    replica.wait_ready()
    yield replica
    replica.stop()


@pytest.fixture(scope="module")
def prometheus(
    agent: Addon, manager: Replica, ocm: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """It has seen an identity and a cluster come."""
    jobs = {_MANAGER_JOB: Target(manager.ports[1]), _AGENT_JOB: Target(agent.metrics_port)}
    with scraping(tmp_path_factory.mktemp("prometheus"), jobs, _RULES) as server:
        assert wait_until(lambda: server.targets() == dict.fromkeys(jobs, "up"), _PATIENCE), server.get(
            "targets"
        )
        cluster = Membership(ocm, "scraped")
        cluster.accept()
        create(agent, "scraped")
        cluster.wait_installed()
        wait_ready(agent, "scraped")
        yield server


def _alerts() -> dict[str, str]:
    """Expressions by the name of the alert."""
    groups = yaml.safe_load(_RULES.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def _queries() -> list[Any]:
    """Those of the dashboard, as Grafana would send them."""
    panels = chain.from_iterable(dashboard.rows().values())
    return [
        pytest.param(
            query.expr.replace("$cluster", ".*").replace("$__rate_interval", "30s"),
            query.in_trouble,
            id=f"{panel.title}: {query.legend}",
        )
        for panel in panels
        for query in panel.queries
    ]


def test_the_rules_are_loaded_and_evaluated_without_an_error(prometheus: Prometheus) -> None:
    def rules() -> list[Any]:
        return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]

    assert wait_until(lambda: all(rule["health"] == "ok" for rule in rules()), _PATIENCE), rules()
    assert {rule["name"] for rule in rules()} == set(_alerts())


@pytest.mark.parametrize(("query", "in_trouble"), _queries())
def test_a_query_of_the_dashboard_is_answered(
    prometheus: Prometheus, query: str, *, in_trouble: bool
) -> None:
    """What only trouble brings is at least understood, as a vector; another test brings some."""
    assert wait_until(lambda: bool(prometheus.query(query)) or in_trouble, _PATIENCE), query


@pytest.mark.parametrize("alert", [name for name in _alerts() if name not in _ALWAYS_ON_THE_HUB])
def test_no_alert_is_on_its_way_while_all_is_well(prometheus: Prometheus, alert: str) -> None:
    assert wait_until(lambda: prometheus.query(_alerts()[alert]) == [], _PATIENCE), prometheus.query(
        _alerts()[alert]
    )


def test_a_cluster_that_waits_for_its_agent_is_seen_by_the_alert(prometheus: Prometheus) -> None:
    found = prometheus.query(_alerts()["MsaAgentNotInstalled"])
    assert [sample["metric"]["state"] for sample in found] == ["deploying"]


def test_an_identity_that_is_refused_is_seen_by_the_alert(prometheus: Prometheus, agent: Addon) -> None:
    create(agent, names.AGENT_SERVICE_ACCOUNT)
    wait_refused(agent, names.AGENT_SERVICE_ACCOUNT, "ReservedName")
    expression = _alerts()["MsaIdentityNotReady"]
    assert wait_until(lambda: [found["value"][1] for found in prometheus.query(expression)] == ["1"], 15)


def test_what_only_trouble_brings_is_answered_once_there_was_some(
    prometheus: Prometheus, scraped: _Scraped, ocm: Fleet
) -> None:
    """A Secret without our label, a managed cluster out of reach when a token is wanted, and API servers that go away."""
    addon = scraped.addon
    patch(addon, "secret", "scraped", {"metadata": {"labels": {names.LABEL_MANAGED: None}}})
    assert wait_until(lambda: sample(addon, "msa_repairs_total") > 0, _PATIENCE)
    scraped.to_managed.refusing = True
    scraped.to_managed.cut_all()
    addon.hub.kubectl("delete", "secret", "scraped", "-n", addon.cluster_name)
    wait_refused(addon, "scraped", "ManagedClusterUnreachable")
    scraped.to_managed.refusing = False
    scraped.to_hub.cut_all()
    ocm.hub.stop_apiserver()
    ocm.hub.start_apiserver()
    for parameters in _queries():
        query, in_trouble = parameters.values
        assert not in_trouble or wait_until(lambda query=query: bool(prometheus.query(query)), 30), query  # type: ignore[misc]  # mypy cannot infer a default's type


def test_an_agent_and_a_manager_that_are_gone_are_seen_by_the_alerts(
    prometheus: Prometheus, agent: Addon, manager: Replica
) -> None:
    agent.stop()
    manager.stop()
    for alert in ("MsaAgentAbsent", "MsaManagerAbsent"):
        expression = _alerts()[alert]
        assert wait_until(lambda expression=expression: bool(prometheus.query(expression)), _PATIENCE), alert  # type: ignore[misc]  # mypy cannot infer a default's type
