"""What the benchmarks read off a running agent and off the API servers that it talks to."""

import os
import re
from collections import Counter
from pathlib import Path

from attrs import frozen

from hack.addon import Addon

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
        """Writes that both API servers have served, by verb and resource, as they count them themselves."""
        found: Counter[str] = Counter()
        for cluster in (self.addon.hub, self.addon.managed):
            for labels, value in _SERVED.findall(cluster.kubectl("get", "--raw", "/metrics")):
                series = dict(_LABEL.findall(labels))
                if series["verb"] in _WRITES and series["resource"] in _RESOURCES:
                    what = "/".join(filter(None, (series["resource"], series["subresource"])))
                    found[f"{series['verb']} {what}"] += int(float(value))
        return found

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
        fields = Path(f"/proc/{self.addon.process.pid()}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def rss_mb(self) -> float:
        return self._memory("VmRSS")

    def peak_rss_mb(self) -> float:
        return self._memory("VmHWM")

    def _memory(self, what: str) -> float:
        found = re.search(
            rf"{what}:\s+(\d+) kB", Path(f"/proc/{self.addon.process.pid()}/status").read_text()
        )
        assert found is not None  # noqa: S101 - Linux always says
        return int(found[1]) / 1024


def total(text: str, pattern: str) -> float:
    """The sum of the series of a scrape that match."""
    return sum(float(value) for value in re.findall(rf"^{pattern} ([0-9.e+]+)$", text, re.MULTILINE))
