"""End to end: the image is built, two clusters with a real node each are started, OCM's stand-ins join them, and tests/e2e runs there.

python -m hack.e2e                  all of it
python -m hack.e2e ARGUMENT...      the same with arguments for pytest
python -m hack.e2e --stay           runs no test: prints what to set to run them by hand, and waits

Needs root on Linux: a node does (hack/node). Elsewhere one line says so. Against other clusters: docs/testing.md.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from hack.clusters import HOME, Cluster
from hack.image import build, engine
from hack.image.engine import EngineError
from hack.node import needs
from hack.node.node import NodeError, running_node
from hack.ocm.fleet import Fleet, Member

IMAGE: Final = "localhost/managed-serviceaccount:e2e"
MIRROR: Final = "localhost/mirror"
MIRRORED: Final = "localhost/mirror/managed-serviceaccount:e2e"
CLUSTER: Final = "cluster1"
_HUB, _MANAGED = "e2e-hub", "e2e-managed"
_ARCHIVE: Final = HOME.parent / "e2e/image.tar"
_RESULTS: Final = HOME.parent / "e2e/junit.xml"
"""With what the tests have measured."""


def main(arguments: list[str]) -> int:
    if reason := needs.why_not():
        print(f"end-to-end tests cannot run here: {reason}", file=sys.stderr)
        return 1
    try:
        with _alone(), _site() as variables:
            return _stay(variables) if arguments == ["--stay"] else run_tests(variables, arguments)
    except (NodeError, EngineError) as error:
        print(f"e2e: {error}", file=sys.stderr)
        return 1


def environment(hub: Path, managed: Path, cluster: str) -> dict[str, str]:
    """What tests/e2e/site.py reads.

    Args:
        hub: kubeconfig of the hub's administrator.
        managed: that of the managed cluster's.
        cluster: its name on the hub.
    """
    return {
        "MSA_E2E_HUB": str(hub),
        "MSA_E2E_MANAGED": str(managed),
        "MSA_E2E_CLUSTER": cluster,
        "MSA_E2E_IMAGE": IMAGE,
        "MSA_E2E_MIRROR": MIRROR,
    }


def run_tests(environment: Mapping[str, str], arguments: Sequence[str]) -> int:
    """The exit code of pytest, which is given these arguments besides."""
    command = [sys.executable, "-m", "pytest", "-m", "e2e", "tests/e2e", "--durations=0"]
    command += [f"--junitxml={_RESULTS}", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, check=False).returncode


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Two runs in one checkout would take down each other's clusters. Raises NodeError where another one is under way."""
    _RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with (_RESULTS.parent / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NodeError("another run is under way in this checkout: wait for its end") from None
        yield


@contextlib.contextmanager
def _site() -> Iterator[dict[str, str]]:
    """The environment of the tests."""
    with _step("image"):
        _build()
    with contextlib.ExitStack() as stack:
        with _step("two clusters, a node each"):
            hub, managed = (
                stack.enter_context(running_node(Cluster(name, HOME / name))) for name in (_HUB, _MANAGED)
            )
        with _step("images into the nodes"):
            for node in (hub, managed):
                for name in (IMAGE, MIRRORED):
                    node.load(_ARCHIVE, name)
        with _step("OCM's stand-ins"):
            _join(stack, hub.cluster, managed.cluster)
        yield environment(hub.cluster.kubeconfig, managed.cluster.kubeconfig, CLUSTER)


def _build() -> None:
    _ARCHIVE.parent.mkdir(parents=True, exist_ok=True)
    builder = engine.find()
    build.build(builder, IMAGE, base="auto")
    builder.archive(IMAGE, _ARCHIVE)


def _join(stack: contextlib.ExitStack, hub: Cluster, managed: Cluster) -> None:
    fleet = Fleet(hub)
    fleet.install_ocm()
    fleet.start()
    stack.callback(fleet.stop)
    member = Member(fleet, managed, CLUSTER, flags=("--no-pods",))
    member.join()
    stack.callback(member.stop)


@contextlib.contextmanager
def _step(name: str) -> Iterator[None]:
    print(f"==> {name}", flush=True)
    start = time.monotonic()
    yield
    print(f"==> {name} took {time.monotonic() - start:.0f} s", flush=True)


def _stay(environment: dict[str, str]) -> int:
    for name, value in environment.items():
        print(f"export {name}={value}")
    print("pytest -m e2e tests/e2e; end this with Ctrl-C", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
