"""Runs the credential plugin that a kubeconfig's user names, as client-go does (KEP-541, client.authentication.k8s.io).

The plugin is somebody else's program: it gets a limited time, what it prints is bounded and checked, and no process of it is left. What it gives is
kept in memory alone.
"""

import asyncio
import os
import re
import shutil
import signal
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from attrs import field, frozen
from msgspec import Struct

from msa.kube.kubeconfig_types import Cluster, Exec

_GROUP: Final = "client.authentication.k8s.io"
_VERSIONS: Final = (f"{_GROUP}/v1", f"{_GROUP}/v1beta1")
_EXTENSION: Final = f"{_GROUP}/exec"
_INFO: Final = "KUBERNETES_EXEC_INFO"
_SECONDS: Final = 40.0
_SECONDS_WITH_A_TERMINAL: Final = 300.0
"""A person may have to log in."""

_MOST_BYTES: Final = 1024 * 1024
_LONGEST_TEXT: Final = 300
_SHORTEST_SECRET: Final = 4
_TOKEN: Final = re.compile(r"[\x21-\x7e\x80-\U0010ffff]+")
_JWT: Final = re.compile(r"eyJ[\w-]{8,}\.[\w.-]*")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


class PluginError(Exception):
    """The plugin gives no credential; the message is one line that names the program and what would help, and holds no secret."""


