"""What the agent costs, beside a raw client in the same run: `python -m hack.bench [--n 1000] [--restart-n 10000]`.

Machines differ by a factor of four, so speed and CPU are ratios to a *raw client*: the plainest aiohttp program that sends the same
requests at its best concurrency, nothing between. Rounds alternate, the median counts, names are fresh. Prints a table and writes
build/bench.json.
"""

import argparse
import asyncio
import json
import os
import re
import ssl
import statistics
import sys
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import aiohttp
from attrs import evolve, frozen

from hack.addon import Addon, ensure_namespace
from hack.bench_runtime import measure_runtime
from hack.clusters import HOME, Cluster, free_ports, running
from hack.processes import wait_until
from msa.api import names

_OUT = HOME.parent / "bench.json"
_CONCURRENCIES = (8, 16, 32, 64)
_ROUNDS = 3
_GROUP = f"/apis/{names.GROUP}/{names.STORAGE_VERSION}/namespaces"
_TICKS = os.sysconf("SC_CLK_TCK")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1000, help="identities per round")
    parser.add_argument("--restart-n", type=int, default=10000, help="tokens at the restart")
    options = parser.parse_args(arguments)
    say("runtime alone")
    runtime = measure_runtime()
    with running("bench-hub") as hub, running("bench-managed") as managed:
        health, metrics = free_ports(2)
        addon = Addon(
            hub, managed, "bench", health_port=health, metrics_port=metrics, flags=("--log-level=warning",)
        )
        addon.install()
        result = {**Bench(addon, options.n).run(options.restart_n), "runtime": runtime}
    _OUT.parent.mkdir(parents=True, exist_ok=True)
    _OUT.write_text(json.dumps(result, indent=2) + "\n")
    for section, values in result.items():
        for name, value in values.items():
            print(f"{section + '.' + name:32} {value}")
    return 0


