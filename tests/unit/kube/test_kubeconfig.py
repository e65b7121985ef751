"""Kubeconfigs in several files, and what their users show."""

import json
import subprocess
import sys
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import evolve
from cryptography.hazmat.primitives import serialization

from hack.pki import Authority
from msa.kube.credentials import Credential, CredentialError, changed, from_kubeconfig
from msa.kube.kubeconfig import Kubeconfig

_PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from msa.kube.credentials import from_kubeconfig
found = asyncio.run(from_kubeconfig(Path(sys.argv[1])))
print(json.dumps([found.authorization, *(name in sys.modules for name in ("aiohttp", "kubernetes_asyncio"))]))
"""


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    authority = Authority.create(tmp_path, "test")
    authority.issue_client("client", "user", ())
    return tmp_path


def _write(file: Path, current: str = "", **entries: Any) -> Path:
    """A kubeconfig with one context, cluster or user of each name given."""
    kinds = {"contexts": "context", "clusters": "cluster", "users": "user"}
    file.parent.mkdir(exist_ok=True)
    sections = {
        section: [{"name": name, kinds[section]: value} for name, value in entries.get(section, {}).items()]
        for section in kinds
    }
    file.write_text(yaml.safe_dump({"current-context": current, **sections}))
    return file


def _read(*files: Path) -> Kubeconfig:
    return Kubeconfig.read(files, remedy="write one")


def _credential(file: Path) -> Credential:
    found = _read(file)
    return found.credential(found.written())


_CONTEXT = {"cluster": "hub", "user": "me", "namespace": "consumers"}


def test_entries_of_several_files_make_one_kubeconfig_and_name_files_beside_their_own(pki: Path) -> None:
    (pki / "b").mkdir()
    (pki / "b" / "token").write_text("secret\n")
    first = _write(pki / "a" / "config", "it", contexts={"it": _CONTEXT})
    second = _write(pki / "b" / "config", "other", users={"me": {"tokenFile": "token"}})
    third = _write(
        pki / "config", clusters={"hub": {"server": "https://hub", "certificate-authority": "ca.crt"}}
    )
    found = _read(first, second, third)
    assert found.namespace == "consumers"
    credential = found.credential(found.written())
    assert credential.server == "https://hub"
    assert credential.authorization == "Bearer secret"
    assert credential.ca == (pki / "ca.crt").read_bytes()
    assert {file.relative_to(pki).as_posix() for file in credential.files} == {
        "a/config",
        "b/config",
        "config",
        "b/token",
        "ca.crt",
    }


def test_of_two_entries_of_one_name_the_first_counts_as_a_whole(pki: Path) -> None:
    entries = {"contexts": {"it": _CONTEXT}, "clusters": {"hub": {"server": "https://hub"}}}
    first = _write(pki / "1", "it", users={"me": {"token": "one"}}, **entries)
    second = _write(pki / "2", "no", users={"me": {"token": "two", "client-certificate": "client.crt"}})
    found = _read(first, second)
    assert found.written().authorization == "Bearer one"
    assert found.tls == {}


def test_a_file_that_is_missing_is_left_out_unless_all_are(pki: Path) -> None:
    there = _write(pki / "1", "it", contexts={"it": _CONTEXT}, clusters={"hub": {"server": "https://hub"}})
    assert _read(pki / "nowhere", there, pki / "no").cluster.server == "https://hub"
    with pytest.raises(CredentialError, match=r"nowhere: No such file or directory: write one"):
        _read(pki / "nowhere", pki / "no")


def test_a_file_that_cannot_be_read_is_not_left_out(pki: Path) -> None:
    with pytest.raises(CredentialError, match="Is a directory: write one"):
        _read(pki, pki / "nowhere")


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({}, "current-context names none of contexts[]"),
        ({"contexts": {"it": None}}, "names none of clusters[]"),
        ({"contexts": {"it": _CONTEXT}}, "contexts[].context.cluster names none of clusters[]"),
        ({"contexts": {"it": _CONTEXT}, "clusters": {"hub": {"server": 7}}}, "server must be a string"),
        ({"contexts": {"it": _CONTEXT}, "clusters": {"hub": {}}}, "server is empty"),
        ({"contexts": {"it": _CONTEXT}, "clusters": {"hub": {"server": "https://h:x"}}}, "is not an address"),
        (
            {
                "contexts": {"it": _CONTEXT},
                "clusters": {"hub": {"server": "https://[", "proxy-url": "http://p"}},
            },
            "is not an address",
        ),
        ({"contexts": {"it": _CONTEXT}, "clusters": {"hub": {"server": " "}}}, "server is not an address"),
        (
            {"contexts": {"it": _CONTEXT}, "clusters": {"hub": {"server": "h:6443"}}},
            "write https://HOST:PORT",
        ),
        ({"contexts": {"it": [7]}}, "contexts[0].context must be a mapping, not a list"),
        (
            {"contexts": {"it": _CONTEXT}, "clusters": {"hub": "text"}},
            "clusters[0].cluster must be a mapping",
        ),
    ],
)
def test_what_a_kubeconfig_lacks_is_told_even_where_its_own_words_are_the_same(
    tmp_path: Path, entries: dict[str, Any], says: str
) -> None:
    """The words of a kubeconfig are blotted out of what libraries say of it; ours quote none."""
    words = dict.fromkeys(("clusters", "contexts", "names", "server", "address"))
    file = _write(tmp_path / "config", "it", **entries, users=words)
    with pytest.raises(CredentialError) as caught:
        _credential(file)
    assert str(caught.value).startswith(f"kubeconfig {file}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("user", "authorization"),
    [
        ({"token": "abc"}, "Bearer abc"),
        ({"username": "me", "password": "pass"}, "Basic bWU6cGFzcw=="),
        ({"client-certificate": "client.crt", "client-key": "client.key"}, ""),
    ],
)
def test_what_is_written_needs_no_other_library(pki: Path, user: Any, authorization: str) -> None:
    cluster = {"server": "https://hub", "certificate-authority": "ca.crt"}
    file = _write(
        pki / "config", "it", contexts={"it": _CONTEXT}, clusters={"hub": cluster}, users={"me": user}
    )
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(file)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [authorization, False, False]


_V1 = "client.authentication.k8s.io/v1"


def _asks(folder: Path, user: Any) -> Path:
    cluster = {"server": "https://hub", "certificate-authority": "ca.crt"}
    return _write(
        folder / "config", "it", contexts={"it": _CONTEXT}, clusters={"hub": cluster}, users={"me": user}
    )


def _plugin(answer: Path, **status: Any) -> dict[str, Any]:
    """A user whose plugin says this."""
    answer.write_text(json.dumps({"apiVersion": _V1, "kind": "ExecCredential", "status": status}))
    plugin = {"apiVersion": _V1, "command": "cat", "args": [str(answer)], "interactiveMode": "Never"}
    return {"exec": plugin}


def _certificate(pki: Path) -> dict[str, str]:
    return {
        "clientCertificateData": (pki / "client.crt").read_text(),
        "clientKeyData": (pki / "client.key").read_text(),
    }


async def test_a_certificate_that_a_plugin_renews_is_another_though_no_file_has_changed(pki: Path) -> None:
    file = _asks(pki, _plugin(pki / "answer", **_certificate(pki)))
    first, same = await from_kubeconfig(file), await from_kubeconfig(file)
    Authority(pki).issue_client("client", "user", ())
    _plugin(pki / "answer", **_certificate(pki))
    second = await from_kubeconfig(file)
    assert first.certificate_digest == same.certificate_digest != second.certificate_digest
    assert first.digest == second.digest
    assert not changed(first)


async def test_without_a_plugins_certificate_there_is_no_digest_of_it(pki: Path) -> None:
    file = _asks(pki, {"client-certificate": "client.crt", "client-key": "client.key"})
    assert (await from_kubeconfig(file)).certificate_digest == ""


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({}, "gave neither a token nor a certificate"),
        ({"token": ""}, "gave neither a token nor a certificate"),
        ({"token": None}, "gave neither a token nor a certificate"),
        ({"clientCertificateData": "no key with it"}, "gave a certificate or a key, not both"),
    ],
)
async def test_a_plugin_that_gives_nothing_does_not_make_us_anonymous(
    pki: Path, status: dict[str, Any], says: str
) -> None:
    file = _asks(pki, _plugin(pki / "answer", **status))
    with pytest.raises(CredentialError, match=rf"config: users\[\]\.user\.exec: program cat {says}"):
        await from_kubeconfig(file)


_NOBODY = {"exec": {"apiVersion": _V1, "command": "/nowhere", "interactiveMode": "Never"}}


@pytest.mark.parametrize(
    ("user", "authorization"),
    [
        ({"client-certificate": "client.crt", "client-key": "client.key"}, ""),
        ({"token": "written"}, "Bearer written"),
        ({"tokenFile": "token"}, "Bearer from-file"),
        ({"username": "me", "password": "pass"}, "Basic bWU6cGFzcw=="),
    ],
)
async def test_where_a_credential_is_written_no_plugin_is_run(
    pki: Path, user: dict[str, Any], authorization: str
) -> None:
    (pki / "token").write_text("from-file\n")
    assert (await from_kubeconfig(_asks(pki, user | _NOBODY))).authorization == authorization


@pytest.mark.parametrize(
    "user", [None, {}, {"password": "alone"}, {"client-key": "client.key"}, {"token": ""}]
)
async def test_a_user_without_a_credential_is_refused_rather_than_anonymous(pki: Path, user: Any) -> None:
    with pytest.raises(
        CredentialError, match="the user of the current context has no credential: write a token"
    ):
        await from_kubeconfig(_asks(pki, user))


async def test_without_tls_nothing_is_shown(pki: Path) -> None:
    for user in ({"token": "secret"}, _NOBODY, None):
        file = _write(
            pki / "config",
            "it",
            contexts={"it": _CONTEXT},
            clusters={"hub": {"server": "http://hub"}},
            users={"me": user},
        )
        assert (await from_kubeconfig(file)).authorization == ""


@pytest.mark.parametrize(
    ("written", "in_file", "shown"),
    [
        ("written", None, "written"),
        ("written", "", "written"),
        ("written", " \n", "written"),
        ("written", "from-file", "from-file"),
        ("", "from-file\n", "from-file"),
    ],
)
async def test_the_token_of_the_file_comes_first_and_the_one_that_is_written_where_the_file_has_none(
    pki: Path, written: str, in_file: str | None, shown: str
) -> None:
    if in_file is not None:
        (pki / "token").write_text(in_file)
    found = await from_kubeconfig(_asks(pki, {"token": written, "tokenFile": "token"}))
    assert found.authorization == f"Bearer {shown}"


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "is empty"), (b"\n", "is empty"), (b"\xff", "is not text")]
)
async def test_a_token_file_that_is_empty_for_a_moment_makes_nobody_anonymous(
    pki: Path, content: bytes, says: str
) -> None:
    """A writer that is not atomic truncates first. What is in use then stays in use, as after every failed reload."""
    (pki / "token").write_bytes(content)
    with pytest.raises(CredentialError, match=f"the file that users.*tokenFile names {says}"):
        await from_kubeconfig(_asks(pki, {"tokenFile": "token"}))


async def test_a_ca_file_that_is_empty_for_a_moment_makes_nobody_trust_the_systems(pki: Path) -> None:
    (pki / "ca.crt").write_bytes(b"")
    with pytest.raises(CredentialError, match="the file that certificate-authority names is empty"):
        await from_kubeconfig(_asks(pki, {"token": "t"}))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"client.crt": b"garbage"}, "are not a certificate and its key in PEM"),
        ({"client.key": b""}, "the file that client-key names is empty"),
        ({"client.key": None}, "do not belong together"),
    ],
)
async def test_what_is_wrong_with_a_client_certificate_is_told(
    pki: Path, files: dict[str, bytes | None], says: str
) -> None:
    Authority(pki).issue_client("other", "user", ())
    for name, content in files.items():
        (pki / name).write_bytes((pki / "other.key").read_bytes() if content is None else content)
    with pytest.raises(CredentialError, match=says):
        await from_kubeconfig(_asks(pki, {"client-certificate": "client.crt", "client-key": "client.key"}))


async def test_a_key_with_a_password_is_refused_and_nobody_asked_for_it(pki: Path) -> None:
    key = serialization.load_pem_private_key((pki / "client.key").read_bytes(), None)
    (pki / "client.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    with pytest.raises(CredentialError, match="client-key is encrypted: write it without a password"):
        await from_kubeconfig(_asks(pki, {"client-certificate": "client.crt", "client-key": "client.key"}))


async def test_a_proxy_for_socks_is_refused_at_once_with_the_place_where_it_is_named(
    pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = {"server": "https://hub", "certificate-authority": "ca.crt"}
    entries = {"contexts": {"it": _CONTEXT}, "users": {"me": {"token": "t"}}}
    named = _write(
        pki / "1", "it", clusters={"hub": {**cluster, "proxy-url": "socks5://user:pass@p:1"}}, **entries
    )
    with pytest.raises(
        CredentialError, match=r"proxy-url names a socks5:// proxy: SOCKS .* not supported"
    ) as caught:
        await from_kubeconfig(named)
    assert "pass" not in str(caught.value)
    monkeypatch.setenv("HTTPS_PROXY", "socks5h://p:1")
    with pytest.raises(CredentialError, match="environment variable HTTPS_PROXY names a socks5h:// proxy"):
        await from_kubeconfig(_write(pki / "2", "it", clusters={"hub": cluster}, **entries))


def _id_token(**claims: Any) -> dict[str, Any]:
    payload = urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return {"auth-provider": {"name": "oidc", "config": {"id-token": f"e30.{payload}.c2ln"}}}


@pytest.mark.parametrize("claims", [{"exp": 9999999999}, {}, {"exp": "soon"}, {"exp": 1e300}, {"exp": None}])
async def test_an_id_token_is_used_until_it_expires(pki: Path, claims: dict[str, Any]) -> None:
    user = _id_token(**claims)
    found = await from_kubeconfig(_asks(pki, user))
    assert found.authorization == f"Bearer {user['auth-provider']['config']['id-token']}"


async def test_an_id_token_that_has_expired_is_told_with_its_date(pki: Path) -> None:
    with pytest.raises(CredentialError, match=r"id-token expired at 2001-09-09T01:46:40Z: log in again"):
        await from_kubeconfig(_asks(pki, _id_token(exp=1000000000)))
    with pytest.raises(CredentialError, match="id-token is missing"):
        await from_kubeconfig(_asks(pki, {"auth-provider": {"name": "oidc"}}))


async def test_what_a_plugin_gave_is_asked_for_anew_once_it_has_expired(pki: Path) -> None:
    later = await from_kubeconfig(
        _asks(pki, _plugin(pki / "a", token="t", expirationTimestamp="2999-01-01T00:00:00Z"))
    )
    assert later.expires_at == datetime(2999, 1, 1, tzinfo=UTC)
    assert not changed(later)
    assert changed(evolve(later, expires_at=datetime(2001, 1, 1, tzinfo=UTC)))


async def test_what_has_expired_when_a_plugin_gives_it_is_not_asked_for_again_and_again(pki: Path) -> None:
    found = await from_kubeconfig(
        _asks(pki, _plugin(pki / "a", token="t", expirationTimestamp="2001-01-01T00:00:00Z"))
    )
    assert found.expires_at is None
    assert not changed(found)
