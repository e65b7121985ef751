"""A transport and an informer of ours against a real API server, with an unruly network between."""

import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import pytest
from prometheus_client import CollectorRegistry

from hack.addon import ensure_namespace
from hack.clusters import Cluster
from msa.api.core import ServiceAccount
from msa.kube.credentials import from_kubeconfig
from msa.kube.resources import Resource, Selection
from msa.kube.transport import Transport
from msa.runtime.informer import Informer
from msa.runtime.metrics import Metrics
from msa.runtime.store import Change
from tests.support.proxy import UnrulyProxy, unruly_proxy

_NAMESPACE = "watched"

# asyncio leaves a socket that is cut while TLS begins to the garbage collector, which closes it and warns of that.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Has such sockets collected as soon as the loop is closed, which knows them until then: not in some later test, which knows nothing of them."""
    yield
    gc.collect()


@pytest.fixture
def proxy(hub: Cluster) -> Iterator[UnrulyProxy]:
    ensure_namespace(hub, _NAMESPACE)
    with unruly_proxy(urlsplit(hub.server).port or 0) as proxy:
        yield proxy


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


Follow = Callable[[], AbstractAsyncContextManager[Informer[ServiceAccount]]]


@pytest.fixture
def follow(hub: Cluster, proxy: UnrulyProxy, registry: CollectorRegistry, tmp_path: Path) -> Follow:
    """Follows the ServiceAccounts of a namespace through the proxy; a stream may be silent for two seconds."""
    kubeconfig = tmp_path / "kubeconfig"
    there = f"https://127.0.0.1:{proxy.port}"
    kubeconfig.write_text(hub.kubeconfig.read_text().replace(hub.server, there))

    @asynccontextmanager
    async def following() -> AsyncIterator[Informer[ServiceAccount]]:
        metrics = Metrics(registry)
        transport = Transport(partial(from_kubeconfig, kubeconfig), metrics, inactivity=2.0)
        await transport.open()
        accounts = Resource(transport, Selection("", "v1", "serviceaccounts", _NAMESPACE), ServiceAccount)
        informer = Informer[ServiceAccount](accounts, Random(1), metrics)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(informer.run)
                await informer.wait_synced()
                yield informer
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await transport.close()

    return following


async def _kubectl(hub: Cluster, *arguments: str) -> None:
    await anyio.to_thread.run_sync(partial(hub.kubectl, "-n", _NAMESPACE, *arguments))


async def _until(informer: Informer[ServiceAccount], *, there: str, gone: str) -> None:
    with anyio.fail_after(30):
        while (
            informer.store.get(f"{_NAMESPACE}/{there}") is None
            or informer.store.get(f"{_NAMESPACE}/{gone}") is not None
        ):
            await anyio.sleep(0.05)


def _lists(registry: CollectorRegistry) -> float:
    return sum(
        registry.get_sample_value("reflector_lists_total", {"resource": "serviceaccounts", "method": method})
        or 0.0
        for method in ("watchlist", "pages")
    )


async def test_a_connection_that_fell_silent_is_given_up_and_followed_on_without_a_new_list(
    hub: Cluster, proxy: UnrulyProxy, follow: Follow, registry: CollectorRegistry
) -> None:
    await _kubectl(hub, "create", "serviceaccount", "before")
    async with follow() as informer:
        await _until(informer, there="before", gone="nobody")
        proxy.silence()
        await _kubectl(hub, "delete", "serviceaccount", "before")
        await _kubectl(hub, "create", "serviceaccount", "after")
        await _until(informer, there="after", gone="before")
    assert _lists(registry) == 1
    await _kubectl(hub, "delete", "serviceaccount", "after")


async def test_connections_cut_in_the_middle_of_a_line_are_followed_on_without_a_new_list(
    hub: Cluster, proxy: UnrulyProxy, follow: Follow, registry: CollectorRegistry
) -> None:
    async with follow() as informer:
        proxy.after = 12_000  # so that most get further than the handshake
        proxy.cutting = True
        for number in range(12):
            await _kubectl(hub, "create", "serviceaccount", f"cut-{number}")
            await _kubectl(hub, "annotate", "serviceaccount", f"cut-{number}", f"long={'x' * 5_000}")
            await _kubectl(hub, "delete", "serviceaccount", f"cut-{number}")
        proxy.cutting = False
        await _kubectl(hub, "create", "serviceaccount", "uncut")
        await _until(informer, there="uncut", gone="cut-11")
        assert [item for item in informer.store.values() if "cut-" in item.metadata.name] == []
    assert proxy.cuts >= 3, "connections were cut"
    assert _lists(registry) == 1
    await _kubectl(hub, "delete", "serviceaccount", "uncut")


async def test_a_deletion_that_fell_out_of_the_history_is_told_with_the_last_known_state(
    hub: Cluster, proxy: UnrulyProxy, follow: Follow, registry: CollectorRegistry
) -> None:
    await _kubectl(hub, "create", "serviceaccount", "lost")
    async with follow() as informer:
        await _until(informer, there="lost", gone="nobody")
        told: list[Change[ServiceAccount]] = []
        informer.subscribe(told.append)
        proxy.refusing = True
        proxy.cut_all()
        await _kubectl(hub, "delete", "serviceaccount", "lost")
        await _kubectl(hub, "create", "serviceaccount", "found")
        # Not in a thread: a child is told to die with the very thread that started it.
        hub.stop_apiserver()
        hub.compact()
        hub.start_apiserver()
        proxy.refusing = False
        await _until(informer, there="found", gone="lost")
    gone = [change for change in told if change.new is None]
    assert [change.key for change in gone] == [f"{_NAMESPACE}/lost"]
    assert gone[0].missed
    assert gone[0].old is not None
    assert _lists(registry) == 2
    expired = {"resource": "serviceaccounts", "reason": "Expired"}
    assert (registry.get_sample_value("msa_watch_errors_total", expired) or 0) >= 1
