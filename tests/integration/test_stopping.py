"""How the agent ends: when it is told to, and when it cannot start."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from hack.addon import Addon
from hack.processes import wait_until
from tests.integration.conftest import InstallAddon
from tests.support.identities import PATIENCE, create, secret
from tests.support.proxy import UnrulyProxy, redirect, unruly_proxy

Agent = subprocess.Popen[bytes]
Held = tuple[Addon, UnrulyProxy, Agent]


@pytest.fixture
def run_agent() -> Iterator[Callable[[Addon], Agent]]:
    """Starts an agent as our own child, so that its exit code can be seen; its log is where all agents' are."""
    children: list[Agent] = []

    def run(addon: Addon) -> Agent:
        with addon.process.log.open("ab") as log:
            children.append(subprocess.Popen(addon.command(), stdout=log, stderr=log))
        return children[-1]

    yield run
    for child in children:
        child.kill()
        child.wait()


@pytest.fixture
def held(install_addon: InstallAddon, run_agent: Callable[[Addon], Agent], tmp_path: Path) -> Iterator[Held]:
    """An agent whose writing of a Secret does not get through to the hub."""
    addon = install_addon(tmp_path.name.replace("_", "-"))
    with unruly_proxy(urlsplit(addon.hub.server).port or 0) as proxy:
        redirect(addon.hub_kubeconfig, proxy.port, to=addon.hub_kubeconfig)
        agent = run_agent(addon)
        assert wait_until(addon.ready, PATIENCE)
        proxy.hold()
        create(addon, "one")
        assert wait_until(lambda: proxy.held > 0, PATIENCE)
        yield addon, proxy, agent


def test_sigterm_ends_an_idle_agent_at_once(
    install_addon: InstallAddon, run_agent: Callable[[Addon], Agent]
) -> None:
    addon = install_addon("polite")
    agent = run_agent(addon)
    assert wait_until(addon.ready, PATIENCE)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(timeout=3) == 0


def test_a_write_under_way_is_finished_before_the_agent_ends(held: Held) -> None:
    addon, proxy, agent = held
    agent.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        agent.wait(timeout=1)
    proxy.release()
    assert agent.wait(timeout=5) == 0
    assert secret(addon, "one") is not None


def test_a_write_that_does_not_get_through_is_given_up_in_time_for_the_kubelet(held: Held) -> None:
    """Who would kill it, tokens and all, after the 10 s that its pod may take."""
    addon, _, agent = held
    start = time.monotonic()
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(timeout=10) == 0
    assert time.monotonic() - start > 5, "it was given its time"
    assert secret(addon, "one") is None


def test_a_second_signal_ends_the_agent_at_once_and_not_as_if_all_were_well(held: Held) -> None:
    addon, _, agent = held
    agent.send_signal(signal.SIGTERM)
    assert wait_until(lambda: '"stopping"' in addon.process.log.read_text(), 3)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(timeout=1) == 128 + signal.SIGTERM


def test_without_token_requests_on_the_managed_cluster_the_agent_says_so_in_one_line(
    install_addon: InstallAddon, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    addon = install_addon("ancient", f"--spoke-kubeconfig={kubeconfig}")
    served = json.loads(addon.managed.kubectl("get", "--raw", "/api/v1"))
    served["resources"] = [
        resource for resource in served["resources"] if resource["name"] != "serviceaccounts/token"
    ]
    with _answering(json.dumps(served).encode()) as port:
        kubeconfig.write_text(_anonymous(f"http://127.0.0.1:{port}"))
        agent = subprocess.run(addon.command(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert agent.returncode == 1
    *logged, said = agent.stderr.splitlines()
    assert said == (
        "msa agent: the managed cluster does not serve serviceaccounts/token: Kubernetes 1.22 or later is needed there"
    )
    assert [json.loads(line)["event"] for line in logged] == ["starting", "request"]


@contextmanager
def _answering(body: bytes) -> Iterator[int]:
    """A server that answers every GET with the same JSON; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Not on our stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def _anonymous(server: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "only",
            "contexts": [{"name": "only", "context": {"cluster": "only", "user": "only"}}],
            "clusters": [{"name": "only", "cluster": {"server": server}}],
            "users": [{"name": "only", "user": {}}],
        }
    )
