"""What the current context of a kubeconfig says, in one file or, as KUBECONFIG may list them, in several.

kubernetes_asyncio's loader, which brings aiohttp with it, is asked only where a program or an identity provider gives the proof.
"""

import hashlib
import os
import ssl
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from attrs import field, frozen

from msa import pem
from msa.kube import yaml_text
from msa.kube.credentials import Credential, CredentialError, Files, one_line
from msa.kube.proxies import proxy_of_environment
from msa.kube.tls import CA, CERTIFICATE, KEY, context, trusted

_OUT_OF_SHAPE = (ValueError, TypeError, LookupError, AttributeError, AssertionError)
"""What is raised where a document says something else than is expected."""

_NO_TOKEN = ("", "Bearer", "Bearer None")
"""What the loader makes of no token, of an empty one and of null."""

_SHORTEST_SECRET = 4
_IT = "it"
_Document: TypeAlias = tuple[Path, dict[str, Any]]
"""A kubeconfig, and the folder that it lies in: the files that it names are beside it."""


class _Wrong(ValueError):
    """What is wrong with a kubeconfig, in words of ours that quote nothing of it."""


@frozen
class Proof:
    """What the user shows to the server.

    Attributes:
        authorization: value of the Authorization header, "" for none.
        tls: a client certificate and its key in PEM, by the kubeconfig's names for them; empty for those of the kubeconfig.
    """

    authorization: str = field(default="", repr=False)
    tls: Mapping[str, bytes] = field(factory=dict, repr=False)


@frozen(repr=False)
class Kubeconfig:
    """The current context.

    Attributes:
        name: of the file or files, for messages.
        context: its entries are without what is in `tls`, and the user's token file is read.
        tls: CA, client certificate and key in PEM, by the kubeconfig's names for them.
        files: what it was read from.
    """

    name: str
    context: dict[str, Any]
    cluster: dict[str, Any]
    user: dict[str, Any]
    tls: Mapping[str, bytes]
    files: Files

    @classmethod
    def read(cls, paths: Sequence[Path], *, remedy: str) -> "Kubeconfig":
        """Reads files as kubectl does: for each name the first entry counts, and of several files some may be missing.

        Args:
            paths: of the files, one at least.
            remedy: what to do where none can be read.

        Raises:
            CredentialError: they cannot be read, or say something else than kubeconfigs do.
        """
        name, files = os.pathsep.join(map(str, paths)), Files()
        documents = [
            (path.parent, _parsed(path, content)) for path, content in _present(paths, remedy, files)
        ]
        try:
            return cls(name, *_current(documents, files), files)
        except (OSError, *_OUT_OF_SHAPE) as error:
            told = _without_content(error, [document for _, document in documents])
            raise CredentialError(f"kubeconfig {name}: {told}") from None

    @property
    def namespace(self) -> str:
        """The context's; "" where it has none."""
        return str(self.context.get("namespace") or "")

    @property
    def must_ask(self) -> bool:
        """Whether a program or an identity provider gives the proof."""
        return "exec" in self.user or "auth-provider" in self.user

    @property
    def program(self) -> str:
        """The program that gives the proof; "" where none does."""
        match self.user:
            case {"exec": {"command": str(command)}}:
                return command
            case _:
                return ""

    def written(self) -> Proof:
        """The proof that stands in the kubeconfig and its files."""
        if token := self.user.get("token"):
            return Proof(f"Bearer {token}")
        if "username" in self.user and "password" in self.user:
            pair = f"{self.user['username']}:{self.user['password']}"
            return Proof(f"Basic {b64encode(pair.encode()).decode()}")
        return Proof()

    async def asked(self) -> Proof:
        """The proof that the program or the identity provider gives.

        Raises:
            CredentialError: it gives none.
        """
        from aiohttp import ClientError  # noqa: PLC0415 - as the loader

        from msa.kube import loader  # noqa: PLC0415 - seldom needed, and slow

        alone = {
            "current-context": _IT,
            "contexts": [{"name": _IT, "context": {"cluster": _IT, "user": _IT}}],
            "clusters": [{"name": _IT, "cluster": self.cluster}],
            "users": [{"name": _IT, "user": self.user}],
        }
        try:
            authorization, certificate, key = await loader.ask(alone)
            tls = {CERTIFICATE: _content(certificate), KEY: _content(key)} if certificate else {}
        except (loader.config_exception(), ClientError, OSError, *_OUT_OF_SHAPE) as error:
            raise CredentialError(f"kubeconfig {self.name}: {_without_content(error, alone)}") from None
        if authorization.strip() in _NO_TOKEN and CERTIFICATE not in {**self.tls, **tls}:
            raise CredentialError(
                f"kubeconfig {self.name}: what its user names gives neither a token nor a certificate with its key:"
                " log in with it, or see what it prints"
            )
        return Proof(authorization, tls)

    def credential(self, proof: Proof, *, also_trusted: Path | None = None) -> Credential:
        """Ready to use.

        Args:
            proof: what the user shows.
            also_trusted: PEM of CAs that the server's certificate may be from besides.

        Raises:
            CredentialError: the server's address or the certificates cannot be used.
        """
        server = str(self.cluster.get("server") or "").strip().rstrip("/")
        tls = {**self.tls, **proof.tls}
        if not server:
            raise CredentialError(
                f"kubeconfig {self.name}: clusters[].cluster.server is empty: name the API server's address"
            )
        try:
            scheme = urlsplit(server).scheme
            proxy = str(self.cluster.get("proxy-url") or "") or proxy_of_environment(server, os.environ)
        except ValueError:
            raise CredentialError(
                f"kubeconfig {self.name}: clusters[].cluster.server is no address: write https://HOST:PORT"
            ) from None
        return Credential(
            server=server,
            authorization=proof.authorization,
            ca=pem.cleaned(tls.get(CA, b"")),
            tls=self._tls_context(tls, also_trusted) if scheme == "https" else None,
            files=self.files.paths,
            digest=self.files.digest,
            tls_server_name=str(self.cluster.get("tls-server-name") or ""),
            proxy=proxy,
            certificate_digest=hashlib.sha256(shown).hexdigest()
            if (shown := proof.tls.get(CERTIFICATE))
            else "",
        )

    def _tls_context(self, tls: Mapping[str, bytes], also_trusted: Path | None) -> ssl.SSLContext:
        try:
            made = context(tls, verify=not self.cluster.get("insecure-skip-tls-verify"))
            if also_trusted is not None:
                made.load_verify_locations(cadata=trusted(self.files.read(also_trusted)))
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise CredentialError(
                f"kubeconfig {self.name}: the certificates cannot be used: {one_line(error)}"
            ) from error
        return made


