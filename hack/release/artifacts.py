"""What a release is made of. All but the image comes out the same, byte for byte, each time that a commit is built."""

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import yaml
from attrs import frozen

from hack import binaries, charts
from hack.generate import CHART, CRD
from hack.image import build, engine, sbom
from msa.api import names

ROOT = Path(__file__).parents[2]
SUMS = "SHA256SUMS"
_UV = ROOT / "build/uv/bin/uv"
_BACKEND = ROOT / "hack/release/backend.txt"
_MONITORING = ROOT / "manifests/monitoring"
_INSTALLER_HEADER = (
    "# {addon} {version} with its defaults: kubectl apply -f this, on a hub of Open Cluster Management.\n"
)


class ReleaseError(Exception):
    """The message is one line that says what failed."""


@frozen
class Artifacts:
    """Each method builds a part of it.

    Attributes:
        folder: where they go.
        epoch: seconds since 1970 that archives carry as the time of their files: the commit's.
        tree: the checkout that wheel and chart are made from.
    """

    folder: Path
    version: str
    epoch: int
    tree: Path = ROOT

    def packages(self) -> None:
        """Wheel and sdist, by a pinned build backend. Raises ReleaseError."""
        pinned = [f"--build-constraints={_BACKEND}", "--require-hashes", f"--python={sys.executable}"]
        command = ["build", "--quiet", "--no-create-gitignore", *pinned, f"--out-dir={self.folder}"]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(self.epoch)}
        done = subprocess.run(
            [_UV, *command, self.tree], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ReleaseError(f"uv build failed: {' '.join(done.stderr.split())}")

    def chart(self) -> None:
        """The chart's package. Raises HelmError."""
        charts.helm(
            "package",
            str(self.tree / CHART.relative_to(ROOT)),
            f"--version={self.version}",
            f"--app-version={self.version}",
            f"--destination={self.folder}",
        )
        package = self.folder / f"{names.ADDON}-{self.version}.tgz"
        package.write_bytes(restamped(package.read_bytes(), self.epoch))

    def installer(self) -> None:
        """Namespace, CRD and what the chart renders, in this order. Raises HelmError."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names.HUB_NAMESPACE}}
        header = _INSTALLER_HEADER.format(addon=names.ADDON, version=self.version)
        parts = [header, yaml.safe_dump(namespace), "---\n", CRD.read_text(), charts.render()]
        (self.folder / "install.yaml").write_text("".join(parts))

    def bill(self) -> None:
        """The bill of materials. Raises SbomError."""
        sbom.main([str(self.folder / f"{names.ADDON}-{self.version}.cdx.json")])

    def monitoring(self) -> None:
        for file in sorted(_MONITORING.iterdir()):
            shutil.copyfile(file, self.folder / file.name)

    def image(self) -> None:
        """As an OCI archive, for this machine's kind of processor. Raises EngineError, NotInstalled, BaseImageError."""
        builder, name = engine.find(), f"{names.IMAGE}:{names.TAG_PREFIX}{self.version}"
        build.build(builder, name, base="auto")
        builder.archive(name, self.folder / f"{names.ADDON}-{self.version}-{binaries.machine()}.oci.tar")

    def checksums(self) -> None:
        """Of all the others, for `sha256sum --check`: a folder without this file is not whole."""
        files = sorted(file for file in self.folder.iterdir() if file.name != SUMS)
        (self.folder / SUMS).write_text("".join(f"{_digest(file)}  {file.name}\n" for file in files))


def restamped(package: bytes, epoch: int) -> bytes:
    """A tar.gz with that time on each of its files and none on itself: helm puts the time of packaging there."""
    plain = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as old,
        tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as new,
    ):
        for member in old:
            member.mtime = epoch
            new.addfile(member, old.extractfile(member))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as writer:
        writer.write(plain.getvalue())
    return packed.getvalue()


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
