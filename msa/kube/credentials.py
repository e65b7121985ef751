"""Who we are to an API server: read from a kubeconfig or from the pod, and read again when the files change.

A rotated hub kubeconfig arrives by a swap of the volume's symlink; a projected token by the same. Reading is cheap, so the
files' content is compared every few seconds, and nothing depends on how the change was made.
"""

import hashlib
import os
import ssl
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from attrs import frozen

from msa.kube.lean_import import config_exception, kubeconfig_loader

_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")


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
    """

    server: str
    authorization: str
    ca: bytes
    tls: ssl.SSLContext | None
    files: tuple[Path, ...]
    digest: str


async def from_kubeconfig(path: Path) -> Credential:
    """The credential of a kubeconfig's current context.

    Raises:
        CredentialError: it cannot be read or used.
    """
    config = _read_kubeconfig(path)
    target = SimpleNamespace(
        api_key={}, host="", ssl_ca_cert=None, cert_file=None, key_file=None, verify_ssl=True
    )
    try:
        await kubeconfig_loader()(config_dict=config, config_base_path=str(path.parent)).load_and_set(target)
    except (config_exception(), OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CredentialError(f"kubeconfig {path}: {_one_line(error)}") from error
    if not target.host:
        raise CredentialError(
            f"kubeconfig {path}: clusters[].cluster.server is empty: name the API server's address"
        )
    files = [
        path,
        *(Path(name) for name in (target.ssl_ca_cert, target.cert_file, target.key_file) if name),
        *_token_files(config, path),
    ]
    return _credential(
        server=target.host,
        authorization=target.api_key.get("BearerToken", ""),
        ca_file=target.ssl_ca_cert,
        client=(target.cert_file, target.key_file) if target.cert_file else None,
        verify=target.verify_ssl,
        files=tuple(files),
    )


async def from_pod() -> Credential:
    """The credential that every pod has (in-cluster configuration).

    Raises:
        CredentialError: this is no pod, or its service account is not mounted.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise CredentialError(
            "this process runs in no pod (KUBERNETES_SERVICE_HOST is not set): say --spoke-kubeconfig=FILE"
        )
    files = (_POD / "token", _POD / "ca.crt")
    try:
        token = files[0].read_bytes()
    except OSError as error:
        raise CredentialError(
            f"{error.filename}: {error.strerror}: is automountServiceAccountToken off?"
        ) from error
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    authorization = f"Bearer {token.decode().strip()}"
    return _credential(
        server=server, authorization=authorization, ca_file=files[1], client=None, verify=True, files=files
    )


def changed(credential: Credential) -> bool:
    """Whether the files say something else than they did. Unreadable ones, as in the middle of a swap, have not changed."""
    try:
        return _digest(credential.files) != credential.digest
    except OSError:
        return False


def _read_kubeconfig(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CredentialError(
            f"kubeconfig {path}: {error.strerror}: mount it or say --kubeconfig=FILE"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CredentialError(f"kubeconfig {path}: no YAML: {_one_line(error)}") from error
    if not isinstance(config, dict) or not config.get("current-context"):
        raise CredentialError(f"kubeconfig {path}: current-context is missing: name the context to use")
    return config


def _token_files(config: dict[str, Any], path: Path) -> list[Path]:
    users = [entry.get("user") or {} for entry in config.get("users") or []]
    return [path.parent / user["tokenFile"] for user in users if "tokenFile" in user]


def _credential(
    *,
    server: str,
    authorization: str,
    ca_file: str | Path | None,
    client: tuple[str, str] | None,
    verify: bool,
    files: tuple[Path, ...],
) -> Credential:
    try:
        ca = Path(ca_file).read_bytes() if ca_file else b""
        tls = _tls(ca, client, verify=verify) if server.startswith("https:") else None
        digest = _digest(files)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise CredentialError(f"{files[0]}: the certificates cannot be used: {_one_line(error)}") from error
    return Credential(server.rstrip("/"), authorization, ca, tls, files, digest)


def _tls(ca: bytes, client: tuple[str, str] | None, *, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca.decode() if ca else None)
    if client is not None:
        context.load_cert_chain(*client)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _digest(files: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
        digest.update(b"\0")
    return digest.hexdigest()


def _one_line(error: BaseException) -> str:
    with suppress(AttributeError):
        if strerror := error.strerror:  # type: ignore[attr-defined]  # an OSError has it
            return f"{strerror} ({getattr(error, 'filename', '')})"
    return " ".join(str(error).split())[:300] or type(error).__name__
