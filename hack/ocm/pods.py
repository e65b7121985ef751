"""A kubelet's part for the pods of the addon's programs: a pod is a local process, with its volumes as folders, and rights as its ServiceAccount has them."""

import contextlib
import os
import shutil
import signal
import sys
import time
from base64 import b64decode
from pathlib import Path
from typing import Final

import aiohttp
import anyio
import structlog
import yaml
from attrs import define, field, frozen

from hack.clusters import free_ports
from hack.ocm import kinds
from hack.ocm.api import Api, Body, Object
from hack.ocm.conditions import condition, merged
from hack.ocm.volumes import Volume
from hack.processes import Process
from msa.runtime.errors import NotFound
from msa.runtime.result import Done, Key, RequeueAfter, Result
from msa.runtime.store import Store

_PROBE_SECONDS: Final = 0.2
_READY_PROBE_SECONDS: Final = 2.0
_STOP_SECONDS: Final = 10.0
_TOKEN_SECONDS: Final = 3600
_RESTART_SECONDS: Final = 1.0
_HTTP_OK: Final = 200
_OWN_CLUSTER: Final = {"agent": "--spoke-kubeconfig", "manager": "--kubeconfig", "leave": "--kubeconfig"}
"""The flag by which each program is told of the cluster that its pod is in."""
_ENDED: Final = ("Succeeded", "Failed")
PREDECESSOR: Final = "predecessor"
"""The tag of images of the addon that ours replaces (hack/predecessor)."""

_log = structlog.get_logger(__name__)


@frozen
class PodSettings:
    """Where pods run.

    Attributes:
        cluster: for the names of processes.
        folder: of their state: pids, logs, volumes.
        kubeconfig: of the cluster's administrator, for its address and CA.
    """

    cluster: str
    folder: Path
    kubeconfig: Path


@define
class _Running:
    """The process of one pod."""

    pod: Object
    process: Process
    folder: Path
    health_port: int
    metrics_port: int
    restarts: int = 0
    token_until: float = 0.0
    started: str = ""


@define
class PodRunner:
    """One pod; the key is its namespace and name."""

    settings: PodSettings
    api: Api
    pods: Store[Object]
    _running: dict[str, _Running] = field(factory=dict, init=False)

    async def __call__(self, key: Key) -> Result:
        pod, running = self.pods.get(key), self._running.get(key)
        if running is not None and (pod is None or pod.metadata.uid != running.pod.metadata.uid):
            await self._stop(key, running)
        if pod is None or pod.metadata.deletion_timestamp is not None or pod.status.get("phase") in _ENDED:
            return Done()
        running = self._running.setdefault(key, self._prepared(pod))
        try:
            await self._write_volumes(running)
            await self._write_kubeconfig(running)
        except NotFound as error:
            await self._report(pod, running, ready=False, why=error.message)
            return RequeueAfter(_RESTART_SECONDS)
        if running.process.pid() is None:
            ended = running.started and _runs_once(pod)
            return await (self._end(pod, running) if ended else self._start(pod, running))
        ready = await _ready(running.health_port)
        await self._report(pod, running, ready=ready)
        return RequeueAfter(_READY_PROBE_SECONDS if ready else _PROBE_SECONDS)

    async def stop_all(self) -> None:
        for key, running in tuple(self._running.items()):
            await self._stop(key, running)

    def _prepared(self, pod: Object) -> _Running:
        folder = self.settings.folder
        name = f"agent-{self.settings.cluster}-{pod.metadata.name}"
        health, metrics = free_ports(2)
        return _Running(pod, Process(name, folder), folder / f"{name}.volumes", health, metrics)

    async def _start(self, pod: Object, running: _Running) -> Result:
        """Starts it, or starts it again a second after it ended."""
        if running.started:
            running.restarts += 1
            running.started = ""
            await self._report(pod, running, ready=False, why="the process ended")
            return RequeueAfter(_RESTART_SECONDS)
        running.process.start(_command(pod, running), die_with_parent=True)
        running.started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        _log.info("pod_started", pod=pod.metadata.name, restarts=running.restarts)
        return RequeueAfter(_PROBE_SECONDS)

    async def _end(self, pod: Object, running: _Running) -> Result:
        """Says how it ended, which is all that a Job waits for."""
        code = running.process.exit_code()
        state = {"terminated": {"exitCode": code, "startedAt": running.started}}
        container = {**_status(pod, running, ready=False, why="")["containerStatuses"][0], "state": state}
        path = kinds.PODS.at(pod.metadata.namespace, pod.metadata.name)
        phase = "Failed" if code else "Succeeded"
        changes = {"phase": phase, "containerStatuses": [container]}
        await self.api.patch_status(path, pod.metadata.resource_version, changes)
        return Done()

    async def _stop(self, key: str, running: _Running) -> None:
        process = running.process
        process.send(signal.SIGTERM)
        with anyio.move_on_after(_STOP_SECONDS):
            while process.pid() is not None:
                await anyio.sleep(0.05)
        process.stop(0.5, number=signal.SIGKILL)
        shutil.rmtree(running.folder, ignore_errors=True)
        self._running.pop(key, None)
        _log.info("pod_stopped", pod=running.pod.metadata.name)

    async def _write_volumes(self, running: _Running) -> None:
        """Raises NotFound while an object that is not optional is missing."""
        namespace = running.pod.metadata.namespace
        for volume in running.pod.spec.get("volumes", ()):
            folder = Volume(running.folder / volume["name"])
            if secret := volume.get("secret"):
                path = kinds.SECRETS.at(namespace, secret["secretName"])
            elif config := volume.get("configMap"):
                path = kinds.CONFIG_MAPS.at(namespace, config["name"])
            else:
                continue
            stored = await self.api.get(path)
            if stored is not None:
                folder.write(_files(stored))
            elif not folder.folder.exists():  # a kubelet, too, leaves what a running pod has
                raise NotFound(f"MountVolume.SetUp failed for volume {volume['name']}: {path} not found")

    async def _write_kubeconfig(self, running: _Running) -> None:
        """The pod's own account on its cluster, by a token that is renewed as a projected one is."""
        if time.monotonic() < running.token_until:
            return
        pod = running.pod
        account = pod.spec.get("serviceAccountName", "default")
        path = kinds.SERVICE_ACCOUNTS.at(pod.metadata.namespace, account, "token")
        answer = await self.api.create(path, {"spec": {"expirationSeconds": _TOKEN_SECONDS}})
        Volume(running.folder / "own").write(
            {
                "token": answer["status"]["token"].encode(),
                "kubeconfig": self._kubeconfig(pod.metadata.namespace),
            }
        )
        running.token_until = time.monotonic() + _TOKEN_SECONDS * 0.8

    def _kubeconfig(self, namespace: str) -> bytes:
        config = yaml.safe_load(self.settings.kubeconfig.read_text())
        config["users"][0]["user"] = {"tokenFile": "token"}
        config["contexts"][0]["context"]["namespace"] = namespace
        return yaml.safe_dump(config).encode()

    async def _report(self, pod: Object, running: _Running, *, ready: bool, why: str = "") -> None:
        status = _status(pod, running, ready=ready, why=why)
        if any(pod.status.get(name) != part for name, part in status.items()):
            path = kinds.PODS.at(pod.metadata.namespace, pod.metadata.name)
            with contextlib.suppress(NotFound):
                await self.api.patch_status(path, pod.metadata.resource_version, status)


