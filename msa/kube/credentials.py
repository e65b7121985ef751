"""Who we are to an API server: read from a kubeconfig or from the pod, and read again when the files change.

A rotated hub kubeconfig arrives by a swap of the volume's symlink; a projected token by the same. Reading is cheap, so the
files' content is compared every few seconds, and nothing depends on how the change was made. Each file is read once for each
credential: what is compared later are the very bytes in use, so a swap in the middle of the reading is noticed like any other.
"""

import hashlib
import logging
import os
import re
import ssl
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import SimpleNamespace
from typing import Any

import yaml
from attrs import field, frozen

from msa.kube.lean_import import config_exception, kubeconfig_loader
from msa.kube.proxies import proxy_of_environment

_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_OUT_OF_SHAPE = (ValueError, TypeError, LookupError, AttributeError, AssertionError)
"""What libraries raise where a document says something else than they expect."""

_YAML_TOKENS = frozenset(vars(token)["id"] for token in yaml.Token.__subclasses__())
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|['"].*""")
_SHORTEST_SECRET = 4
_CA, _CERTIFICATE, _KEY = "certificate-authority", "client-certificate", "client-key"


class CredentialError(Exception):
    """No usable credential; the message is one line that names the file, what is wrong with it and what would help."""


@frozen(repr=False)
class Credential:
    """What is needed to speak to one API server.

    Attributes:
        server: its address, without a slash at the end.
        authorization: value of the Authorization header, "" with a client certificate.
        ca: the CA bundle in PEM, empty where the system's CAs are trusted.
        tls: ready to use; None for plain http.
        files: what it was read from.
        digest: of everything that was read, to see a change.
        tls_server_name: the name its certificate must have, where that is not the address's; else "".
        proxy: URL of the HTTP proxy to go through, "" for none.
    """

    server: str
    authorization: str
    ca: bytes
    tls: ssl.SSLContext | None
    files: tuple[Path, ...]
    digest: str
    tls_server_name: str = ""
    proxy: str = ""


@frozen
class _Files:
    """Each file's content, as it was when it was needed."""

    contents: dict[Path, bytes] = field(factory=dict)

    def read(self, path: Path) -> bytes:
        return self.contents.setdefault(path, path.read_bytes())

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(self.contents)

    @property
    def digest(self) -> str:
        return _digest(self.contents.values())


async def from_kubeconfig(path: Path, *, also_trusted: Path | None = None) -> Credential:
    """The credential of a kubeconfig's current context.

    Args:
        path: of the kubeconfig.
        also_trusted: PEM of CAs that the server's certificate may be from besides: of a proxy that looks into TLS.

    Raises:
        CredentialError: it cannot be read or used.
    """
    files = _Files()
    config = _read_kubeconfig(path, files)
    target = SimpleNamespace(api_key={}, host="", verify_ssl=True, tls_server_name="", proxy="")
    target.cert_file = target.key_file = None
    try:
        tls = _take_files(config, path.parent, files)
        await _load(config, path.parent, target)
        if target.cert_file:  # from an exec plugin
            tls = {**tls, _CERTIFICATE: _bytes_of(target.cert_file), _KEY: _bytes_of(target.key_file)}
    except (config_exception(), OSError, *_OUT_OF_SHAPE) as error:
        raise CredentialError(f"kubeconfig {path}: {_without_content(error, config)}") from None
    if not target.host:
        raise CredentialError(
            f"kubeconfig {path}: clusters[].cluster.server is empty: name the API server's address"
        )
    try:
        context = _context(tls, verify=target.verify_ssl) if target.host.startswith("https:") else None
        if context is not None and also_trusted is not None:
            context.load_verify_locations(cadata=files.read(also_trusted).decode())
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise CredentialError(
            f"kubeconfig {path}: the certificates cannot be used: {_one_line(error)}"
        ) from error
    return _credential(target, tls, context, files)


def _credential(
    target: SimpleNamespace, tls: Mapping[str, bytes], context: ssl.SSLContext | None, files: _Files
) -> Credential:
    return Credential(
        server=target.host.rstrip("/"),
        authorization=target.api_key.get("BearerToken", ""),
        ca=tls.get(_CA, b""),
        tls=context,
        files=files.paths,
        digest=files.digest,
        tls_server_name=target.tls_server_name or "",
        proxy=target.proxy or proxy_of_environment(target.host, os.environ),
    )


async def from_pod(instead: str) -> Credential:
    """The credential that every pod has (in-cluster configuration).

    Args:
        instead: the flag that names a kubeconfig, for who runs in no pod.

    Raises:
        CredentialError: this is no pod, or its service account is not mounted.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise CredentialError(
            f"this process runs in no pod (KUBERNETES_SERVICE_HOST is not set): say {instead}=FILE"
        )
    files = _Files()
    try:
        token, ca = files.read(_POD / "token"), files.read(_POD / "ca.crt")
        context = _context({_CA: ca}, verify=True)
    except OSError as error:
        raise CredentialError(f"{_one_line(error)}: is automountServiceAccountToken off?") from error
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Credential(
        server=server,
        authorization=f"Bearer {token.decode().strip()}",
        ca=ca,
        tls=context,
        files=files.paths,
        digest=files.digest,
        proxy=proxy_of_environment(server, os.environ),
    )


def changed(credential: Credential) -> bool:
    """Whether the files say something else than they did. Unreadable ones, as in the middle of a swap, have not changed."""
    try:
        return _digest([file.read_bytes() for file in credential.files]) != credential.digest
    except OSError:
        return False


def _read_kubeconfig(path: Path, files: _Files) -> dict[str, Any]:
    try:
        config = yaml.safe_load(files.read(path))
    except OSError as error:
        raise CredentialError(
            f"kubeconfig {path}: {error.strerror}: mount it or say --kubeconfig=FILE"
        ) from error
    except (yaml.YAMLError, RecursionError, *_OUT_OF_SHAPE) as error:
        raise CredentialError(f"kubeconfig {path}: no YAML: {_yaml_problem(error)}") from None
    if not isinstance(config, dict) or not config.get("current-context"):
        raise CredentialError(f"kubeconfig {path}: current-context is missing: name the context to use")
    return config


async def _load(config: dict[str, Any], base: Path, target: SimpleNamespace) -> None:
    loader = kubeconfig_loader()
    logging.getLogger(loader.__module__).disabled = True  # it logs what it raises, with what the file says
    await loader(config_dict=config, config_base_path=str(base)).load_and_set(target)


def _yaml_problem(error: Exception) -> str:
    """Where it is and what it is. PyYAML's own text shows the line, and a token may stand there."""
    match error:
        case yaml.MarkedYAMLError(problem=str(problem), problem_mark=yaml.Mark() as mark):
            return f"line {mark.line + 1}, column {mark.column + 1}: {_unquoted(problem)}"
        case yaml.reader.ReaderError():
            return f"character {error.position + 1}: {error.reason}"
        case RecursionError():
            return "it is nested too deeply"
        case _:
            return "a value is not what its tag or its form says"


def _unquoted(problem: str) -> str:
    """The text without what it quotes of the file; YAML's own tokens and single characters tell nothing."""

    def shown(quoted: re.Match[str]) -> str:
        inner = quoted[0][1:-1]
        return quoted[0] if inner in _YAML_TOKENS or inner == "\\t" or len(inner) == 1 else "..."

    return _QUOTED.sub(shown, problem)


def _without_content(error: Exception, config: dict[str, Any]) -> str:
    """What is wrong, without anything that the kubeconfig says: a key or a token may stand where a name should."""
    if isinstance(error, OSError):
        return f"a file or program that it names: {error.strerror}"
    text = str(error)
    for content in sorted(_texts(config), key=len, reverse=True):
        if len(content) >= _SHORTEST_SECRET:
            text = text.replace(content, "...")
    return " ".join(text.split())[:300] or type(error).__name__


def _texts(node: object) -> Iterator[str]:
    match node:
        case str():
            yield node
        case dict():
            yield from chain.from_iterable(map(_texts, node.values()))
        case list():
            yield from chain.from_iterable(map(_texts, node))


def _take_files(config: dict[str, Any], base: Path, files: _Files) -> dict[str, bytes]:
    """Takes CA, certificate and key of the current context out of the kubeconfig, read, and puts a token file's content in.

    Left to itself the loader would write certificates to files, which a read-only file system does not allow, and read
    others at a time of its own.
    """
    context = _named(config, "contexts", config["current-context"]).get("context") or {}
    cluster = _named(config, "clusters", context.get("cluster")).get("cluster") or {}
    user = _named(config, "users", context.get("user")).get("user") or {}
    if token_file := user.pop("tokenFile", ""):
        user["token"] = _read_named(files, base / token_file, "tokenFile").decode().strip()
    taken = {}
    for entry, name in ((cluster, _CA), (user, _CERTIFICATE), (user, _KEY)):
        file, data = entry.pop(name, ""), entry.pop(f"{name}-data", "")
        if data or file:
            taken[name] = b64decode(data, validate=True) if data else _read_named(files, base / file, name)
    return taken


def _read_named(files: _Files, path: Path, key: str) -> bytes:
    try:
        return files.read(path)
    except OSError as error:
        raise ValueError(f"the file that {key} names: {error.strerror}") from None


def _named(config: dict[str, Any], section: str, name: str | None) -> dict[str, Any]:
    """The entry of that name; an empty one where there is none, which the loader then tells in its own words."""
    entries = (entry for entry in config.get(section) or () if entry.get("name") == name)
    return next(entries, {})


def _context(tls: Mapping[str, bytes], *, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=tls[_CA].decode() if tls.get(_CA) else None)
    # As Go does, whatever this version of Python does: an intermediate authority may be all that is trusted, and a certificate without
    # the identifier of its authority's key, which many clusters have, is good.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if _CERTIFICATE in tls:
        with _as_file(tls[_CERTIFICATE] + b"\n" + tls.get(_KEY, b"")) as name:
            context.load_cert_chain(name)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """The name of a file with this content: `ssl` reads keys from nothing else. In memory where the system has that."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("client"), "wb", buffering=0) as file:
            file.write(content)
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with NamedTemporaryFile(buffering=0) as file:
            file.write(content)
            yield file.name


def _bytes_of(file: str | None) -> bytes:
    return Path(file).read_bytes() if file else b""


def _digest(contents: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _one_line(error: BaseException) -> str:
    with suppress(AttributeError):
        if strerror := error.strerror:  # type: ignore[attr-defined]  # an OSError has it
            return f"{strerror} ({getattr(error, 'filename', '')})"
    return " ".join(str(error).split())[:300] or type(error).__name__
