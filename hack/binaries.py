"""Provides etcd, kube-apiserver, kube-controller-manager and kubectl of one pinned version, helm of another, and what a node runs.

python -m hack.binaries         those of Kubernetes
python -m hack.binaries helm
python -m hack.binaries node    kubelet, kube-proxy, kube-scheduler, containerd and its tools

Looked for in this order: the folder KUBEBUILDER_ASSETS; the cache that all clones share; envtest's public archive of that
version; a build with Go from the module proxy. Whatever a source lacks (envtest's archive has no kube-controller-manager)
the next one supplies.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from attrs import field, frozen

KUBERNETES = "1.36.3"
ETCD = "3.6.8"
HELM = "3.22.0"
CONTAINERD = "2.4.2"
PAUSE = "1"
"""Of our own init program: raise it with its source, or the cache keeps the old one."""

NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
NODE_NAMES = ("kubelet", "kube-proxy", "kube-scheduler")
RUNTIME_NAMES = ("containerd", "containerd-shim-runc-v2", "ctr", "pause")
_PAUSE = Path(__file__).parent / "node/pause.go"
_ARCHIVED = ("etcd", "kube-apiserver", "kubectl")
"""What envtest's archive holds."""

ENVTEST_INDEX = (
    "https://raw.githubusercontent.com/kubernetes-sigs/controller-tools/HEAD/envtest-releases.yaml"
)
_BUILD_SECONDS = {
    "etcd": 60,
    "kube-apiserver": 290,
    "kube-controller-manager": 80,
    "kubectl": 25,
    "helm": 240,
    "kubelet": 210,
    "kube-proxy": 10,
    "kube-scheduler": 5,
    "containerd": 70,
    "containerd-shim-runc-v2": 3,
    "ctr": 7,
    "pause": 2,
}
"""What a build takes on two cores from nothing, to tell people what to expect."""


class Unavailable(Exception):
    """No way to get a binary here; the message is one line that says what would help."""