def _present(paths: Sequence[Path], remedy: str, files: Files) -> Iterator[tuple[Path, bytes]]:
    """Those of the files that are there, with their content."""
    missing: list[Path] = []
    for path in paths:
        try:
            yield path, files.read(path)
        except FileNotFoundError as error:
            missing.append(path)
            if len(missing) == len(paths):
                raise CredentialError(f"kubeconfig {missing[0]}: {error.strerror}: {remedy}") from error
        except OSError as error:
            raise CredentialError(f"kubeconfig {path}: {error.strerror}: {remedy}") from error


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    try:
        document = yaml_text.parse(content)
    except ValueError as error:
        raise CredentialError(f"kubeconfig {path}: {error}") from None
    return document if isinstance(document, dict) else {}


def _current(
    documents: Sequence[_Document], files: Files
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, bytes]]:
    """Context, cluster and user, and what the latter two hold, or name files for, of TLS."""
    current = next(filter(None, (document.get("current-context") for _, document in documents)), None)
    if current is None:
        raise _Wrong("current-context is missing: name the context to use")
    if (named := _named(documents, "contexts", "context", current)) is None:
        raise _Wrong("current-context names none of contexts[]")
    _, chosen = named
    if (named := _named(documents, "clusters", "cluster", chosen.get("cluster"))) is None:
        raise _Wrong("contexts[].context.cluster names none of clusters[]")
    base, cluster = named
    if not isinstance(cluster.get("server") or "", str):
        raise _Wrong("clusters[].cluster.server is no text")
    users_base, user = _named(documents, "users", "user", chosen.get("user")) or (base, {})
    if token_file := user.pop("tokenFile", ""):
        user["token"] = _read_named(files, users_base / token_file, "tokenFile").decode().strip()
    tls = _taken(cluster, base, (CA,), files) | _taken(user, users_base, (CERTIFICATE, KEY), files)
    return chosen, cluster, user, tls


def _named(documents: Sequence[_Document], section: str, kind: str, name: object) -> _Document | None:
    """The first entry of that name, and the folder of the file that it is from."""
    for base, document in documents:
        for entry in document.get(section) or ():
            if entry.get("name") == name:
                return base, entry.get(kind) or {}
    return None


def _taken(entry: dict[str, Any], base: Path, names: Sequence[str], files: Files) -> dict[str, bytes]:
    """Takes certificates and keys out of an entry, read.

    Left to itself the loader would write them to files, which a read-only file system does not allow, and read others at a time
    of its own.
    """
    taken = {}
    for name in names:
        file, data = entry.pop(name, ""), entry.pop(f"{name}-data", "")
        if data or file:
            taken[name] = b64decode(data, validate=True) if data else _read_named(files, base / file, name)
    return taken


def _read_named(files: Files, path: Path, key: str) -> bytes:
    try:
        return files.read(path)
    except OSError as error:
        raise _Wrong(f"the file that {key} names: {error.strerror}") from None


def _content(file: str) -> bytes:
    return Path(file).read_bytes() if file else b""


def _without_content(error: Exception, said: object) -> str:
    """What is wrong, without anything that the kubeconfig says: a key or a token may stand where a name should."""
    if isinstance(error, OSError):
        return f"a file or program that it names: {error.strerror}"
    if isinstance(error, _Wrong):
        return str(error)
    text = str(error)
    for content in sorted(_texts(said), key=len, reverse=True):
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
