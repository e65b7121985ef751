"""Real API servers for everything in this folder: one hub and one managed cluster, started once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from hack.addon import Addon, install_crd
from hack.charts import Release
from hack.clusters import Cluster, free_ports, running
from hack.ocm.fleet import Fleet
from tests.integration.audit import Audit
from tests.integration.leaks import leaks
from tests.support.manager_writes import WriteLog


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clusters")


@pytest.fixture(scope="session")
def audit_logs(home: Path) -> Audit:
    return Audit.in_folder(home)


@pytest.fixture(scope="session")
def hub(home: Path, audit_logs: Audit) -> Iterator[Cluster]:
    with running("hub", home, extra=audit_logs.hub.flags()) as cluster:
        install_crd(cluster)
        yield cluster


@pytest.fixture(scope="session")
def managed(home: Path, audit_logs: Audit) -> Iterator[Cluster]:
    """In the end no log of any agent may hold any token that this cluster ever issued."""
    with running("managed", home, extra=audit_logs.managed.flags()) as cluster:
        yield cluster
        tokens = audit_logs.tokens()
        logs = sorted(cluster.folder.glob("agent-*.log"))
        assert [leak for log in logs for leak in leaks(log, tokens)] == []


@pytest.fixture
def audit(hub: Cluster, managed: Cluster, audit_logs: Audit) -> Audit:
    """What is asked of the two from now on."""
    return audit_logs.from_now()


class InstallAddon(Protocol):
    """Makes an agent with namespaces of its own, on both clusters."""

    def __call__(self, name: str, *flags: str) -> Addon: ...


StartAddon = InstallAddon


def _installed(hub: Cluster, managed: Cluster, name: str, *flags: str) -> Addon:
    health, metrics = free_ports(2)
    addon = Addon(
        hub,
        managed,
        name,
        f"{name}-install",
        flags=("--log-level=debug", *flags),
        health_port=health,
        metrics_port=metrics,
    )
    addon.install()
    return addon


@contextmanager
def _installing(hub: Cluster, managed: Cluster) -> Iterator[InstallAddon]:
    installed: list[Addon] = []

    def install(name: str, *flags: str) -> Addon:
        installed.append(_installed(hub, managed, name, *flags))
        return installed[-1]

    yield install
    for addon in installed:
        addon.stop()


@pytest.fixture
def install_addon(hub: Cluster, managed: Cluster) -> Iterator[InstallAddon]:
    """For the test to start; it is stopped after the test."""
    with _installing(hub, managed) as install:
        yield install


@pytest.fixture(scope="module")
def install_shared(hub: Cluster, managed: Cluster) -> Iterator[InstallAddon]:
    """For a module's fixture to start; it is stopped after the module."""
    with _installing(hub, managed) as install:
        yield install


@pytest.fixture
def start_addon(install_addon: InstallAddon) -> StartAddon:
    """Starts it too."""

    def start(name: str, *flags: str) -> Addon:
        addon = install_addon(name, *flags)
        addon.start()
        return addon

    return start


@pytest.fixture(scope="module")
def addon(install_shared: InstallAddon, request: pytest.FixtureRequest) -> Addon:
    """One agent for a module whose tests use names of their own."""
    addon = install_shared(request.path.stem.removeprefix("test_"))
    addon.start()
    return addon


@pytest.fixture(scope="session")
def write_log(home: Path) -> WriteLog:
    """What managers write on the hub of `ocm`."""
    return WriteLog.at(home / "ocm.audit")


@pytest.fixture(scope="session")
def ocm(home: Path, write_log: WriteLog) -> Iterator[Fleet]:
    """A hub with OCM and the addon's chart; nobody runs the manager there yet."""
    with running("managers", home, extra=write_log.log.flags()) as hub:
        fleet = Fleet(hub)
        fleet.install()
        Release(hub).install("--set=agentImagePullSecret=pull")
        fleet.start()
        yield fleet
        fleet.stop()
