"""A kubeconfig, decoded into its types as kubectl does: a text is no boolean, null is absent, of one name there is one entry.

Fields that do not concern a connection are left out. After client-go's `tools/clientcmd/api/v1`.
"""

import re
from base64 import b64decode
from collections import Counter
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from msa.kube import yaml_text

_MOST_NODES: Final = 1_000_000
"""YAML's aliases let a short file say much more than that."""

_OPAQUE: Final = "extension"
_AT: Final = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?", re.DOTALL)
_EXPECTED: Final = re.compile(r"Expected `([a-z]+)(?: \| null)?`, got `([a-z]+)`")
_WORDS: Final = {
    "bool": "a boolean",
    "str": "a string",
    "int": "a number",
    "float": "a number",
    "array": "a list",
    "object": "a mapping",
}
_HOW: Final = {"bool": ": write true or false, without quotes", "str": ": put it in quotes"}


class Data:
    """Bytes that the document holds in base64, perhaps in several lines. No attrs class: msgspec would take it for a mapping."""

    __slots__ = ("content",)

    def __init__(self, content: bytes = b"") -> None:
        self.content = content


class EnvVar(Struct, frozen=True):
    name: str = ""
    value: str = ""


class Exec(Struct, frozen=True, rename="camel"):
    api_version: str = ""
    command: str = ""
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = ""


class AuthProvider(Struct, frozen=True):
    name: str = ""
    config: dict[str, str] = {}


class User(Struct, frozen=True, rename="kebab"):
    client_certificate: str = ""
    client_certificate_data: Data = Data()
    client_key: str = ""
    client_key_data: Data = Data()
    token: str = ""
    token_file: str = field(name="tokenFile", default="")
    impersonate: str = field(name="as", default="")
    as_uid: str = ""
    as_groups: tuple[str, ...] = ()
    as_user_extra: dict[str, tuple[str, ...]] = {}
    username: str = ""
    password: str = ""
    auth_provider: AuthProvider | None = None
    exec: Exec | None = None


class Extension(Struct, frozen=True):
    name: str = ""
    extension: Any = None


class Cluster(Struct, frozen=True, rename="kebab"):
    server: str = ""
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False
    certificate_authority: str = ""
    certificate_authority_data: Data = Data()
    proxy_url: str = ""
    disable_compression: bool = False
    extensions: tuple[Extension, ...] = ()


class Context(Struct, frozen=True):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class NamedContext(Struct, frozen=True):
    name: str = ""
    context: Context = Context()


class NamedCluster(Struct, frozen=True):
    name: str = ""
    cluster: Cluster = Cluster()


class NamedUser(Struct, frozen=True):
    name: str = ""
    user: User = User()


class Config(Struct, frozen=True, rename="kebab"):
    """One file."""

    api_version: str = field(name="apiVersion", default="v1")
    kind: str = "Config"
    current_context: str = ""
    contexts: tuple[NamedContext, ...] = ()
    clusters: tuple[NamedCluster, ...] = ()
    users: tuple[NamedUser, ...] = ()


def decode(content: bytes) -> Config:
    """The kubeconfig in a file.

    Raises:
        ValueError: it is none; the message names the field, and quotes nothing of the content.
    """
    document = yaml_text.parse(content)
    if document is None:
        return Config()
    try:
        config = msgspec.convert(_Present().of(document), Config, dec_hook=_data)
    except msgspec.ValidationError as error:
        raise ValueError(_explained(str(error))) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check(config)
    return config


class _Present:
    """A document without what is null in it, which is how Go reads null; extensions stay as they are."""

    def __init__(self) -> None:
        self._nodes = 0

    def of(self, node: Any, *, opaque: bool = False) -> Any:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise ValueError("it is too large")
        match node:
            case dict():
                return {
                    key: self.of(value, opaque=opaque or key == _OPAQUE)
                    for key, value in node.items()
                    if opaque or (value is not None and isinstance(key, str))
                }
            case list():
                return [self.of(item, opaque=opaque) for item in node if opaque or item is not None]
            case _:
                return node


def _data(kind: type, value: object) -> Data:
    if kind is not Data:
        raise NotImplementedError
    try:
        return Data(b64decode(str(value).replace("\r", "").replace("\n", ""), validate=True))
    except ValueError:
        raise ValueError("is not base64") from None


def _explained(text: str) -> str:
    """Msgspec's words in ours."""
    found = _AT.fullmatch(text)
    where, what = (found["where"] or "the document", found["what"]) if found else ("the document", text)
    expected = _EXPECTED.fullmatch(what)
    if expected is None:
        return f"{where} {what}"
    wanted, got = expected.groups()
    return f"{where} must be {_WORDS.get(wanted, wanted)}, not {_WORDS.get(got, got)}{_HOW.get(wanted, '')}"


def _check(config: Config) -> None:
    if (config.api_version or "v1", config.kind or "Config") != ("v1", "Config"):
        raise ValueError("its apiVersion and kind must be v1 and Config")
    for section in ("contexts", "clusters", "users"):
        names = Counter(entry.name for entry in getattr(config, section))
        if any(count > 1 for count in names.values()):
            raise ValueError(f"{section}[] has two entries of one name: delete one of them")
