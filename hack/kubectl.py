"""kubectl against a cluster that is known by a kubeconfig alone: ours, kind's or anybody's."""

import os
import subprocess
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

from hack import binaries

_SECONDS = 60


class KubectlError(Exception):
    """kubectl failed; the message is the command and what it said."""


class Kubectl(Protocol):
    """A cluster that can be asked."""

    @property
    def kubeconfig(self) -> Path:
        """Its administrator's."""

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """What kubectl prints; with `check`, its failure is ours."""


@frozen
class Kubeconfig:
    """A `Kubectl`."""

    kubeconfig: Path
    binary: Path = field(
        factory=lambda: binaries.provide(binaries.Places.from_environment(os.environ), ("kubectl",))[
            "kubectl"
        ],
        repr=False,
    )

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return run(self.binary, self.kubeconfig, *arguments, stdin=stdin, check=check)


def run(binary: Path, kubeconfig: Path, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """What kubectl prints, with what it says on stderr where that is no failure of ours.

    Raises:
        KubectlError: it failed, and `check` is set.
    """
    command = [str(binary), f"--kubeconfig={kubeconfig}", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=_SECONDS)
    if check and done.returncode != 0:
        raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout + ("" if check else done.stderr)