async def _ready(port: int) -> bool:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
            session.get(f"http://127.0.0.1:{port}/readyz") as answer,
        ):
            return answer.status == _HTTP_OK
    except (aiohttp.ClientError, TimeoutError):
        return False


def _files(stored: Body) -> dict[str, bytes]:
    """Only a Secret's data is base64."""
    data = stored.get("data") or {}
    if stored["kind"] == "Secret":
        return {name: b64decode(content) for name, content in data.items()}
    return {name: content.encode() for name, content in data.items()}


def _command(pod: Object, running: _Running) -> list[str]:
    """The container's own, on free ports, with folders in the place of mounts. Of our environment only what an image has is handed on."""
    container = pod.spec["containers"][0]
    mounts = {
        mount["mountPath"]: str(running.folder / mount["name"]) for mount in container.get("volumeMounts", ())
    }
    variables = _of_image() | _environment(pod, container)
    return [
        *("env", "-i"),
        *(f"{name}={_mounted(value, mounts)}" for name, value in variables.items()),
        *(sys.executable, "-m", _program(container["image"])),
        *(_mounted(argument, mounts) for argument in container.get("args", ())),
        f"{_OWN_CLUSTER[container['args'][0]]}={running.folder / 'own' / 'kubeconfig'}",
        *([] if _runs_once(pod) else _addresses(running)),
    ]


def _of_image() -> dict[str, str]:
    """The environment that an image has: how programs are found, and the commit that they were built from."""
    return {name: os.environ[name] for name in ("PATH", "MSA_COMMIT") if name in os.environ}


def _addresses(running: _Running) -> tuple[str, ...]:
    return (
        f"--metrics-bind-address=127.0.0.1:{running.metrics_port}",
        f"--health-probe-bind-address=127.0.0.1:{running.health_port}",
    )


def _runs_once(pod: Object) -> bool:
    return bool(pod.spec.get("restartPolicy") == "Never")


def _program(image: str) -> str:
    """What the image has at /msa."""
    return "hack.predecessor" if image.endswith(f":{PREDECESSOR}") else "msa"


def _environment(pod: Object, container: Body) -> dict[str, str]:
    fields = {"metadata.namespace": pod.metadata.namespace, "metadata.name": pod.metadata.name}
    return {
        item["name"]: fields[item["valueFrom"]["fieldRef"]["fieldPath"]]
        if "valueFrom" in item
        else item.get("value", "")
        for item in container.get("env", ())
    }


def _mounted(text: str, mounts: dict[str, str]) -> str:
    for path, folder in mounts.items():
        text = text.replace(path, folder)
    return text


def _status(pod: Object, running: _Running, *, ready: bool, why: str) -> Body:
    container = pod.spec["containers"][0]
    state: Body = (
        {"running": {"startedAt": running.started}}
        if running.started
        else {"waiting": {"reason": "ContainerCreating", "message": why}}
    )
    said = [
        condition("Initialized", "True", ""),
        condition("Ready", "True" if ready else "False", "" if ready else "ContainersNotReady", why),
        condition(
            "ContainersReady", "True" if ready else "False", "" if ready else "ContainersNotReady", why
        ),
    ]
    return {
        "phase": "Running" if running.started else "Pending",
        "conditions": merged(pod.status.get("conditions", []), said),
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": ready,
                "started": bool(running.started),
                "restartCount": running.restarts,
                "state": state,
            }
        ],
    }
