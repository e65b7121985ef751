"""What the benchmarks read off a running agent and off the API servers that it talks to."""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from hack.addon import Addon
from hack.clusters import HOME, Cluster
from hack.processes import Process

_TICKS = os.sysconf("SC_CLK_TCK")
_SERVED = re.compile(r"^apiserver_request_total\{(.*)\} ([0-9.e+]+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_WRITES = ("POST", "PUT", "PATCH", "DELETE")
_RESOURCES = ("serviceaccounts", "secrets", "managedserviceaccounts", "tokenreviews")


@frozen
class Probe:
    """One agent and its two API servers."""

    addon: Addon

    def served(self) -> Counter[str]:
        """Writes that both API servers have served, by verb and resource."""
        return served(self.addon.hub, _RESOURCES) + served(self.addon.managed, _RESOURCES)

    def sent(self) -> float:
        """Writes that the agent says it sent, without its Events: cheaper to ask for than what was served."""
        text = self.addon.metrics()
        writes = total(text, r'rest_client_requests_total\{.*method="(?:POST|PATCH|DELETE)".*\}')
        return writes - total(text, r"msa_events_sent_total")

    def scheduled(self) -> float:
        """Keys that were looked at and have their next time."""
        try:
            return total(
                self.addon.metrics(), r'controller_runtime_reconcile_total\{.*result="requeue_after".*\}'
            )
        except OSError:
            return 0

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.addon.process)

    def rss_mb(self) -> float:
        return rss_mb(self.addon.process)

    def peak_rss_mb(self) -> float:
        return rss_mb(self.addon.process, "VmHWM")


def served(cluster: Cluster, resources: Collection[str]) -> Counter[str]:
    """Writes that an API server has served, by verb and resource, as it counts them itself."""
    found: Counter[str] = Counter()
    for labels, value in _SERVED.findall(cluster.kubectl("get", "--raw", "/metrics")):
        series = dict(_LABEL.findall(labels))
        if series["verb"] in _WRITES and series["resource"] in resources:
            what = "/".join(filter(None, (series["resource"], series["subresource"])))
            found[f"{series['verb']} {what}"] += int(float(value))
    return found


def cpu_seconds(process: Process) -> float:
    """That a process has used so far, the kernel's share included."""
    fields = Path(f"/proc/{process.pid()}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_mb(process: Process, what: str = "VmRSS") -> float:
    """Memory that a process has now, or with `VmHWM` had at most."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{process.pid()}/status").read_text())
    assert found is not None  # noqa: S101 - Linux always says
    return int(found[1]) / 1024


def total(text: str, pattern: str) -> float:
    """The sum of the series of a scrape that match."""
    return sum(float(value) for value in re.findall(rf"^{pattern} ([0-9.e+]+)$", text, re.MULTILINE))


def report(name: str, result: Mapping[str, Any]) -> None:
    """Prints a table, and writes the same as build/NAME.json."""
    file = HOME.parent / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n")
    for key, value in result.items():
        lines = (
            {f"{key}.{part}": item for part, item in value.items()}
            if isinstance(value, dict)
            else {key: value}
        )
        for line, item in lines.items():
            print(f"{line:32} {item}")


def say(line: str) -> None:
    """Progress, beside the table."""
    print(line, file=sys.stderr, flush=True)
