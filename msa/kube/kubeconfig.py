"""What the current context of a kubeconfig says, in one file or, as KUBECONFIG may list them, in several: read as kubectl reads it."""

import hashlib
import os
import re
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from attrs import field, frozen

from msa import pem
from msa.kube import certificate, kubeconfig_checks, kubeconfig_types
from msa.kube.credentials import Credential, CredentialError, Files
from msa.kube.kubeconfig_types import Cluster, Config, Context, User
from msa.kube.proxies import ProxyError, proxy_for
from msa.kube.tls import CA, CERTIFICATE, KEY, Trust, context, trusted

_Document: TypeAlias = tuple[Path, Config]
"""A kubeconfig, and the folder that it lies in: the files that it names are beside it."""

_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e\x80-\U0010ffff]+")
_NOTHING_TO_SHOW: Final = "the user of the current context has no credential: write a token, tokenFile, client-certificate or exec in users[].user"


@frozen
class Proof:
    """What the user shows to the server.

    Attributes:
        authorization: value of the Authorization header, "" for none.
        tls: a client certificate and its key in PEM, by the kubeconfig's names for them; empty for those of the kubeconfig.
        expires_at: None where that is not known.
    """

    authorization: str = field(default="", repr=False)
    tls: Mapping[str, bytes] = field(factory=dict, repr=False)
    expires_at: datetime | None = None


@frozen(repr=False)
class Kubeconfig:
    """The current context.

    Attributes:
        name: of the file or files, for messages.
        folder: of the file that the user is from.
        token: the user's, from its file where that has one.
        tls: CA, client certificate and key in PEM, by the kubeconfig's names for them.
        files: what it was read from.
    """

    name: str
    context: Context
    cluster: Cluster
    user: User
    folder: Path
    token: str
    tls: Mapping[str, bytes]
    files: Files

    @classmethod
    def read(cls, paths: Sequence[Path], *, remedy: str) -> "Kubeconfig":
        """Reads files as kubectl does: for each name the first file's entry counts, and of several files some may be missing.

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
            return cls._current(name, documents, files)
        except ValueError as error:
            raise CredentialError(f"kubeconfig {name}: {error}") from None

    @classmethod
    def _current(cls, name: str, documents: Sequence[_Document], files: Files) -> "Kubeconfig":
        chosen, base, cluster, folder, user = _chosen(documents)
        if problem := kubeconfig_checks.problem(cluster, user):
            raise ValueError(problem)
        entries = {
            CA: _content(CA, base, cluster.certificate_authority, cluster.certificate_authority_data, files),
            CERTIFICATE: _content(
                CERTIFICATE, folder, user.client_certificate, user.client_certificate_data, files
            ),
            KEY: _content(KEY, folder, user.client_key, user.client_key_data, files),
        }
        tls = {key: content for key, content in entries.items() if content}
        return cls(name, chosen, cluster, user, folder, _token(user, folder, files), tls, files)

    @property
    def namespace(self) -> str:
        """The context's; "" where it has none."""
        return self.context.namespace

    @property
    def must_ask(self) -> bool:
        """Whether a program or an identity provider gives the proof. What is written comes first, and nothing is shown without TLS."""
        if not self._is_secure or self.token or self.user.username:
            return False
        return self.user.auth_provider is not None or (
            self.user.exec is not None and CERTIFICATE not in self.tls
        )

    @property
    def program(self) -> str:
        """The program that gives the proof; "" where none does."""
        return self.user.exec.command if self.user.exec is not None else ""

    @property
    def _is_secure(self) -> bool:
        return urlsplit(self.cluster.server).scheme == "https"

    def written(self) -> Proof:
        """The proof that stands in the kubeconfig and its files.

        Raises:
            CredentialError: there is none.
        """
        if not self._is_secure:
            return Proof()
        if self.token:
            return Proof(f"Bearer {self.token}")
        if self.user.username:
            pair = f"{self.user.username}:{self.user.password}"
            return Proof(f"Basic {b64encode(pair.encode()).decode()}")
        if CERTIFICATE not in self.tls:  # kubectl asks a person for a name and a password
            raise CredentialError(f"kubeconfig {self.name}: {_NOTHING_TO_SHOW}")
        return Proof()

    async def asked(self) -> Proof:
        """The proof that the program or the identity provider gives.

        Raises:
            CredentialError: it gives none.
        """
        from msa.kube import exec_plugin, oidc  # noqa: PLC0415 - seldom needed, and asyncio comes with it

        try:
            if self.user.auth_provider is not None:
                return Proof(f"Bearer {oidc.id_token(self.user.auth_provider.config, datetime.now(UTC))}")
            if self.user.exec is None:
                return self.written()
            answer = await exec_plugin.run(self.user.exec, self.cluster, self.tls.get(CA, b""), self.folder)
        except (exec_plugin.PluginError, ValueError) as error:
            raise CredentialError(f"kubeconfig {self.name}: {error}") from None
        tls = {CERTIFICATE: answer.certificate, KEY: answer.key} if answer.certificate else {}
        # One that is expired when it comes is not asked for again and again: the server decides.
        lasts = answer.expires_at is not None and answer.expires_at > datetime.now(UTC)
        return Proof(
            f"Bearer {answer.token}" if answer.token else "", tls, answer.expires_at if lasts else None
        )

    def credential(self, proof: Proof, *, also_trusted: Path | None = None) -> Credential:
        """Ready to use.

        Args:
            proof: what the user shows.
            also_trusted: PEM of CAs that the server's certificate may be from besides.

        Raises:
            CredentialError: the proxy or the certificates cannot be used.
        """
        tls = {**self.tls, **proof.tls}
        server = urlsplit(self.cluster.server)._replace(query="", fragment="").geturl().rstrip("/")
        try:
            proxy = proxy_for(server, self.cluster.proxy_url, os.environ)
        except ProxyError as error:
            raise CredentialError(f"kubeconfig {self.name}: {error}") from None
        made = self._tls_context(tls, also_trusted) if self._is_secure else None
        return Credential(
            server=server,
            authorization=proof.authorization,
            ca=pem.cleaned(tls.get(CA, b"")),
            tls=made,
            trust=Trust(made, tls) if made is not None and made.verify_mode == ssl.CERT_REQUIRED else None,
            files=self.files.paths,
            digest=self.files.digest,
            tls_server_name=self.cluster.tls_server_name,
            proxy=proxy,
            certificate_digest=hashlib.sha256(shown).hexdigest()
            if (shown := proof.tls.get(CERTIFICATE))
            else "",
            expires_at=proof.expires_at,
            certificate_ends=certificate.ends(tls.get(CERTIFICATE, b"")),
        )

    def _tls_context(self, tls: Mapping[str, bytes], also_trusted: Path | None) -> ssl.SSLContext:
        try:
            made = context(tls, verify=not self.cluster.insecure_skip_tls_verify)
        except ValueError as error:
            raise CredentialError(
                f"kubeconfig {self.name}: the certificates cannot be used: {error}"
            ) from None
        if also_trusted is not None:
            self._trust(made, also_trusted)
        return made

    def _trust(self, made: ssl.SSLContext, bundle: Path) -> None:
        try:
            made.load_verify_locations(cadata=trusted(self.files.read(bundle)))
        except (OSError, ValueError) as error:
            told = error.strerror if isinstance(error, OSError) else error
            raise CredentialError(
                f"the CA bundle {bundle} of the proxy cannot be used: {told}: correct it or --proxy-ca-file"
            ) from None


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


