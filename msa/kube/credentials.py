"""Who we are to an API server: read from a kubeconfig or from the pod, and read again when the files change.

A rotated hub kubeconfig arrives by a swap of the volume's symlink; a projected token by the same. Reading is cheap, so the
files' content is compared every few seconds, and nothing depends on how the change was made. Each file is read once for each
credential: what is compared later are the very bytes in use, so a swap in the middle of the reading is noticed like any other.

`cp-creds` is started anew whenever another program needs a token, so what only some credentials need is imported when it is needed.
"""

import hashlib
import os
import re
import ssl
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from attrs import field, frozen

from msa import pem
from msa.kube.proxies import proxy_for
from msa.kube.tls import CA, Trust, context

_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"
_HOST_NAME = re.compile(r"[A-Za-z0-9.:_-]+")


class CredentialError(Exception):
    """No usable credential; the message is one line that names the file, what is wrong with it and what would help."""


@frozen(repr=False)
class Credential:
    """What is needed to speak to one API server.

    Attributes:
        server: its address, without blanks around it and a slash at the end.
        authorization: value of the Authorization header, "" with a client certificate.
        ca: the CA bundle in PEM that every reader takes, empty where the system's CAs are trusted.
        tls: ready to use; None for plain http.
        files: what it was read from.
        digest: of everything that was read, to see a change.
        tls_server_name: the name its certificate must have, where that is not the address's; else "".
        proxy: URL of the HTTP proxy to go through, "" for none.
        certificate_digest: of the client certificate that a program gave, which is in none of the files; "" for none.
        expires_at: when what a program gave ends, as it says; None where it does not.
        certificate_ends: when the client certificate does; None without one.
        trust: what `tls` trusts, to trust less of it; None where no server is verified.
    """

    server: str
    authorization: str
    ca: bytes
    tls: ssl.SSLContext | None
    files: tuple[Path, ...]
    digest: str
    tls_server_name: str = ""
    proxy: str = ""
    certificate_digest: str = ""
    expires_at: datetime | None = None
    certificate_ends: datetime | None = None
    trust: Trust | None = None


@frozen
class Files:
    """Each file's content, as it was when it was needed."""

    contents: dict[Path, bytes] = field(factory=dict)

    def read(self, path: Path) -> bytes:
        if path not in self.contents:
            self.contents[path] = path.read_bytes()
        return self.contents[path]

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
    from msa.kube.kubeconfig import Kubeconfig  # noqa: PLC0415 - PyYAML comes with it

    kubeconfig = Kubeconfig.read((path,), remedy="mount it or set --kubeconfig=FILE")
    proof = await kubeconfig.asked() if kubeconfig.must_ask else kubeconfig.written()
    return kubeconfig.credential(proof, also_trusted=also_trusted)


def in_pod() -> bool:
    """Whether this is a pod whose service account is mounted, as client-go decides it."""
    return all(map(os.environ.get, (_HOST, _PORT))) and (_POD / "token").is_file()


def pod_namespace() -> str:
    """The namespace that this pod runs in; "" outside of a pod."""
    try:
        return (_POD / "namespace").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


async def from_pod(instead: str) -> Credential:
    """`of_pod`, for who awaits credentials of either kind."""
    return of_pod(instead)


def of_pod(instead: str) -> Credential:
    """The credential that every pod has (in-cluster configuration).

    Args:
        instead: the flag that names a kubeconfig, for who runs in no pod.

    Raises:
        CredentialError: this is no pod, or its service account is not mounted.
    """
    host, port = os.environ.get(_HOST), os.environ.get(_PORT)
    if not host or not port:
        raise CredentialError(f"this process runs in no pod ({_HOST} is not set): say {instead}=FILE")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    if not port.isdecimal() or not _HOST_NAME.fullmatch(host):
        raise CredentialError(f"{_HOST} and {_PORT} are not an address: see what sets them for this pod")
    try:
        return _mounted(server)
    except OSError as error:
        raise CredentialError(f"{one_line(error)}: is automountServiceAccountToken off?") from error
    except ValueError as error:
        raise CredentialError(
            f"the service account in {_POD}: {error}: see what writes it for this pod"
        ) from None


def _mounted(server: str) -> Credential:
    """Raises OSError where a file cannot be read, ValueError where one is empty or something else than it should be."""
    files = Files()
    token, ca = files.read(_POD / "token"), files.read(_POD / "ca.crt")
    if not (text := _text(token)):
        raise ValueError("token is empty")  # without one, we would be anonymous
    tls = {CA: ca}
    made = context(tls, verify=True)
    return Credential(
        server=server,
        authorization=f"Bearer {text}",
        ca=pem.cleaned(ca),
        tls=made,
        trust=Trust(made, tls),
        files=files.paths,
        digest=files.digest,
        proxy=proxy_for(server, "", os.environ),
    )


def _text(token: bytes) -> str:
    try:
        return token.decode().strip()
    except UnicodeError:
        raise ValueError("token is no text") from None


def changed(credential: Credential) -> bool:
    """Whether it must be read anew: what a program gave has expired, or the files say something else than they did.

    Unreadable files, as in the middle of a swap, have not changed.
    """
    if credential.expires_at is not None and credential.expires_at <= datetime.now(UTC):
        return True
    try:
        return _digest([file.read_bytes() for file in credential.files]) != credential.digest
    except OSError:
        return False


def _digest(contents: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def one_line(error: BaseException) -> str:
    with suppress(AttributeError):
        if strerror := error.strerror:  # type: ignore[attr-defined]  # an OSError has it
            return f"{strerror} ({getattr(error, 'filename', '')})"
    return " ".join(str(error).split())[:300] or type(error).__name__
