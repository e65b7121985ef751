"""Turns a Secret from the wire into what is kept of it: facts about its content. The token itself is let go at once."""

import hashlib
from base64 import b64decode
from collections.abc import Callable
from sys import intern

from msgspec.structs import replace

from msa.agent.keyset import KeySet
from msa.api import names
from msa.api.core import Credential, Secret
from msa.api.jwt import Malformed, parse
from msa.api.token import TokenFacts

_OUR_ANNOTATIONS = (names.ANNOTATION_EXPIRATION, names.ANNOTATION_LAST_REFRESH, names.ANNOTATION_REQUESTED)
_OUR_LABELS = (names.LABEL_MANAGED,)


class CredentialIngest:
    """Reads Secrets.

    Args:
        keys: the managed cluster's keys at this moment; None while they are not known.
    """

    def __init__(self, keys: Callable[[], KeySet | None]) -> None:
        self._keys = keys

    def __call__(self, secret: Secret) -> Credential:
        """The facts; garbage is a fact too, never an error."""
        data = secret.data or {}
        token = data.get(names.SECRET_KEY_TOKEN)
        ca = data.get(names.SECRET_KEY_CA)
        metadata = replace(
            secret.metadata,
            labels=_only(secret.metadata.labels, _OUR_LABELS),
            annotations=_only(secret.metadata.annotations, _OUR_ANNOTATIONS),
        )
        return Credential(
            metadata=metadata,
            type=intern(secret.type),
            immutable=secret.immutable,
            keys=_interned(data),
            token=None if token is None else self.facts(_plain(token)),
            ca_digest="" if ca is None else intern(digest(_plain(ca))),
        )

    def facts(self, token: bytes) -> TokenFacts:
        """What is kept of one token."""
        summary = digest(token)
        try:
            jwt = parse(token)
        except Malformed as error:
            return TokenFacts(digest=summary, malformed=str(error))
        keys = self._keys()
        return TokenFacts(
            digest=summary,
            key_id=intern(jwt.key_id),
            claims=jwt.claims,
            signed_by=intern(keys.signer(jwt)) if keys is not None else "",
        )


def digest(content: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _interned(data: dict[str, str]) -> frozenset[str]:
    """Nearly all Secrets have the same two keys: one set serves them all. A stranger's keys are not remembered."""
    keys = frozenset(data)
    return _USUAL if keys == _USUAL else keys


_USUAL = frozenset((names.SECRET_KEY_TOKEN, names.SECRET_KEY_CA))


def _plain(text: str) -> bytes:
    """The content of a data entry; the API server stores nothing but base64, so anything else counts as empty."""
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return b""


def _only(marks: dict[str, str] | None, wanted: tuple[str, ...]) -> dict[str, str] | None:
    return {name: marks[name] for name in wanted if name in marks} if marks else None
