"""What a client program asks of its credential plugin, and the answer (KEP-541, client.authentication.k8s.io).

The client hands over an ExecCredential in the environment: which cluster it is about to call, by what its kubeconfig says of that.
It takes one back on stdout, with a token out of a Secret on the hub.
"""

import re
from base64 import b64decode
from contextlib import suppress
from datetime import datetime
from typing import Final

import msgspec
from attrs import frozen
from msgspec import Struct

from msa.api import clusterprofile, durations, jwt, names
from msa.api.core import Secret

_GROUP: Final = "client.authentication.k8s.io"
_VERSIONS: Final = (f"{_GROUP}/v1", f"{_GROUP}/v1beta1")
_EXTENSION: Final = f"clusters[].cluster.extensions[] named {_GROUP}/exec"
_OBJECT_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")


class Unanswerable(ValueError):
    """There is no answer; the message is one line that names what is wrong and what would help, and never holds a token."""


class _Config(Struct, frozen=True, rename="camel"):
    cluster_name: str = ""


class _Cluster(Struct, frozen=True):
    config: _Config | None = None


class _Spec(Struct, frozen=True):
    cluster: _Cluster | None = None


class _Version(Struct, frozen=True, rename="camel"):
    api_version: str = ""


class _Asked(Struct, frozen=True):
    spec: _Spec | None = None


class _Status(Struct, frozen=True, rename="camel", omit_defaults=True):
    token: str
    expiration_timestamp: str = ""


class _Answer(Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    status: _Status


@frozen
class Request:
    """What is asked for.

    Attributes:
        api_version: which the answer must have, too.
        cluster: name of the managed cluster that is about to be called.
    """

    api_version: str
    cluster: str


def requested(text: str) -> Request:
    """What the client asks for.

    Args:
        text: value of KUBERNETES_EXEC_INFO, "" where it is not set.

    Raises:
        Unanswerable: that cannot be told, or not be given.
    """
    if not text:
        raise Unanswerable(
            "KUBERNETES_EXEC_INFO is not set: this is a credential plugin, have a kubeconfig's users[].user.exec call it (see --help)"
        )
    try:
        version = msgspec.json.decode(text, type=_Version).api_version
        if version not in _VERSIONS:
            raise Unanswerable(
                f"KUBERNETES_EXEC_INFO is of apiVersion {version[:80]!r}: write {' or '.join(_VERSIONS)} in users[].user.exec.apiVersion"
            )
        spec = msgspec.json.decode(text, type=_Asked).spec
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        told = str(error) if isinstance(error, msgspec.MsgspecError) else "it is no JSON"
        raise Unanswerable(
            f"KUBERNETES_EXEC_INFO is no ExecCredential: {told}: see what calls this plugin"
        ) from None
    return Request(version, _cluster(spec))


def _cluster(spec: _Spec | None) -> str:
    if spec is None or spec.cluster is None:
        raise Unanswerable(
            "KUBERNETES_EXEC_INFO has no spec.cluster: write provideClusterInfo: true in users[].user.exec"
        )
    name = spec.cluster.config.cluster_name if spec.cluster.config is not None else ""
    if not name:
        raise Unanswerable(
            f"KUBERNETES_EXEC_INFO has no spec.cluster.config.clusterName: name the managed cluster in {_EXTENSION}"
        )
    if not names.NAMESPACE_NAME.fullmatch(name):
        raise Unanswerable(
            f"{name[:80]!r} is no name of a managed cluster: correct clusterName in {_EXTENSION}"
        )
    return name


def secret_name(cluster: str, account: str) -> str:
    """The Secret on the hub with the credential of a ManagedServiceAccount.

    Raises:
        Unanswerable: none can be named so.
    """
    name = f"{cluster}-{account}"
    if not _OBJECT_NAME.fullmatch(account) or not _OBJECT_NAME.fullmatch(name):
        raise Unanswerable(
            f"{account[:80]!r} is no name of a ManagedServiceAccount: correct --managed-serviceaccount"
        )
    return name


def namespace(name: str) -> str:
    """The name, if it is a namespace's.

    Raises:
        Unanswerable: it is not.
    """
    if not names.NAMESPACE_NAME.fullmatch(name):
        raise Unanswerable(
            f"{name[:80]!r} is no name of a namespace: correct NAMESPACE, or the namespace of the kubeconfig's context"
        )
    return name


def answer(request: Request, body: bytes) -> str:
    """The answer for the client, in one line.

    Args:
        request: what it is the answer to.
        body: the Secret, as the hub sent it.

    Raises:
        Unanswerable: the Secret has no token, or that of another cluster.
    """
    try:
        secret = msgspec.json.decode(body, type=Secret)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Unanswerable(
            "what the hub sent is no Secret: is the kubeconfig's server an API server?"
        ) from None
    _refuse_another(request.cluster, secret)
    token = _token(secret)
    status = _Status(token, _expiration(token, secret))
    return msgspec.json.encode(_Answer(request.api_version, "ExecCredential", status)).decode()


def _refuse_another(cluster: str, secret: Secret) -> None:
    """The Secret's name does not tell where the cluster's part of it ends; its controller, where it has one, has the cluster's name."""
    for owner in secret.metadata.owner_references:
        group, is_profile = owner.api_version.partition("/")[0], owner.kind == clusterprofile.KIND
        if owner.controller and is_profile and group == clusterprofile.GROUP and owner.name != cluster:
            raise Unanswerable(
                f"it is the copy for cluster {owner.name[:80]!r}, not for {cluster!r}: two ManagedServiceAccounts lead to one name:"
                " rename one of them, or correct --managed-serviceaccount"
            )


def _token(secret: Secret) -> str:
    encoded = (secret.data or {}).get(names.SECRET_KEY_TOKEN)
    if not encoded:
        raise Unanswerable(
            "it has no token: is it a copy of the ManagedServiceAccount's Secret, and has that one a token?"
        )
    with suppress(ValueError):
        token = b64decode(encoded, validate=True).decode()
        if _BEARER.fullmatch(token):
            return token
    raise Unanswerable("its token is no bearer token: see what else writes this Secret")


def _expiration(token: str, secret: Secret) -> str:
    """RFC 3339: by the token's own word, else by the Secret's annotation; "" where neither says."""
    moment: datetime | None
    try:
        moment = jwt.expiry(token.encode())
    except jwt.Malformed:
        moment = durations.parse_rfc3339(secret.metadata.annotation(names.ANNOTATION_EXPIRATION))
    return durations.rfc3339(moment) if moment is not None else ""
