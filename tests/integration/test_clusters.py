"""The local control planes themselves: several at once, and nothing left of them, however their run ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hack.clusters import HOME, Cluster, running
from hack.processes import wait_until

_PARTS = ("etcd", "apiserver", "controller-manager")
_HOLD = """
import sys, time
from pathlib import Path
from hack.clusters import running
with running("killed", Path(sys.argv[1])):
    print("up", flush=True)
    time.sleep(600)
"""


def _pids(cluster: Cluster) -> list[int]:
    return [pid for part in _PARTS if (pid := cluster.process(part).pid()) is not None]


def _alive(pids: list[int]) -> list[int]:
    """Those that still run; a zombie is only a number that its parent has not asked about."""
    return [pid for pid in pids if _state(pid) not in ("", "Z")]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _clusters(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "hack.clusters", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_planes_stand_beside_each_other_and_a_stop_leaves_no_process(tmp_path: Path) -> None:
    with running("one", tmp_path) as one, running("two", tmp_path) as two:
        pids = [*_pids(one), *_pids(two)]
        assert len(set(pids)) == 6
        assert one.server != two.server
        one.kubectl("create", "namespace", "only-in-one")
        assert "only-in-one" not in two.kubectl("get", "namespaces", "-o", "name")
    assert _alive(pids) == []
    assert not one.folder.exists()


def test_nothing_outlives_a_run_that_was_killed_and_the_next_run_of_that_name_works(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, cwd=HOME.parents[1]
    )
    assert run.stdout is not None
    assert run.stdout.readline() == b"up\n"
    killed = Cluster("killed", tmp_path / "killed")
    pids = _pids(killed)
    assert len(pids) == 3
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    run.stdout.close()
    assert wait_until(lambda: _alive(pids) == [], 10)
    assert killed.folder.exists(), "a killed run cannot tidy up; the next one does"
    with running("killed", tmp_path) as again:
        assert again.kubectl("get", "namespace", "default", "-o", "name").strip() == "namespace/default"


def test_a_plane_without_a_parent_to_watch_over_it_is_stopped_by_the_next_run(tmp_path: Path) -> None:
    """As `make cluster-up` leaves it, or a system that cannot tell children of their parent's end."""
    left = Cluster("left", tmp_path / "left")
    left.up()
    pids = _pids(left)
    with running("left", tmp_path) as fresh:
        assert _alive(pids) == []
        assert len(_pids(fresh)) == 3


def test_planes_are_started_shown_and_stopped_by_hand() -> None:
    name = f"by-hand-{os.getpid()}"
    cluster = Cluster(name, HOME / name, binaries={})
    try:
        kubeconfig = _clusters("up", name).stdout.strip()
        pids = _pids(cluster)
        assert kubeconfig == str(cluster.kubeconfig)
        assert _clusters("kubeconfig", name).stdout.strip() == kubeconfig
        assert f"{name}\tup\t{kubeconfig}" in _clusters("list").stdout
        assert _clusters("up", name).returncode == 0
        assert _pids(cluster) == pids, "up again starts nothing"
    finally:
        stopped = _clusters("down", name)
    assert stopped.returncode == 0
    assert len(pids) == 3
    assert _alive(pids) == []
    assert name not in _clusters("list").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("kubeconfig", "nobody"), "make cluster-up NAME=nobody"),
        (("down", "../elsewhere"), "no name for a cluster"),
        (("up", "UPPER"), "no name for a cluster"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(arguments: tuple[str, ...], says: str) -> None:
    refused = _clusters(*arguments)
    assert refused.returncode == 1
    assert says in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_stopping_what_is_not_there_is_no_error() -> None:
    assert _clusters("down", "nobody").returncode == 0