@frozen
class Raw:
    """The raw client: connections to both planes as admin."""

    hub: aiohttp.ClientSession
    managed: aiohttp.ClientSession
    ca: str

    async def serve(self, namespace: str, install: str, name: str, uid: str) -> None:
        """The four requests of one new identity."""
        labels = {names.LABEL_MANAGED: "true"}
        accounts = f"/api/v1/namespaces/{install}/serviceaccounts"
        marks = {"name": name, "labels": labels, "annotations": {names.ANNOTATION_OWNER_UID: uid}}
        await _send(
            self.managed, "POST", accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": marks}
        )
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 31104000},
        }
        answer = await _send(self.managed, "POST", f"{accounts}/{name}/token", request)
        owner = {
            "apiVersion": f"{names.GROUP}/{names.STORAGE_VERSION}",
            "kind": names.KIND,
            "name": name,
            "uid": uid,
        }
        metadata = {"name": name, "labels": labels, "ownerReferences": [owner]}
        data = {"token": b64encode(answer["status"]["token"].encode()).decode(), "ca.crt": self.ca}
        secret = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data}
        await _send(self.hub, "POST", f"/api/v1/namespaces/{namespace}/secrets", secret)
        expires = answer["status"]["expirationTimestamp"]
        conditions = [
            {
                "type": type_,
                "status": "True",
                "reason": type_,
                "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            for type_ in ("Ready", "TokenReported", "SecretCreated")
        ]
        status = {
            "conditions": conditions,
            "expirationTimestamp": expires,
            "tokenSecretRef": {"name": name, "lastRefreshTimestamp": expires},
        }
        path = f"{_GROUP}/{namespace}/{names.PLURAL}/{name}/status"
        await _send(self.hub, "PATCH", path, {"status": status})


async def _send(session: aiohttp.ClientSession, method: str, path: str, body: Any) -> Any:
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    async with session.request(
        method, path, data=json.dumps(body), headers={"Content-Type": kind}
    ) as response:
        answer = await response.json()
        if response.status >= 300:  # noqa: PLR2004 - HTTP's own boundary
            raise RuntimeError(f"{method} {path}: {answer.get('message')}")
        return answer


@frozen
class Bench:
    """Measures one agent."""

    addon: Addon
    n: int

    def run(self, restart_n: int) -> dict[str, dict[str, Any]]:
        best = self._best_concurrency()
        say(f"the raw client is fastest with {best} at a time")
        self.addon.start()
        wait_until(self.addon.ready, 30)
        time.sleep(2)
        idle = self._rss()
        rounds = []
        for number in range(_ROUNDS):
            raw = asyncio.run(self._raw_round(f"raw{number}", best))
            agent = self._agent_round(f"agent{number}")
            say(
                f"round {number + 1}: raw {raw['seconds']:.2f} s, agent {agent['seconds']:.2f} s for {self.n}"
            )
            rounds.append((raw, agent))
        create = _summary(self.n, rounds)
        peak = self._peak_rss()
        single = self._single()
        rotate = self._rotate()
        after = self._rss()
        restart = self._restart(restart_n)
        self.addon.stop()
        per_msa = (after - idle) * 1024 / (_ROUNDS * self.n)
        return {
            "create": {**create, "single_ratio": single, "concurrency": best},
            "rotate": rotate,
            "restart": restart,
            "rss": {"idle_mb": round(idle, 1), "peak_mb": round(peak, 1), "per_msa_kb": round(per_msa, 2)},
        }

    def _best_concurrency(self) -> int:
        speeds = {}
        for concurrency in _CONCURRENCIES:
            few = evolve(self, n=min(self.n, 300))
            speeds[concurrency] = asyncio.run(few._raw_round(f"warm{concurrency}", concurrency))["seconds"]  # noqa: SLF001 - itself
        return min(speeds, key=lambda concurrency: speeds[concurrency])

    async def _raw_round(self, prefix: str, concurrency: int) -> dict[str, float]:
        """Creates n identities in a namespace that no agent serves, then sends the four requests for each."""
        hub, managed, install = self.addon.hub, self.addon.managed, "raw-install"
        ensure_namespace(hub, "raw")
        ensure_namespace(managed, install)
        cpu = time.process_time()
        start = time.monotonic()
        async with _session(hub, concurrency) as to_hub, _session(managed, concurrency) as to_managed:
            raw = Raw(to_hub, to_managed, b64encode(managed.ca_file.read_bytes()).decode())
            uids = await _create_all(
                raw, "raw", [f"{prefix}-{number}" for number in range(self.n)], concurrency
            )
            todo = list(uids.items())

            async def work() -> None:
                while todo:
                    name, uid = todo.pop()
                    await raw.serve("raw", install, name, uid)

            await asyncio.gather(*(work() for _ in range(concurrency)))
        return {"seconds": time.monotonic() - start, "cpu": time.process_time() - cpu}

    def _agent_round(self, prefix: str) -> dict[str, Any]:
        """From the first create to the last token: creates as the raw client does, and the agent does the rest."""
        before, cpu = self._writes(), self._cpu()
        wanted = [f"{prefix}-{number}" for number in range(self.n)]
        start = time.monotonic()
        latencies = asyncio.run(self._create_and_wait(wanted))
        seconds = time.monotonic() - start
        wait_until(lambda: self._writes() - before >= 4 * self.n, 10)
        time.sleep(1)
        return {
            "seconds": seconds,
            "cpu": self._cpu() - cpu,
            "latencies": latencies,
            "requests": (self._writes() - before) / self.n,
        }

    async def _create_and_wait(self, wanted: list[str]) -> list[float]:
        """Seconds from each create to its status with a token, as a watch of the hub sees it."""
        created: dict[str, float] = {}
        done: dict[str, float] = {}
        path = f"{_GROUP}/{self.addon.cluster_name}/{names.PLURAL}"
        async with _session(self.addon.hub, 32) as session, _session(self.addon.hub, 4) as watcher:
            async with session.get(path, params={"limit": "1"}) as answer:
                version = (await answer.json())["metadata"]["resourceVersion"]

            async def follow() -> None:
                async with watcher.get(
                    path,
                    params={"watch": "true", "resourceVersion": version},
                    timeout=aiohttp.ClientTimeout(total=600),
                ) as answer:
                    async for line in answer.content:
                        event = json.loads(line)["object"]
                        name = event["metadata"]["name"]
                        if name in created and event.get("status", {}).get("expirationTimestamp"):
                            done.setdefault(name, time.monotonic())
                        if len(done) == len(wanted):
                            return

            following = asyncio.create_task(follow())
            raw = Raw(session, session, "")
            await _create_all(raw, self.addon.cluster_name, wanted, 32, created)
            await asyncio.wait_for(following, 300)
        return sorted(done[name] - created[name] for name in wanted)

    def _single(self) -> float:
        """One identity on an idle agent, fifty times, against the four requests in a row."""

        async def raw_times() -> list[float]:
            async with _session(self.addon.hub, 1) as to_hub, _session(self.addon.managed, 1) as to_managed:
                raw = Raw(to_hub, to_managed, b64encode(self.addon.managed.ca_file.read_bytes()).decode())
                times = []
                for number in range(50):
                    uids = await _create_all(raw, "raw", [f"single-{number}"], 1)
                    start = time.monotonic()
                    await raw.serve("raw", "raw-install", f"single-{number}", uids[f"single-{number}"])
                    times.append(time.monotonic() - start)
                return times

        raw = statistics.median(asyncio.run(raw_times()))
        agent = statistics.median(
            asyncio.run(self._create_and_wait([f"one-{number}"]))[0] for number in range(50)
        )
        return round(agent / raw, 2)

    def _rotate(self) -> dict[str, float]:
        """Everybody's validity is edited at once."""
        before = self._writes()
        total = _ROUNDS * self.n + 50

        async def edit() -> None:
            path = f"{_GROUP}/{self.addon.cluster_name}/{names.PLURAL}"
            async with _session(self.addon.hub, 32) as session:
                async with session.get(path) as answer:
                    todo = [item["metadata"]["name"] for item in (await answer.json())["items"]]

                async def work() -> None:
                    while todo:
                        await _send(
                            session,
                            "PATCH",
                            f"{path}/{todo.pop()}",
                            {"spec": {"rotation": {"validity": "24h"}}},
                        )

                await asyncio.gather(*(work() for _ in range(32)))

        start = time.monotonic()
        asyncio.run(edit())
        wait_until(lambda: self._writes() - before >= 3 * total, 300, 0.25)
        seconds = time.monotonic() - start
        time.sleep(1)
        return {
            "n": total,
            "requests_per_identity": round((self._writes() - before) / total, 2),
            "seconds": round(seconds, 2),
        }

    def _restart(self, n: int) -> dict[str, Any]:
        """Fills up to n tokens, then starts the agent anew."""
        missing = n - (_ROUNDS * self.n + 50)
        if missing > 0:
            asyncio.run(self._create_and_wait([f"fill-{number}" for number in range(missing)]))
        self.addon.stop()
        start = time.monotonic()
        self.addon.start(wait=False)
        wait_until(lambda: self._scheduled() >= n, 120, 0.02)
        seconds = time.monotonic() - start
        time.sleep(3)
        return {
            "n": n,
            "seconds": round(seconds, 2),
            "writes": round(self._writes()),
            "rss_mb": round(self._rss(), 1),
        }

    def _scheduled(self) -> float:
        """Keys that were looked at and have their next time."""
        try:
            return _sum(
                self.addon.metrics(), r'controller_runtime_reconcile_total\{.*result="requeue_after".*\}'
            )
        except OSError:
            return 0

    def _writes(self) -> float:
        """Requests that the API servers had from the agent: all but watches, GETs, its heartbeat and its Events."""
        text = self.addon.metrics()
        writes = _sum(text, r'rest_client_requests_total\{.*method="(?:POST|PATCH|DELETE)".*\}')
        return writes - _sum(text, r"msa_events_sent_total")

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self.addon.process.pid()}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def _rss(self) -> float:
        return self._memory("VmRSS")

    def _peak_rss(self) -> float:
        return self._memory("VmHWM")

    def _memory(self, what: str) -> float:
        found = re.search(
            rf"{what}:\s+(\d+) kB", Path(f"/proc/{self.addon.process.pid()}/status").read_text()
        )
        assert found is not None  # noqa: S101 - Linux always says
        return int(found[1]) / 1024


