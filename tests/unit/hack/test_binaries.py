"""Where Kubernetes' binaries come from, in which order, and what is said when they cannot be had."""

import hashlib
import io
import shutil
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from hack.binaries import KUBERNETES, NAMES, Places, Unavailable, provide

_ARCHIVED = ("etcd", "kube-apiserver", "kubectl")


def _fill(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


def _archive() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in _ARCHIVED:
            entry = tarfile.TarInfo(f"controller-tools/envtest/{name}")
            entry.size = len(name)
            tar.addfile(entry, io.BytesIO(name.encode()))
    return packed.getvalue()


@pytest.fixture
def site() -> Iterator[dict[str, bytes]]:
    """A local server of envtest's index and archive; "address" is its own."""
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = files.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        files["address"] = address.encode()
        files["/archive"] = _archive()
        entry = {"hash": hashlib.sha512(files["/archive"]).hexdigest(), "selfLink": f"{address}/archive"}
        files["/index"] = yaml.safe_dump(
            {"releases": {f"v{KUBERNETES}": {f"envtest-v{KUBERNETES}-linux-amd64.tar.gz": entry}}}
        ).encode()
        yield files
        server.shutdown()


def _places(tmp_path: Path, site: dict[str, bytes] | None = None, *, assets: Path | None = None) -> Places:
    index = f"{site['address'].decode()}/index" if site else "http://127.0.0.1:1/index"
    return Places(assets, tmp_path / "cache", index=index, connect_seconds=0.5, platform="linux-amd64")


@pytest.fixture
def no_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)


def test_kubebuilder_assets_come_first(tmp_path: Path) -> None:
    assets = _fill(tmp_path / "assets")
    _fill(tmp_path / "cache")
    assert provide(_places(tmp_path, assets=assets)) == {name: assets / name for name in NAMES}


def test_what_assets_lack_comes_from_the_cache(tmp_path: Path) -> None:
    assets = _fill(tmp_path / "assets", _ARCHIVED)
    cache = _fill(tmp_path / "cache", ("kube-controller-manager",))
    found = provide(_places(tmp_path, assets=assets))
    assert found["kubectl"].parent == assets
    assert found["kube-controller-manager"].parent == cache


def test_the_archive_is_taken_when_its_checksum_is_right(tmp_path: Path, site: dict[str, bytes]) -> None:
    _fill(tmp_path / "cache", ("kube-controller-manager",))
    found = provide(_places(tmp_path, site))
    assert found["etcd"].read_text() == "etcd"
    assert found["etcd"].stat().st_mode & 0o111


def test_an_archive_with_another_checksum_is_refused(tmp_path: Path, site: dict[str, bytes]) -> None:
    site["/archive"] += b"x"
    with pytest.raises(Unavailable, match="SHA-512"):
        provide(_places(tmp_path, site))
    assert not (tmp_path / "cache" / "etcd").exists()


@pytest.mark.usefixtures("no_go")
def test_without_any_source_one_line_says_what_would_help(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"install Go 1\.26 or later, or set KUBEBUILDER_ASSETS") as caught:
        provide(_places(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("no_go")
def test_a_site_that_does_not_answer_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        places = Places(
            None, tmp_path / "cache", f"http://127.0.0.1:{silent.getsockname()[1]}/", 0.5, "linux-amd64"
        )
        start = time.monotonic()
        with pytest.raises(Unavailable):
            provide(places)
        assert time.monotonic() - start < 3


@pytest.mark.usefixtures("no_go")
def test_an_unsupported_machine_is_named(tmp_path: Path, site: dict[str, bytes]) -> None:
    index = f"{site['address'].decode()}/index"
    with pytest.raises(Unavailable, match="plan9-mips"):
        provide(Places(None, tmp_path / "cache", index, 0.5, "plan9-mips"))


def test_a_second_run_asks_nobody(tmp_path: Path) -> None:
    _fill(tmp_path / "cache")
    start = time.monotonic()
    provide(_places(tmp_path))
    assert time.monotonic() - start < 0.1
