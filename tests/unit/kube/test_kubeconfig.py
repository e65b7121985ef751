"""Kubeconfigs in several files, and plain ones without the loader."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

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
    assert _read(pki / "nowhere", there, pki / "no").cluster == {"server": "https://hub"}
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
        ({"contexts": {"it": _CONTEXT}, "clusters": {"hub": {"server": 7}}}, "server is no text"),
        ({"contexts": {"it": _CONTEXT}, "clusters": {"hub": {}}}, "server is empty"),
        ({"contexts": {"it": _CONTEXT}, "clusters": {"hub": {"server": "https://h:x"}}}, "is no address"),
        (
            {
                "contexts": {"it": _CONTEXT},
                "clusters": {"hub": {"server": "https://[", "proxy-url": "http://p"}},
            },
            "is no address",
        ),
        ({"contexts": {"it": _CONTEXT}, "clusters": {"hub": {"server": " "}}}, "server is empty"),
        ({"contexts": {"it": [7]}}, ""),
        ({"contexts": {"it": _CONTEXT}, "clusters": {"hub": "text"}}, ""),
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
        (None, ""),
    ],
)
def test_what_is_written_needs_no_loader(pki: Path, user: Any, authorization: str) -> None:
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
    return {"exec": {"apiVersion": _V1, "command": "cat", "args": [str(answer)]}}


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
    "status", [{}, {"token": ""}, {"token": None}, {"clientCertificateData": "no key with it"}]
)
async def test_a_plugin_that_gives_nothing_does_not_make_us_anonymous(
    pki: Path, status: dict[str, Any]
) -> None:
    file = _asks(pki, _plugin(pki / "answer", **status))
    with pytest.raises(CredentialError, match=r"config: .*neither a token nor a certificate.*: log in"):
        await from_kubeconfig(file)


async def test_a_certificate_that_is_written_counts_where_the_plugin_gives_none(pki: Path) -> None:
    written = {"client-certificate": "client.crt", "client-key": "client.key"}
    file = _asks(pki, written | _plugin(pki / "answer"))
    assert (await from_kubeconfig(file)).authorization == ""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the loader's
async def test_an_identity_provider_that_hangs_up_is_told_without_the_refresh_token(
    pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    issuer = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    config = {
        "client-id": "me",
        "client-secret": "s3cret",
        "refresh-token": "r3fresh",
        "idp-issuer-url": issuer,
    }
    file = _asks(pki, {"auth-provider": {"name": "oidc", "config": config}})
    async with listening:
        with pytest.raises(CredentialError, match=rf"kubeconfig {file}: Server disconnected") as caught:
            await from_kubeconfig(file)
    assert "r3fresh" not in str(caught.value)


async def test_the_answer_of_a_plugin_is_taken_before_a_token_that_is_written(pki: Path) -> None:
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    told = json.dumps({**answer, "status": {"token": "told"}})
    plugin = {"apiVersion": answer["apiVersion"], "command": "echo", "args": [told]}
    file = _write(
        pki / "config",
        "it",
        contexts={"it": _CONTEXT},
        clusters={"hub": {"server": "https://hub", "tls-server-name": "name"}},
        users={"me": {"exec": plugin, "token": "written"}},
    )
    found = await from_kubeconfig(file)
    assert (found.authorization, found.tls_server_name) == ("Bearer told", "name")
