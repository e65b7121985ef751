"""A real Prometheus, from Debian's package that `make promtool` unpacks."""

import json
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from attrs import frozen

from hack.clusters import free_ports
from hack.processes import Process, wait_until

_FROM_MAKE: Final = Path(__file__).parents[2] / "build/prometheus/usr/bin"
_PATIENCE: Final = 15.0


def tool(name: str) -> str:
    """The path of prometheus or promtool; without it the test is skipped, but in CI that is a failure."""
    found = shutil.which(name) or shutil.which(_FROM_MAKE / name)
    if found is None and not os.environ.get("CI_RUN"):
        pytest.skip(f"no {name} here: make promtool")
    assert found is not None, "CI runs make promtool first"
    return found


@frozen
class Prometheus:
    """One server, its configuration and its data in a folder."""

    folder: Path
    port: int

    @property
    def process(self) -> Process:
        return Process("prometheus", self.folder)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/-/ready", timeout=5):  # noqa: S310 - ours, on loopback
                return True
        except (OSError, urllib.error.URLError):
            return False

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API; a query that it cannot read is an HTTPError."""
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - ours, on loopback
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[Any]:
        """The samples of an instant vector."""
        data = self.get("query", query=expression)
        assert data["resultType"] == "vector", expression
        samples: list[Any] = data["result"]
        return samples

    def targets(self) -> dict[str, str]:
        """Health by job."""
        return {target["labels"]["job"]: target["health"] for target in self.get("targets")["activeTargets"]}


@frozen
class Target:
    """What is scraped, on loopback."""

    port: int
    path: str = "/metrics"


@contextmanager
def scraping(folder: Path, jobs: Mapping[str, Target], rules: Path) -> Iterator[Prometheus]:
    """A server that scrapes these every second, by the name of the job."""
    (port,) = free_ports(1)
    server = Prometheus(folder, port)
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {
                "job_name": job,
                "metrics_path": target.path,
                "static_configs": [{"targets": [f"127.0.0.1:{target.port}"]}],
            }
            for job, target in jobs.items()
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    server.process.start(
        [
            tool("prometheus"),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        die_with_parent=True,
    )
    try:
        assert wait_until(server.ready, _PATIENCE), server.process.log.read_text()[-2000:]
        yield server
    finally:
        server.process.stop()
