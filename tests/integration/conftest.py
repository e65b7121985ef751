"""Real API servers for everything in this folder: one hub and one managed cluster, started once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hack.addon import Addon, install_crd
from hack.clusters import Cluster, free_ports, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clusters")


@pytest.fixture(scope="session")
def hub(home: Path) -> Iterator[Cluster]:
    with running("hub", home) as cluster:
        install_crd(cluster)
        yield cluster


@pytest.fixture(scope="session")
def managed(home: Path) -> Iterator[Cluster]:
    with running("managed", home) as cluster:
        yield cluster


StartAddon = Callable[..., Addon]


@pytest.fixture
def start_addon(hub: Cluster, managed: Cluster, request: pytest.FixtureRequest) -> Iterator[StartAddon]:
    """Starts an agent in namespaces of its own; it is stopped after the test."""
    started: list[Addon] = []

    def start(name: str, *flags: str) -> Addon:
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
        addon.start()
        started.append(addon)
        return addon

    yield start
    for addon in started:
        addon.stop()


@pytest.fixture(scope="module")
def addon(hub: Cluster, managed: Cluster) -> Iterator[Addon]:
    """One agent for a module whose tests use names of their own."""
    health, metrics = free_ports(2)
    addon = Addon(
        hub,
        managed,
        "shared",
        "shared-install",
        flags=("--log-level=debug",),
        health_port=health,
        metrics_port=metrics,
    )
    addon.install()
    addon.start()
    yield addon
    addon.stop()
