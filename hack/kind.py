"""The end-to-end tests on kind with the real Open Cluster Management: two clusters, joined by clusteradm, then tests/e2e.

python -m hack.kind          makes the clusters where they are not there yet, and runs the tests
python -m hack.kind delete   deletes both clusters

Needs docker, kind and clusteradm on the path, and a network that leads to their images.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from hack.clusters import HOME
from hack.e2e import IMAGE, MIRRORED, environment, run_tests
from hack.image.build import build
from hack.image.engine import Engine, EngineError

_TOOLS: Final = ("docker", "kind", "clusteradm")
_HUB, _CLUSTER = "msa-hub", "msa-cluster1"
_FOLDER: Final = HOME.parent / "kind"


class KindError(Exception):
    """A tool is missing or failed; the message says which."""


def main(arguments: list[str]) -> int:
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        raise KindError(f"install {', '.join(missing)} first; `make e2e` needs none of them")
    if arguments == ["delete"]:
        for name in (_HUB, _CLUSTER):
            _run("kind", "delete", "cluster", f"--name={name}")
        return 0
    _make_clusters()
    _load_image()
    _join()
    return run_tests(environment(_kubeconfig(_HUB), _kubeconfig(_CLUSTER), _CLUSTER), arguments)


def _make_clusters() -> None:
    _FOLDER.mkdir(parents=True, exist_ok=True)
    there = _run("kind", "get", "clusters").split()
    for name in (_HUB, _CLUSTER):
        if name not in there:
            _run(
                "kind",
                "create",
                "cluster",
                f"--name={name}",
                f"--kubeconfig={_kubeconfig(name)}",
                "--wait=2m",
            )


def _load_image() -> None:
    build(Engine("docker"), IMAGE)
    _run("docker", "tag", IMAGE, MIRRORED)
    for name in (_HUB, _CLUSTER):
        _run("kind", "load", "docker-image", f"--name={name}", IMAGE, MIRRORED)


def _join() -> None:
    """As OCM's quick start does it; what is there already is left."""
    hub, managed = (f"--kubeconfig={_kubeconfig(name)}" for name in (_HUB, _CLUSTER))
    _run("clusteradm", "init", "--wait", hub)
    told = _run("clusteradm", "get", "token", hub)
    given = dict(re.findall(r"--(hub-token|hub-apiserver) (\S+)", told))
    if len(given) != 2:  # noqa: PLR2004 - both of the pattern's
        raise KindError(f"clusteradm get token names no token or no API server: {told.strip()[:200]}")
    _run(
        *("clusteradm", "join", managed, f"--cluster-name={_CLUSTER}", "--wait"),
        *("--force-internal-endpoint-lookup", *(f"--{name}={value}" for name, value in given.items())),
    )
    _run("clusteradm", "accept", f"--clusters={_CLUSTER}", "--wait", hub)


def _kubeconfig(name: str) -> Path:
    return _FOLDER / f"{name}.kubeconfig"


def _run(*command: str) -> str:
    """What it prints; it is shown, too."""
    print(f"$ {' '.join(command[:4])}", flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise KindError(f"{' '.join(command[:3])} failed")
    return done.stdout


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KindError, EngineError) as error:
        sys.exit(f"kind: {error}")
