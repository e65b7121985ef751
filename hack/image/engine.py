"""Whatever builds images here: docker, podman or buildah, which take nearly the same commands."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from hack import debian

_PROGRAMS = ("docker", "podman", "buildah")
_ANSWER_SECONDS = 20.0
_SETTINGS = {"BUILDAH_ISOLATION": "chroot", "DOCKER_BUILDKIT": "1"}
"""What works in a container, too, where there are no namespaces to be had. Whoever has set one of them knows better."""


class EngineError(Exception):
    """The message is the engine's own last words."""


@frozen
class Engine:
    """One of them, by name or path."""

    program: str
    environment: dict[str, str] = field(factory=lambda: {**_SETTINGS, **os.environ}, repr=False)

    @property
    def name(self) -> str:
        return Path(self.program).name

    def answers(self) -> bool:
        """Whether it can work, and not only is there: docker is nothing without its daemon."""
        try:
            return self._run("info", seconds=_ANSWER_SECONDS).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            return False

    def has(self, image: str) -> bool:
        return self._run("inspect", "--type=image", image).returncode == 0

    def pull(self, image: str) -> None:
        """Raises EngineError."""
        self._do("pull", "--quiet", image)

    def push(self, image: str) -> None:
        """Raises EngineError."""
        self._do("push", image)

    def build(
        self, folder: Path, image: str, *, arguments: Mapping[str, str], secrets: Mapping[str, Path]
    ) -> None:
        """Builds the Dockerfile in the folder; what it prints is shown.

        Args:
            folder: the build's context.
            image: name of what comes out.
            arguments: values of its ARGs.
            secrets: files that a step may read, and that no layer keeps.

        Raises:
            EngineError: it failed.
        """
        flags = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        flags += [f"--secret=id={name},src={file}" for name, file in secrets.items()]
        command = [self.program, "build", *flags, f"--tag={image}", str(folder)]
        if subprocess.run(command, env=self.environment, check=False).returncode != 0:
            raise EngineError(f"{self.name} could not build {image}")

    def archive(self, image: str, file: Path) -> None:
        """Writes an OCI archive, which `ctr images import` takes. Raises EngineError."""
        file.unlink(missing_ok=True)
        match self.name:
            case "docker":  # its own format, which since docker 25 is an OCI layout, too
                self._do("save", f"--output={file}", image)
            case "podman":
                self._do("save", "--quiet", "--format=oci-archive", f"--output={file}", image)
            case _:
                self._do("push", "--quiet", image, f"oci-archive:{file}:{image}")

    def _do(self, *arguments: str) -> None:
        done = self._run(*arguments)
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:]
            raise EngineError(f"{self.name} {arguments[0]} failed: {' '.join(last)}")

    def _run(self, *arguments: str, seconds: float | None = None) -> "subprocess.CompletedProcess[str]":
        command = [self.program, *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=seconds
        )


def find() -> Engine:
    """The first that answers; where none does, buildah is installed. Raises NotInstalled."""
    for program in _PROGRAMS:
        engine = Engine(program)
        if shutil.which(program) and engine.answers():
            return engine
    debian.provide(buildah="buildah")
    return Engine("buildah")