def _summary(n: int, rounds: list[tuple[dict[str, float], dict[str, Any]]]) -> dict[str, Any]:
    raw = statistics.median(raw["seconds"] for raw, _ in rounds)
    agent = statistics.median(agent["seconds"] for _, agent in rounds)
    cpu = statistics.median(agent["cpu"] for _, agent in rounds) / statistics.median(
        raw["cpu"] for raw, _ in rounds
    )
    latencies = sorted(latency for _, agent in rounds for latency in agent["latencies"])
    return {
        "n": n,
        "ratio": round(raw / agent, 2),
        "cpu_ratio": round(cpu, 2),
        "raw_seconds": round(raw, 2),
        "agent_seconds": round(agent, 2),
        "p50_s": round(latencies[len(latencies) // 2], 3),
        "p99_s": round(latencies[len(latencies) * 99 // 100], 3),
        "requests_per_identity": round(statistics.median(agent["requests"] for _, agent in rounds), 2),
    }


async def _create_all(
    raw: Raw, namespace: str, wanted: list[str], concurrency: int, created: dict[str, float] | None = None
) -> dict[str, str]:
    """UIDs by name."""
    todo, uids = list(reversed(wanted)), {}

    async def work() -> None:
        while todo:
            name = todo.pop()
            body = {
                "apiVersion": f"{names.GROUP}/{names.STORAGE_VERSION}",
                "kind": names.KIND,
                "metadata": {"name": name},
                "spec": {"rotation": {}},
            }
            if created is not None:
                created[name] = time.monotonic()
            answer = await _send(raw.hub, "POST", f"{_GROUP}/{namespace}/{names.PLURAL}", body)
            uids[name] = answer["metadata"]["uid"]

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return uids


def _session(cluster: Cluster, limit: int) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cafile=str(cluster.ca_file))
    context.load_cert_chain(cluster.folder / "admin.crt", cluster.folder / "admin.key")
    return aiohttp.ClientSession(cluster.server, connector=aiohttp.TCPConnector(limit=limit, ssl=context))


def _sum(text: str, pattern: str) -> float:
    return sum(
        float(value)
        for value in re.findall(
            rf"^{pattern} ([0-9.e+]+)$",
            text,
            re.MULTILINE,
        )
    )


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