def _parsed(path: Path, content: bytes) -> Config:
    try:
        return kubeconfig_types.decode(content)
    except ValueError as error:
        raise CredentialError(f"kubeconfig {path}: {error}") from None


def _chosen(documents: Sequence[_Document]) -> tuple[Context, Path, Cluster, Path, User]:
    """The current context, and its cluster and user, each with the folder of the file that it is from.

    Raises:
        ValueError: one of them is missing.
    """
    current = next((config.current_context for _, config in documents if config.current_context), "")
    if not current:
        raise ValueError("current-context is missing: name the context to use")
    contexts = (one.context for _, config in documents for one in config.contexts if one.name == current)
    if (chosen := next(contexts, None)) is None:
        raise ValueError("current-context names none of contexts[]")
    clusters = (
        (base, one.cluster)
        for base, config in documents
        for one in config.clusters
        if one.name == chosen.cluster
    )
    if (cluster := next(clusters, None)) is None:
        raise ValueError("contexts[].context.cluster names none of clusters[]")
    users = (
        (base, one.user) for base, config in documents for one in config.users if one.name == chosen.user
    )
    return chosen, *cluster, *next(users, (cluster[0], User()))


def _token(user: User, folder: Path, files: Files) -> str:
    """The content of the token file; where that has none, the token. Never an empty one where a file is named: it is being written.

    Raises:
        ValueError: the file cannot be read, or HTTP cannot carry the token.
    """
    token, where = user.token, "token"
    if user.token_file:
        try:
            token = _text(_read_named(files, folder / user.token_file, "tokenFile")) or token
            where = "tokenFile" if token != user.token else where
        except ValueError:
            if not token:
                raise
        if not token:
            raise ValueError("the file that users[].user.tokenFile names is empty: write the token into it")
    if token and not _HEADER_VALUE.fullmatch(token):
        raise ValueError(
            f"users[].user.{where} is not a token: it has blanks, line ends or control characters"
        )
    return token


def _text(content: bytes) -> str:
    try:
        return content.decode().strip()
    except UnicodeError:
        raise ValueError(
            "the file that users[].user.tokenFile names is not text: write the token into it"
        ) from None


def _content(key: str, base: Path, file: str, data: kubeconfig_types.Data, files: Files) -> bytes:
    """What an entry holds, or names a file for; empty where it does neither.

    Raises:
        ValueError: the file cannot be read or is empty, as in the middle of being written.
    """
    if not file:
        return data.content
    if not (content := _read_named(files, base / file, key)):
        raise ValueError(f"the file that {key} names is empty: write it anew")
    return content


def _read_named(files: Files, path: Path, key: str) -> bytes:
    try:
        return files.read(path)
    except OSError as error:
        raise ValueError(f"the file that {key} names: {error.strerror}: correct {key}") from None
