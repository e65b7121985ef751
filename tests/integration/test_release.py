"""What a release consists of, built by the real uv and helm, installed and applied. The image has its own tests."""

import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import msa
from hack.charts import helm
from hack.clusters import Cluster
from hack.release.artifacts import ROOT, Artifacts
from msa.api import names
from tests.support.chart_hub import bare_hub, get

_UV = ROOT / "build/uv/bin/uv"
_EPOCH = 1_700_000_000
_MANAGER = "managed-serviceaccount-addon-manager"
_RENDER = """
from msa.hub import render
values = dict.fromkeys(("INSTALL_NAMESPACE", "CLUSTER_NAME", "AGENT_IMAGE"), "x")
print(len(render.agent_objects({**values, "EPHEMERAL_IDENTITY": "true"})))
"""

_IMPORT = """
import importlib, pkgutil, msa
# A program's start, and what is for programs that have these libraries.
OTHERS = ("msa.__main__", "msa.client.for_httpx", "msa.client.for_kubernetes")
found = [module.name for module in pkgutil.walk_packages(msa.__path__, "msa.") if module.name not in OTHERS]
print(len([importlib.import_module(name) for name in found]))
"""

pytestmark = pytest.mark.timeout(300)


def _build(artifacts: Artifacts) -> Path:
    artifacts.folder.mkdir()
    artifacts.packages()
    artifacts.chart()
    artifacts.installer()
    artifacts.bill()
    artifacts.monitoring()
    artifacts.checksums()
    return artifacts.folder


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(Artifacts(tmp_path_factory.mktemp("release") / "dist", msa.__version__, _EPOCH))


@pytest.fixture(scope="module")
def environment(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing but the wheel and what it asks for, in the versions of uv.lock."""
    folder = tmp_path_factory.mktemp("environment")
    pins = folder / "pins.txt"
    exporting = ["export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", f"--output-file={pins}"]
    subprocess.run([_UV, *exporting], cwd=ROOT, check=True)
    subprocess.run([_UV, "venv", "--quiet", "--no-python-downloads", folder / "venv"], cwd=ROOT, check=True)
    installing = ["pip", "install", "--quiet", f"--python={folder}/venv", f"--constraints={pins}"]
    subprocess.run([_UV, *installing, _wheel(dist)], cwd=folder, check=True)
    return folder / "venv/bin"


def _wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def plane(home: Path) -> Iterator[Cluster]:
    with bare_hub("release", home) as cluster:
        yield cluster


def test_a_release_has_these_files_and_its_checksums_verify(dist: Path) -> None:
    version = msa.__version__
    expected = {
        f"managed_serviceaccount-{version}-py3-none-any.whl",
        f"managed_serviceaccount-{version}.tar.gz",
        f"managed-serviceaccount-{version}.tgz",
        f"managed-serviceaccount-{version}.cdx.json",
        "install.yaml",
        *(file.name for file in (ROOT / "manifests/monitoring").iterdir()),
    }
    assert {file.name for file in dist.iterdir()} == expected | {"SHA256SUMS"}
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=dist,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line.removesuffix(": OK") for line in checked.stdout.splitlines()} == expected


def test_the_same_tree_gives_the_same_bytes_at_another_time_and_place(dist: Path, tmp_path: Path) -> None:
    """A clone's files have the time of the checkout, and the modes that its user's umask leaves them."""
    clone = tmp_path / "clone"
    for name in ("msa", "manifests"):
        shutil.copytree(ROOT / name, clone / name, copy_function=shutil.copyfile)
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore"):
        shutil.copyfile(ROOT / name, clone / name)
    for file in clone.rglob("*"):
        file.chmod(file.stat().st_mode & 0o700)
    again = _build(Artifacts(tmp_path / "dist", msa.__version__, _EPOCH, tree=clone))
    assert {file.name: file.read_bytes() for file in again.iterdir()} == {
        file.name: file.read_bytes() for file in dist.iterdir()
    }


def test_the_wheel_holds_the_package_whole_and_nothing_else(dist: Path) -> None:
    held = {name for name in zipfile.ZipFile(_wheel(dist)).namelist() if ".dist-info/" not in name}
    files = {path.relative_to(ROOT) for path in (ROOT / "msa").rglob("*") if path.is_file()}
    assert held == {str(path) for path in files if "__pycache__" not in path.parts}
    assert "msa/hub/templates/agent.yaml" in held


@pytest.mark.parametrize("command", ["msa", "msa agent", "msa manager", "cp-creds"])
def test_the_wheel_alone_brings_programs_that_run(environment: Path, tmp_path: Path, command: str) -> None:
    program, *arguments = command.split()
    done = subprocess.run(
        [environment / program, *arguments, "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.lower().startswith(f"usage: {command}")


def test_the_wheel_alone_renders_the_agents_manifests(environment: Path, tmp_path: Path) -> None:
    assert int(_python(environment, tmp_path, _RENDER)) > 5


def test_the_wheel_asks_for_every_library_that_one_of_its_modules_imports(
    environment: Path, tmp_path: Path
) -> None:
    """The help alone loads few of them."""
    assert int(_python(environment, tmp_path, _IMPORT)) > 50


def _python(environment: Path, folder: Path, program: str) -> str:
    command = [str(environment / "python"), "-I", "-c", program]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_the_charts_package_lints_and_renders_its_own_version(dist: Path) -> None:
    package = str(dist / f"managed-serviceaccount-{msa.__version__}.tgz")
    assert helm("lint", "--strict", "--quiet", package).strip() == ""
    shown = yaml.safe_load(helm("show", "chart", package))
    assert (shown["version"], shown["appVersion"]) == (msa.__version__, msa.__version__)
    assert f'image: "{names.IMAGE}:{names.TAG_PREFIX}{msa.__version__}"' in helm(
        "template", names.ADDON, package
    )
    assert names.PLURAL in helm("show", "crds", package)


def test_the_installer_is_applied_to_an_empty_hub_in_one_go(dist: Path, plane: Cluster) -> None:
    """Really, first: a dry run would miss the namespace that the file itself brings. Then the dry runs have nothing to do."""
    file = str(dist / "install.yaml")
    applied = plane.kubectl("apply", "-f", file).splitlines()
    assert len(applied) > 10
    assert [line for line in applied if not line.endswith(" created")] == []
    assert plane.kubectl("apply", "--dry-run=server", "-f", file).count("(server dry run)") == len(applied)
    assert plane.kubectl("diff", "-f", file) == ""
    deployment = get(plane, "deployment", _MANAGER, "-n", names.HUB_NAMESPACE)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{names.IMAGE}:{names.TAG_PREFIX}{msa.__version__}"
    plane.kubectl("wait", "--for=condition=Established", f"crd/{names.PLURAL}.{names.GROUP}")


def test_no_object_of_the_installer_is_applied_before_what_it_needs(dist: Path) -> None:
    kinds = [item["kind"] for item in yaml.safe_load_all((dist / "install.yaml").read_text()) if item]
    assert kinds[:2] == ["Namespace", "CustomResourceDefinition"]
    assert max(kinds.index("ServiceAccount"), kinds.index("ClusterRoleBinding")) < kinds.index("Deployment")