@frozen
class Places:
    """Where binaries may come from.

    Attributes:
        assets: KUBEBUILDER_ASSETS, a folder of people's own; None where it is not set.
        cache: shared by all clones of this user.
        index: address of envtest's list of releases.
        connect_seconds: how long to wait for a connection to it.
    """

    assets: Path | None
    cache: Path
    index: str = ENVTEST_INDEX
    connect_seconds: float = 3.0
    platform: str = field(factory=lambda: f"{sys.platform}-{machine()}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Places":
        return cls._with_versions(environment, f"kubernetes-{KUBERNETES}-etcd-{ETCD}")

    @classmethod
    def of_helm(cls, environment: Mapping[str, str]) -> "Places":
        return cls._with_versions(environment, f"helm-{HELM}")

    @classmethod
    def of_runtime(cls, environment: Mapping[str, str]) -> "Places":
        return cls._with_versions(environment, f"containerd-{CONTAINERD}-pause-{PAUSE}")

    @classmethod
    def _with_versions(cls, environment: Mapping[str, str], versions: str) -> "Places":
        """A cache for each set of versions: a new one never finds the old binaries."""
        assets = environment.get("KUBEBUILDER_ASSETS")
        root = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = root / "managed-serviceaccount" / f"{versions}-{sys.platform}-{machine()}"
        return cls(assets=Path(assets) if assets else None, cache=folder)


def machine() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def provide(places: Places, names: tuple[str, ...] = NAMES) -> dict[str, Path]:
    """Path of each binary, by name; what is missing is downloaded or built into the cache, with progress on stderr.

    Raises:
        Unavailable: one is not to be had here.
    """
    if missing := _missing(places, names):
        places.cache.mkdir(parents=True, exist_ok=True)
        with _lock(places.cache):
            for source in (_download, _build):
                if missing := _missing(places, names):
                    source(places, missing)
    return {name: _found(places, name) or places.cache / name for name in names}


def helm() -> Path:
    """The helm that the chart is made and tested with."""
    return provide(Places.of_helm(os.environ), ("helm",))["helm"]


def node() -> dict[str, Path]:
    """What a node runs beside its control plane's binaries."""
    return {
        **provide(Places.from_environment(os.environ), NODE_NAMES),
        **provide(Places.of_runtime(os.environ), RUNTIME_NAMES),
    }


def _found(places: Places, name: str) -> Path | None:
    folders = [folder for folder in (places.assets, places.cache) if folder is not None]
    return next((folder / name for folder in folders if os.access(folder / name, os.X_OK)), None)


def _missing(places: Places, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if _found(places, name) is None]


@contextlib.contextmanager
def _lock(cache: Path) -> Iterator[None]:
    """Two clones never build the same twice: the second waits and says so."""
    with (cache / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another process provides these binaries already; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(places: Places, missing: list[str]) -> None:
    """Takes what envtest's archive of this version has. No connection within the limit: nothing is done, the build is next."""
    if not set(missing) & set(_ARCHIVED):
        return
    try:
        archive = _fetch_archive(places)
    except OSError as error:
        _say(
            f"envtest's archive of Kubernetes {KUBERNETES} cannot be reached ({error}); building with Go instead"
        )
        return
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        for member in tar:
            name = Path(member.name).name
            if name in missing and member.isfile() and (content := tar.extractfile(member)) is not None:
                _install(places.cache, name, content.read())


def _fetch_archive(places: Places) -> bytes:
    """The archive's bytes, checked against the published SHA-512."""
    releases = yaml.safe_load(_fetch(places.index, places.connect_seconds))["releases"]
    system, machine = places.platform.split("-")
    try:
        entry = releases[f"v{KUBERNETES}"][f"envtest-v{KUBERNETES}-{system}-{machine}.tar.gz"]
    except KeyError:
        raise OSError(f"it has none for {places.platform}") from None
    _say(f"downloading {entry['selfLink']}")
    archive = _fetch(entry["selfLink"], places.connect_seconds)
    if hashlib.sha512(archive).hexdigest() != entry["hash"]:
        raise Unavailable(
            f"{entry['selfLink']} is not what its index promises (SHA-512 differs): try again, or set KUBEBUILDER_ASSETS"
        )
    return archive


def _fetch(address: str, seconds: float) -> bytes:
    if not address.startswith(("https://", "http://127.0.0.1:")):
        raise OSError(f"{address} is no https address")
    with urllib.request.urlopen(address, timeout=seconds) as answer:  # noqa: S310 - the scheme was checked above
        body: bytes = answer.read()
        return body


def _install(cache: Path, name: str, content: bytes) -> None:
    """Whole or not at all: a killed run leaves no half binary under its name."""
    with tempfile.NamedTemporaryFile(dir=cache, delete=False) as half:
        half.write(content)
    Path(half.name).chmod(0o755)
    Path(half.name).replace(cache / name)


_STAGING = [
    "api",
    "apiextensions-apiserver",
    "apimachinery",
    "apiserver",
    "cli-runtime",
    "client-go",
    "cloud-provider",
    "cluster-bootstrap",
    "code-generator",
    "component-base",
    "component-helpers",
    "controller-manager",
    "cri-api",
    "cri-client",
    "cri-streaming",
    "csi-translation-lib",
    "dynamic-resource-allocation",
    "endpointslice",
    "externaljwt",
    "kms",
    "kube-aggregator",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "metrics",
    "mount-utils",
    "pod-security-admission",
    "sample-apiserver",
    "sample-controller",
    "streaming",
]
"""Modules that live inside Kubernetes' own repository; outside of it each must be pinned by a `replace`."""


def _build(places: Places, missing: list[str]) -> None:
    if shutil.which("go") is None:
        raise Unavailable(
            f"{', '.join(missing)} ({places.cache.name}) cannot be had for {places.platform}: "
            "install Go 1.26 or later, or set KUBEBUILDER_ASSETS to a folder that holds them"
        )
    expected = sum(_BUILD_SECONDS[name] for name in missing)
    _say(
        f"building {', '.join(missing)} with Go into {places.cache}: up to {expected / 60:.0f} minutes on two cores, once per machine"
    )
    for name in missing:
        with tempfile.TemporaryDirectory(dir=places.cache) as folder:
            _build_one(Path(folder), name)
            (Path(folder) / "out").replace(places.cache / name)


@frozen
class _Recipe:
    """How Go builds a program.

    Attributes:
        module: with its version.
        stamps: package variables that hold the version, to their values.
        replaces: lines of go.mod.
        source: the program itself where no module holds it.
    """

    package: str
    module: str = ""
    stamps: dict[str, str] = field(factory=dict)
    replaces: str = ""
    source: str = ""


def _recipe(name: str) -> _Recipe:
    major, minor, _ = KUBERNETES.split(".")
    if name == "etcd":
        package = "go.etcd.io/etcd/server/v3"
        return _Recipe(package, f"{package}@v{ETCD}")
    if name == "helm":
        # Charts are checked against this Kubernetes where nothing else is said; helm's own default is 1.20.
        target = {
            f"helm.sh/helm/v3/pkg/{package}.k8sVersion{part}": value
            for package in ("chartutil", "lint/rules")
            for part, value in (("Major", major), ("Minor", minor))
        }
        stamps = {"helm.sh/helm/v3/internal/version.version": f"v{HELM}", **target}
        return _Recipe("helm.sh/helm/v3/cmd/helm", f"helm.sh/helm/v3@v{HELM}", stamps)
    if name == "pause":
        return _Recipe(".", source=_PAUSE.read_text())
    if name in RUNTIME_NAMES:
        module = "github.com/containerd/containerd/v2"
        return _Recipe(
            f"{module}/cmd/{name}", f"{module}@v{CONTAINERD}", {f"{module}/version.Version": f"v{CONTAINERD}"}
        )
    staged = f"v0.{KUBERNETES.split('.', 1)[1]}"
    version = "k8s.io/component-base/version.git"
    return _Recipe(
        f"k8s.io/kubernetes/cmd/{name}",
        f"k8s.io/kubernetes@v{KUBERNETES}",
        {f"{version}Version": f"v{KUBERNETES}", f"{version}Major": major, f"{version}Minor": minor},
        "".join(f"replace k8s.io/{module} => k8s.io/{module} {staged}\n" for module in _STAGING),
    )


def _build_one(folder: Path, name: str) -> None:
    recipe = _recipe(name)
    flags = " ".join(["-s -w", *(f"-X {variable}={value}" for variable, value in recipe.stamps.items())])
    (folder / "go.mod").write_text(f"module binaries\n\ngo 1.26.0\n\n{recipe.replaces}")
    if recipe.source:
        (folder / "main.go").write_text(recipe.source)
    else:
        tools = f'//go:build tools\n\npackage binaries\n\nimport _ "{recipe.package}"\n'
        (folder / "tools.go").write_text(tools)
        _go(folder, f"{name}: modules", "get", recipe.module)
    _go(folder, f"{name}: compile", "build", "-trimpath", "-ldflags", flags, "-o", "out", recipe.package)


def _go(folder: Path, what: str, *arguments: str) -> None:
    environment = {
        **os.environ,
        "GOFLAGS": "-mod=mod",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
        "GOWORK": "off",
    }
    start = time.monotonic()
    with (folder / "go.log").open("w+") as log:
        process = subprocess.Popen(["go", *arguments], cwd=folder, env=environment, stdout=log, stderr=log)
        while True:
            try:
                code = process.wait(timeout=15)
                break
            except subprocess.TimeoutExpired:
                _say(f"  {what}, {time.monotonic() - start:.0f} s so far")
        log.seek(0)
        if code != 0:
            raise Unavailable(f"go {arguments[0]} failed for {what}: {log.read().strip().splitlines()[-1]}")
    _say(f"  {what} took {time.monotonic() - start:.0f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Prints where they are."""
    try:
        match arguments:
            case ["helm"]:
                found = {"helm": helm()}
            case ["node"]:
                found = node()
            case _:
                found = provide(Places.from_environment(os.environ))
    except Unavailable as error:
        _say(f"binaries: {error}")
        return 1
    print("\n".join(str(path) for path in found.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