@frozen
class Answer:
    """What a plugin gives.

    Attributes:
        token: "" for none.
        certificate: the client's, in PEM; empty for none.
        key: of the certificate, in PEM.
        expires_at: None where it does not say.
    """

    token: str = field(default="", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    expires_at: datetime | None = None


class _Status(Struct, frozen=True, rename="camel"):
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: str | None = None


class _Printed(Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    status: _Status | None = None


@frozen
class _Ended:
    code: int
    out: bytes
    err: bytes


class _Output(asyncio.SubprocessProtocol):
    """What a process prints, as far as it is kept; `ended` once it has exited and nobody holds its pipes, or once it has printed too much."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.kept = {1: bytearray(), 2: bytearray()}
        self.ended: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.kept[fd] += data[: _MOST_BYTES + 1 - len(self.kept[fd])]
        if self.too_much:
            self._set(self.ended)

    def process_exited(self) -> None:
        self._set(self.exited)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's signature
        self._set(self.ended)

    @property
    def too_much(self) -> bool:
        return len(self.kept[1]) > _MOST_BYTES

    @staticmethod
    def _set(future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)


async def run(plugin: Exec, cluster: Cluster, ca: bytes, folder: Path) -> Answer:
    """The plugin's answer.

    Args:
        plugin: as the kubeconfig names it.
        cluster: which API server the credential is for.
        ca: the CA bundle of that server, wherever the kubeconfig has it.
        folder: the kubeconfig's, to which a command with a slash is relative.

    Raises:
        PluginError: it gives none.
    """
    try:
        interactive = _interactive(plugin)
        ended = await _ended(
            _command(plugin, folder), _environment(plugin, cluster, ca, interactive), interactive
        )
        return _read(plugin, ended)
    except PluginError as error:
        hint = f": {_one_line(plugin.install_hint)}" if plugin.install_hint else ""
        raise PluginError(f"users[].user.exec: program {_one_line(plugin.command)} {error}{hint}") from None


def _interactive(plugin: Exec) -> bool:
    """Whether the plugin may talk to a person; the mode is one of those that `kube.kubeconfig_checks` lets pass."""
    terminal = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    if plugin.interactive_mode == "Always" and not terminal:
        raise PluginError(
            "needs a terminal (interactiveMode is Always), and there is none: use a credential that needs no person"
        )
    return terminal and plugin.interactive_mode != "Never"


def _command(plugin: Exec, folder: Path) -> list[str]:
    if os.sep in plugin.command:
        return [str(folder.absolute() / plugin.command), *plugin.args]
    if (found := shutil.which(plugin.command)) is None:
        raise PluginError("is not in PATH: install it where this process runs")
    return [found, *plugin.args]


def _environment(plugin: Exec, cluster: Cluster, ca: bytes, interactive: bool) -> dict[str, str]:  # noqa: FBT001 - one of the two fields of the spec
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.provide_cluster_info:
        spec["cluster"] = _cluster_info(cluster, ca)
    info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    try:
        text = msgspec.json.encode(info).decode()
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        raise PluginError(
            f"cannot be told the extension {_EXTENSION}: write it as JSON could have it"
        ) from None
    return {**os.environ, **{one.name: one.value for one in plugin.env}, _INFO: text}


def _cluster_info(cluster: Cluster, ca: bytes) -> Mapping[str, Any]:
    config = next((one.extension for one in cluster.extensions if one.name == _EXTENSION), None)
    stated = {
        "tls-server-name": cluster.tls_server_name,
        "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
        "certificate-authority-data": b64encode(ca).decode(),
        "proxy-url": cluster.proxy_url,
        "disable-compression": cluster.disable_compression,
        "config": config,
    }
    return {"server": cluster.server, **{name: value for name, value in stated.items() if value}}


async def _ended(command: list[str], environment: Mapping[str, str], interactive: bool) -> _Ended:  # noqa: FBT001 - as above
    """What the program printed. It is not there any more when this returns or raises, nor is what it started, unless it shares our terminal."""
    loop = asyncio.get_running_loop()
    seconds = _SECONDS_WITH_A_TERMINAL if interactive else _SECONDS
    try:
        transport, output = await loop.subprocess_exec(
            partial(_Output, loop),
            *command,
            stdin=None if interactive else asyncio.subprocess.DEVNULL,
            stderr=None if interactive else asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=not interactive,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
        told = error.strerror if isinstance(error, OSError) else "an argument or variable holds a NUL"
        raise PluginError(f"cannot be started: {told}") from None
    try:
        async with asyncio.timeout(seconds):
            await output.ended
    except TimeoutError:
        raise PluginError(f"did not end within {seconds:.0f} s and was stopped") from None
    finally:
        _kill(transport, group=not interactive)
        await output.exited
        transport.close()
    if output.too_much:
        raise PluginError(f"printed more than {_MOST_BYTES} bytes and was stopped")
    return _Ended(transport.get_returncode() or 0, bytes(output.kept[1]), bytes(output.kept[2]))


def _kill(transport: asyncio.SubprocessTransport, *, group: bool) -> None:
    """All of its session, since it may have started others; those outlive it."""
    with suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(transport.get_pid(), signal.SIGKILL)
        else:
            transport.kill()


def _read(plugin: Exec, ended: _Ended) -> Answer:
    if ended.code:
        how = f"exited with code {ended.code}" if ended.code > 0 else f"was ended by signal {-ended.code}"
        raise PluginError(": ".join(filter(None, (how, _said(plugin, ended.err)))))
    try:
        printed = msgspec.json.decode(ended.out, type=_Printed)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        told = f": {error}" if isinstance(error, msgspec.ValidationError) else ""
        raise PluginError(f"printed no ExecCredential{told}") from None
    if (printed.kind, printed.api_version) != ("ExecCredential", plugin.api_version):
        raise PluginError(
            f"printed no ExecCredential of apiVersion {plugin.api_version}: write the version that it prints in users[].user.exec.apiVersion"
        )
    return _answer(printed.status or _Status())


def _answer(status: _Status) -> Answer:
    token, certificate, key = (
        text or "" for text in (status.token, status.client_certificate_data, status.client_key_data)
    )
    if not token and not certificate and not key:
        raise PluginError("gave neither a token nor a certificate with its key: log in with it")
    if bool(certificate) != bool(key):
        raise PluginError("gave a certificate or a key, not both")
    if token and not _TOKEN.fullmatch(token):
        raise PluginError("gave a token that no HTTP header can carry: it has blanks or control characters")
    try:
        return Answer(token, certificate.encode(), key.encode(), _moment(status.expiration_timestamp or ""))
    except UnicodeError:
        raise PluginError("gave a certificate or key that is not PEM") from None


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    with suppress(ValueError, OverflowError):
        if _MOMENT.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    raise PluginError("gave an expirationTimestamp that is not a time such as 2030-01-01T00:00:00Z")


def _said(plugin: Exec, err: bytes) -> str:
    """The last line that the program wrote to stderr, without what the kubeconfig says to it in confidence."""
    lines = err[-4 * _LONGEST_TEXT :].decode(errors="replace").splitlines()
    text = next((line for line in reversed(lines) if line.strip()), "")
    for secret in sorted(_confidential(plugin), key=len, reverse=True):
        text = text.replace(secret, "...")
    return _one_line(_JWT.sub("...", text))


def _confidential(plugin: Exec) -> Iterator[str]:
    texts = (*plugin.args, *(one.value for one in plugin.env))
    return (text for text in texts if len(text) >= _SHORTEST_SECRET)


def _one_line(text: str) -> str:
    shown = "".join(char if char.isprintable() else " " for char in text[: 4 * _LONGEST_TEXT])
    return " ".join(shown.split())[:_LONGEST_TEXT]
