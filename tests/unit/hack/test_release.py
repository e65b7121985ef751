"""What a release refuses, and what about its archives needs neither helm nor uv."""

import gzip
import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

import msa
from hack.generate import CHART
from hack.release.artifacts import ROOT, Artifacts, restamped
from hack.release.build import run
from hack.release.versions import Place, places, refusal

_CHART = "manifests/charts/managed-serviceaccount/Chart.yaml"
_FILES = {
    "msa/__init__.py": '"""Words."""\n\n__version__ = "1.2.3"\n',
    _CHART: "name: it\nversion: 1.2.3\nappVersion: 1.2.3\n",
    "manifests/default/hub.yaml": "image: quay.io/open-cluster-management/managed-serviceaccount:msa-v1.2.3\n",
    "manifests/overlays/addontemplate/hub.yaml": (
        'image: "quay.io/open-cluster-management/managed-serviceaccount:msa-v1.2.3"\n'
        "- --agent-image-name=quay.io/open-cluster-management/managed-serviceaccount:msa-v1.2.3\n"
    ),
    "CHANGELOG.md": "# Changelog\n\n## 1.2.3 - 2026-11-25\n\n- New.\n\n## 1.2.2 - 2026-10-01\n",
}


def _tree(root: Path, **others: str) -> Path:
    """One that is 1.2.3, but for those files."""
    for name, text in {**_FILES, **others}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_chart_and_kustomize_bases_say_the_version_of_the_programs() -> None:
    said = [place for place in places(ROOT) if place.file != "CHANGELOG.md"]
    assert [str(place) for place in said if place.says != msa.__version__] == []
    assert len({place.file for place in said}) == 4


def test_the_chart_has_no_other_default_tag_than_its_version() -> None:
    assert yaml.safe_load((CHART / "values.yaml").read_text())["tag"] == ""


def test_the_newest_section_of_the_changelog_is_this_version_or_not_released() -> None:
    assert places(ROOT)[-1].says in ("Unreleased", msa.__version__)


def test_a_tree_that_says_one_version_throughout_is_that_version(tmp_path: Path) -> None:
    assert refusal("1.2.3", places(_tree(tmp_path)), changed=[]) == ""


@pytest.mark.parametrize(
    ("file", "text", "place"),
    [
        ("msa/__init__.py", '__version__ = "1.2.2"\n', "msa/__init__.py:1 says 1.2.2"),
        (_CHART, "version: 1.2.2\nappVersion: 1.2.3\n", f"{_CHART}:1 says 1.2.2"),
        (_CHART, "version: 1.2.3\nappVersion: 1.2.2\n", f"{_CHART}:2 says 1.2.2"),
        (_CHART, "version: 1.2.3\n", f"{_CHART}:0 says nothing"),
        ("manifests/default/hub.yaml", "image: none\n", "manifests/default/hub.yaml:0 says nothing"),
        ("CHANGELOG.md", "# Changelog\n\n## Unreleased\n", "CHANGELOG.md:3 says Unreleased"),
        ("CHANGELOG.md", "# Changelog\n\n## [1.2.4] - 2027\n\n## 1.2.3\n", "CHANGELOG.md:3 says 1.2.4"),
        ("CHANGELOG.md", "# Changelog\n", "CHANGELOG.md:0 says nothing"),
    ],
)
def test_the_one_line_that_says_another_version_is_named(
    tmp_path: Path, file: str, text: str, place: str
) -> None:
    found = places(_tree(tmp_path, **{file: text}))
    assert refusal("1.2.3", found, changed=[]) == f"the tree is not 1.2.3: {place}"


def test_every_place_is_named_when_another_version_is_asked_for(tmp_path: Path) -> None:
    said = refusal("2.0.0", places(_tree(tmp_path)), changed=[])
    assert said.count(" says 1.2.3") == 7
    assert "\n" not in said


def test_a_tree_with_changes_is_refused_and_the_first_is_named() -> None:
    found = [Place("CHANGELOG.md", 1, "1.2.3")]
    assert refusal("1.2.3", found, ["a.py"]).startswith("a.py is not as the last commit has it")
    assert refusal("1.2.3", found, ["a.py", "b.py", "c.py"]).startswith("a.py and 2 more is not")


def test_the_command_says_why_not_in_one_line_and_touches_nothing(tmp_path: Path) -> None:
    """In a clone of nothing but the files that it reads: this one may have a release in dist/."""
    clone = _tree(tmp_path)
    shutil.copytree(ROOT / "hack", clone / "hack", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "msa", clone / "msa", dirs_exist_ok=True)
    (clone / "dist").mkdir()
    (clone / "dist/old").touch()
    command = [sys.executable, "-m", "hack.release", "9.9.9"]
    subprocess.run(["git", "init", "--quiet"], cwd=clone, check=True)
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("release: the tree is not 9.9.9: msa/__init__.py:3 says ")
    assert done.stderr.count("\n") == 1
    assert (clone / "dist/old").exists()


def test_each_step_is_told_before_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        run({"chart": lambda: None, "image": fail})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1/2 chart"
    assert lines[1].endswith(" s")
    assert lines[2:] == ["2/2 image"]


def _packed(mtime: int) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name in ("b", "a"):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = 1, mtime
            tar.addfile(member, io.BytesIO(name.encode()))
    return gzip.compress(plain.getvalue(), mtime=mtime)


def test_the_time_of_packaging_is_in_no_byte_of_a_package() -> None:
    package = restamped(_packed(1_000_000_000), epoch=1_700_000_000)
    assert package == restamped(_packed(1_234_567_890), epoch=1_700_000_000)
    with tarfile.open(fileobj=io.BytesIO(package)) as tar:
        contents = [(member.name, member.mtime, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]  # both are files
    assert contents == [("b", 1_700_000_000, b"b"), ("a", 1_700_000_000, b"a")]


def test_checksums_are_of_every_file_but_themselves_and_tell_a_changed_one(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("two")
    (tmp_path / "a").write_text("one")
    artifacts = Artifacts(tmp_path, "1.2.3", epoch=0)
    artifacts.checksums()
    artifacts.checksums()
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "a: OK\nb: OK\n"
    (tmp_path / "b").write_text("three")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 1
