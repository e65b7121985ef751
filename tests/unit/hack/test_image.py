"""What builds the image, on which base, and that the Dockerfile agrees with the project's own pins."""

import json
import re
import sys
from pathlib import Path

import pytest

from hack import debian
from hack.image import base, build, engine
from hack.image.engine import Engine, EngineError

_ROOT = Path(__file__).parents[3]
_DOCKERFILE = (_ROOT / "Dockerfile").read_text()
_PUBLIC = build.default_base(_DOCKERFILE)
_FAKE = """\
#!{python}
import json, pathlib, sys
calls = pathlib.Path({calls!r})
calls.write_text((calls.read_text() if calls.exists() else "") + json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] in {failing}:
    sys.exit("no such luck")
"""


def _fake(folder: Path, name: str, *failing: str) -> Engine:
    """A program that notes how it is called, and fails at these commands."""
    folder.mkdir(exist_ok=True)
    script = folder / name
    calls = str(folder / f"{name}.calls")
    script.write_text(_FAKE.format(python=sys.executable, calls=calls, failing=failing))
    script.chmod(0o755)
    return Engine(str(script))


def _calls(builder: Engine) -> list[list[str]]:
    file = Path(f"{builder.program}.calls")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _build_call(builder: Engine) -> list[str]:
    (call,) = [call for call in _calls(builder) if call[0] == "build" and call[-1] == str(_ROOT)]
    return call


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the path."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_a_docker_without_its_daemon_is_passed_over(only: Path) -> None:
    _fake(only, "docker", "info")
    _fake(only, "podman")
    assert engine.find().name == "podman"


def test_where_nothing_builds_one_line_says_what_to_install(
    only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(debian.NotInstalled, match=r"^install buildah first: [^\n]*$"):
        engine.find()


def test_root_on_debian_has_only_the_missing_package_installed(
    only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    apt = _fake(only, "apt-get")
    _fake(only, "mmdebstrap")
    debian.provide(mmdebstrap="mmdebstrap", runc="runc-package")
    update, install = _calls(apt)
    assert "update" in update
    assert install[-1] == "runc-package"
    assert "mmdebstrap" not in install


def test_people_s_own_settings_of_the_engine_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDAH_ISOLATION", "oci")
    assert Engine("buildah").environment["BUILDAH_ISOLATION"] == "oci"
    monkeypatch.delenv("BUILDAH_ISOLATION")
    assert Engine("buildah").environment["BUILDAH_ISOLATION"] == "chroot"


def test_a_build_without_a_base_leaves_the_choice_to_the_dockerfile(tmp_path: Path) -> None:
    builder = _fake(tmp_path, "podman")
    build.build(builder, "localhost/msa:1")
    call = _build_call(builder)
    assert "--tag=localhost/msa:1" in call
    assert not [flag for flag in call if "BASE_IMAGE" in flag]


def test_a_base_that_is_named_is_taken(tmp_path: Path) -> None:
    builder = _fake(tmp_path, "podman")
    build.build(builder, "localhost/msa:1", "localhost/mine:2")
    assert "--build-arg=BASE_IMAGE=localhost/mine:2" in _build_call(builder)


def test_auto_takes_the_public_base_where_it_can_be_pulled(tmp_path: Path) -> None:
    builder = _fake(tmp_path, "podman", "inspect")
    build.build(builder, "localhost/msa:1", "auto")
    assert ["pull", "--quiet", _PUBLIC] in _calls(builder)
    assert f"--build-arg=BASE_IMAGE={_PUBLIC}" in _build_call(builder)


def test_auto_makes_a_base_where_no_registry_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = tmp_path / "context"
    monkeypatch.setattr(base, "write_context", lambda: context)
    builder = _fake(tmp_path, "podman", "inspect", "pull")
    build.build(builder, "localhost/msa:1", "auto")
    assert ["build", f"--tag={base.NAME}", str(context)] in _calls(builder)
    assert f"--build-arg=BASE_IMAGE={base.NAME}" in _build_call(builder)


def test_auto_asks_no_registry_for_a_base_that_is_there(tmp_path: Path) -> None:
    builder = _fake(tmp_path, "podman")
    build.build(builder, "localhost/msa:1", "auto")
    assert "pull" not in [call[0] for call in _calls(builder)]


def test_a_build_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="podman could not build localhost/msa:1"):
        build.build(_fake(tmp_path, "podman", "build"), "localhost/msa:1")


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("docker", ["save", "--output={file}", "msa:1"]),
        ("podman", ["save", "--quiet", "--format=oci-archive", "--output={file}", "msa:1"]),
        ("buildah", ["push", "--quiet", "msa:1", "oci-archive:{file}:msa:1"]),
    ],
)
def test_each_engine_writes_an_archive_in_its_own_words(
    tmp_path: Path, program: str, says: list[str]
) -> None:
    file = tmp_path / "msa.tar"
    file.write_text("an older one, which podman would refuse to overwrite")
    builder = _fake(tmp_path, program)
    builder.archive("msa:1", file)
    assert _calls(builder) == [[word.format(file=file) for word in says]]
    assert not file.exists()


def test_a_push_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="podman push failed: no such luck"):
        _fake(tmp_path, "podman", "push").push("msa:1")


@pytest.mark.parametrize(
    ("remote", "told"),
    [
        ("https://example.com/a/msa.git", "https://example.com/a/msa"),
        ("https://me:secret@example.com/a/msa", "https://example.com/a/msa"),
        ("git@example.com:a/msa.git", ""),
        ("/home/me/msa", ""),
        ("", ""),
    ],
)
def test_the_source_label_tells_neither_secrets_nor_paths(remote: str, told: str) -> None:
    assert build.source(remote) == told


def test_the_dockerfile_and_the_makefile_pin_the_same_uv() -> None:
    (pinned,) = re.findall(r"^UV_VERSION := (\S+)$", (_ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"uv==(\S+)", _DOCKERFILE) == [pinned]


def test_the_build_sees_what_the_dockerfile_copies_and_nothing_else() -> None:
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", _DOCKERFILE, re.MULTILINE)
        for word in line.split()
    ]
    seen = [line[1:] for line in (_ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(seen)


def test_the_image_runs_as_a_user_known_by_number() -> None:
    """The kubelet checks runAsNonRoot against a number; a name would be refused."""
    (user,) = re.findall(r"^USER (\S+)$", _DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
