"""A base image made on the spot, of Debian's packages, for machines that reach no registry of images.

It has the Python that the public base has, its module venv, and what a build needs of a system. It is for tests: nobody looks after its
security updates.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from hack import debian

_HOME = Path(__file__).parents[2] / "build/base-image"
_SUITE = "trixie"
_MMDEBSTRAP = (
    "mmdebstrap",
    "--quiet",
    "--variant=minbase",
    "--include=python3,python3-venv,ca-certificates",
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")),
    _SUITE,
)
_DOCKERFILE = """\
FROM scratch
ADD root.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""
NAME = f"localhost/msa-base:{hashlib.sha256(repr((_MMDEBSTRAP, _DOCKERFILE)).encode()).hexdigest()[:12]}"
"""Another recipe makes another image."""


class BaseImageError(Exception):
    """The message is what mmdebstrap said."""


def write_context(home: Path = _HOME) -> Path:
    """The folder that the base is built from: a Dockerfile and a root file system.

    Raises:
        NotInstalled: mmdebstrap is not there and cannot be installed.
        BaseImageError: it failed.
    """
    debian.provide(mmdebstrap="mmdebstrap")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    _make_root(home / "root.tar")
    (home / "Dockerfile").write_text(_DOCKERFILE)
    return home


def _make_root(file: Path) -> None:
    print(f"making the root file system of Debian {_SUITE} with Python (some 30 s)", flush=True)
    command = [*_MMDEBSTRAP, str(file)]
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BaseImageError(f"mmdebstrap failed: {done.stderr.strip()}")
