"""Programs that the hack commands take from Debian's packages."""

import os
import shutil
import subprocess

_APT = ("apt-get", "-q", "-o", "DPkg::Lock::Timeout=300")


class NotInstalled(Exception):
    """The message says what to install."""


def provide(**packages: str) -> None:
    """Installs the packages of those programs that are missing; root on Debian can.

    Args:
        packages: program to the package that has it.

    Raises:
        NotInstalled: it cannot be done here.
    """
    missing = [package for program, package in packages.items() if shutil.which(program) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NotInstalled(
            f"install {' and '.join(missing)} first: apt-get install {' '.join(missing)}, as root on Debian, or what your system has"
        )
    print(f"installing {', '.join(missing)} with apt-get", flush=True)
    _apt("update")
    _apt("install", "--yes", "--no-install-recommends", *missing)


def _apt(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run([*_APT, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotInstalled(f"apt-get {' '.join(arguments)} failed: {done.stderr.strip()}")
