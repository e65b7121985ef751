"""The steps of a release, and in which order they are done."""

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hack.release.artifacts import ROOT, Artifacts, ReleaseError
from hack.release.versions import places, refusal


def build(version: str, folder: Path) -> None:
    """Builds all of it; what was in the folder goes.

    Raises:
        ReleaseError: the tree is not that version, or a step failed; a step's own errors, too.
    """
    if reason := refusal(version, places(ROOT), _changed()):
        raise ReleaseError(reason)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run(steps(Artifacts(folder, version, epoch=int(_git("log", "-1", "--format=%ct")))))
    for file in sorted(folder.iterdir()):
        print(f"{file.stat().st_size:>12,}  {file}", flush=True)


def steps(artifacts: Artifacts) -> dict[str, Callable[[], None]]:
    """By what they make; in this order, since the image takes minutes."""
    return {
        "wheel and sdist": artifacts.packages,
        "chart": artifacts.chart,
        "installer": artifacts.installer,
        "bill of materials": artifacts.bill,
        "alerts and dashboard": artifacts.monitoring,
        "image (some minutes the first time)": artifacts.image,
        "checksums": artifacts.checksums,
    }


def run(named: Mapping[str, Callable[[], None]]) -> None:
    for number, (what, step) in enumerate(named.items(), start=1):
        start = time.monotonic()
        print(f"{number}/{len(named)} {what}", flush=True)
        step()
        print(f"    {time.monotonic() - start:.1f} s", flush=True)


def _changed() -> list[str]:
    """Files that are not as the last commit has them, new ones included."""
    return [line[3:] for line in _git("status", "--porcelain", "--untracked-files=all").splitlines()]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"a release needs a clone: git {arguments[0]}: {' '.join(done.stderr.split())}")
    return done.stdout
