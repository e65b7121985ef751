import contextlib
import json
import ssl
import stat
import tempfile
import traceback
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.pki import Authority
from msa.kube import credentials
from msa.kube.credentials import CredentialError, changed, from_kubeconfig, from_pod


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    authority = Authority.create(tmp_path, "test")
    authority.issue_client("client", "user", ())
    return tmp_path


def _write(folder: Path, user: dict[str, Any], **cluster: Any) -> Path:
    config = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [
            {
                "name": "test",
                "cluster": {"server": "https://127.0.0.1:1/", "certificate-authority": "ca.crt", **cluster},
            }
        ],
        "users": [{"name": "test", "user": user}],
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return file


async def test_files_beside_the_kubeconfig_are_found_as_in_a_mounted_secret(pki: Path) -> None:
    found = await from_kubeconfig(
        _write(pki, {"client-certificate": "client.crt", "client-key": "client.key"})
    )
    assert found.server == "https://127.0.0.1:1"
    assert found.ca == (pki / "ca.crt").read_bytes()
    assert found.authorization == ""
    assert {file.name for file in found.files} == {"kubeconfig", "ca.crt", "client.crt", "client.key"}


async def test_a_token_is_sent_as_bearer(pki: Path) -> None:
    assert (await from_kubeconfig(_write(pki, {"token": "abc"}))).authorization == "Bearer abc"


async def test_a_token_file_is_read_and_watched(pki: Path) -> None:
    (pki / "token").write_text("one")
    found = await from_kubeconfig(_write(pki, {"tokenFile": "token"}))
    assert found.authorization == "Bearer one"
    assert not changed(found)
    (pki / "token").write_text("two")
    assert changed(found)


async def test_an_exec_plugin_is_asked_for_a_token(pki: Path) -> None:
    plugin = pki / "plugin"
    plugin.write_text(
        '#!/bin/sh\necho \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"from-plugin"}}\'\n'
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(plugin),
            "interactiveMode": "Never",
        }
    }
    assert (await from_kubeconfig(_write(pki, user))).authorization == "Bearer from-plugin"


async def test_a_swapped_certificate_is_a_change_and_a_half_swapped_one_is_not(pki: Path) -> None:
    found = await from_kubeconfig(
        _write(pki, {"client-certificate": "client.crt", "client-key": "client.key"})
    )
    (pki / "client.crt").rename(pki / "elsewhere")
    assert not changed(found), "in the middle of a swap the old one stays in use"
    Authority(pki).issue_client("client", "user", ())
    assert changed(found)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        ("{", "no YAML"),
        ("[]", "the document must be a mapping, not a list"),
        ("", "current-context is missing"),
        ("current-context: x", "x"),
        (
            yaml.safe_dump(
                {
                    "current-context": "a",
                    "contexts": [{"name": "a", "context": {"cluster": "b"}}],
                    "clusters": [],
                }
            ),
            "b",
        ),
    ],
)
async def test_a_useless_kubeconfig_gives_one_line_that_names_it(
    tmp_path: Path, content: str | None, says: str
) -> None:
    file = tmp_path / "kubeconfig"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CredentialError) as caught:
        await from_kubeconfig(file)
    assert str(file) in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


_SECRET = "s3cretword"


@pytest.mark.parametrize(
    "line",
    [
        f"token: {{{_SECRET}",
        f"token: '{_SECRET}",
        f"token: {_SECRET}: {_SECRET}",
        f"token: *{_SECRET}",
        f"token: !{_SECRET} x",
        f"token: !{_SECRET}! x",
        f'token: !it"s-{_SECRET} x',
        f"token: !it's-{_SECRET} x",
        f"token: !<'{_SECRET}> x",
        f"token: !!int {_SECRET}",
        f"token: !!bool {_SECRET}",
        f"token: !!timestamp {_SECRET}",
        f"token: !!float '{_SECRET}'",
        f"token: @{_SECRET}",
        f'token: "\\x{_SECRET}"',
        f"? {{[{_SECRET}]: 1}}",
        f"{_SECRET}",
        f"{_SECRET}: \x07",
        f"{_SECRET}: \udcff",
        f"{_SECRET}: " + "[" * 5000,
    ],
)
async def test_a_line_that_is_no_yaml_is_told_by_its_place_and_never_shown(tmp_path: Path, line: str) -> None:
    """A token may stand on it."""
    file = tmp_path / "kubeconfig"
    file.write_bytes(f"users:\n{line}\n".encode(errors="surrogateescape"))
    with pytest.raises(CredentialError) as caught:
        await from_kubeconfig(file)
    assert _SECRET not in "".join(traceback.format_exception(caught.value))
    assert str(caught.value).startswith(f"kubeconfig {file}: no YAML: ")
    assert "\n" not in str(caught.value)


async def test_a_mistake_in_the_yaml_is_told_with_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text("users:\n- user:\n    token: a: b\n")
    with pytest.raises(CredentialError) as caught:
        await from_kubeconfig(file)
    told = "no YAML: line 3, column 13: mapping values are not allowed here"
    assert str(caught.value) == f"kubeconfig {file}: {told}"


_EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}
_ANSWER = {"command": "echo", "args": ['{"apiVersion":"v0","kind":"ExecCredential","status":{}}']}


@pytest.mark.parametrize(
    ("user", "says"),
    [
        ({"client-certificate": "client.crt", "client-key": f"-----BEGIN\n{_SECRET}\n" * 99}, "client-key"),
        ({"tokenFile": _SECRET}, "the file that tokenFile names: No such file"),
        ({"client-key-data": f"{_SECRET}!"}, "base64"),
        (
            {"exec": {**_EXEC, **_ANSWER, "apiVersion": _SECRET}},
            "exec.apiVersion must be client.authentication",
        ),
        (
            {"exec": {**_EXEC, "command": "cat", "args": [f"/{_SECRET}"]}},
            "/cat: ...: No such file or directory",
        ),
        (
            {
                "exec": {
                    **_EXEC,
                    "command": "sh",
                    "args": ["-c", 'echo "$A" >&2; exit 3'],
                    "env": [{"name": "A", "value": _SECRET}],
                }
            },
            "program sh exited with code 3: ...",
        ),
        (_SECRET, "users[0].user must be a mapping"),
        (
            {"auth-provider": {"name": "oidc", "config": {"id-token": 7, "client-secret": _SECRET}}},
            "must be a string",
        ),
        ({"token": f"{_SECRET}\n"}, "users[].user.token is not a token"),
        ({"token": _SECRET, "username": "x"}, "both a token and a username"),
    ],
)
async def test_what_a_user_entry_says_is_never_shown(
    pki: Path, caplog: pytest.LogCaptureFixture, user: Any, says: str
) -> None:
    file = _write(pki, user)
    with pytest.raises(CredentialError) as caught:
        await from_kubeconfig(file)
    assert _SECRET not in "".join(traceback.format_exception(caught.value)) + caplog.text
    assert str(caught.value).startswith(f"kubeconfig {file}: ")
    assert says in str(caught.value)


async def test_garbage_for_a_certificate_is_named(pki: Path) -> None:
    (pki / "client.crt").write_text("garbage")
    with pytest.raises(CredentialError, match="certificates cannot be used"):
        await from_kubeconfig(_write(pki, {"client-certificate": "client.crt", "client-key": "client.key"}))


async def test_outside_of_a_pod_the_remedy_is_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(CredentialError, match="--spoke-kubeconfig"):
        await from_pod("--spoke-kubeconfig")


async def test_a_swap_in_the_middle_of_the_reading_is_a_change(pki: Path) -> None:
    """The exec plugin runs between two reads; what it changes must not count as what was read before."""
    plugin = pki / "plugin"
    plugin.write_text(
        f"#!/bin/sh\nsed -i s/127.0.0.1:1/127.0.0.1:2/ {pki}/kubeconfig\n"
        'echo \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"x"}}\'\n'
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(plugin),
        "interactiveMode": "Never",
    }
    found = await from_kubeconfig(_write(pki, {"exec": command}))
    assert found.server == "https://127.0.0.1:1"
    assert changed(found)


async def test_certificates_within_the_kubeconfig_need_no_file_anywhere(
    pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod may have a read-only file system."""
    user = {
        "client-certificate-data": b64encode((pki / "client.crt").read_bytes()).decode(),
        "client-key-data": b64encode((pki / "client.key").read_bytes()).decode(),
    }
    file = _write(pki, user)
    monkeypatch.setattr(tempfile, "tempdir", str(pki / "nowhere"))
    assert [path.name for path in (await from_kubeconfig(file)).files] == ["kubeconfig", "ca.crt"]


async def test_a_proxy_and_a_name_for_the_certificate_are_taken_from_the_kubeconfig(pki: Path) -> None:
    cluster = {"proxy-url": "http://proxy.example:3128", "tls-server-name": "hub.example"}
    found = await from_kubeconfig(_write(pki, {"token": "x"}, **cluster))
    assert (found.proxy, found.tls_server_name) == ("http://proxy.example:3128", "hub.example")


async def test_a_client_certificate_of_an_exec_plugin_is_used(pki: Path) -> None:
    status = {
        "clientCertificateData": (pki / "client.crt").read_text(),
        "clientKeyData": (pki / "client.key").read_text(),
    }
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    (pki / "answer").write_text(json.dumps(answer))
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "cat",
        "args": [str(pki / "answer")],
        "interactiveMode": "Never",
    }
    found = await from_kubeconfig(_write(pki, {"exec": command}))
    assert found.authorization == ""
    assert found.tls is not None


async def test_the_ca_of_a_proxy_is_trusted_besides_and_watched_but_is_not_the_servers(pki: Path) -> None:
    (pki / "proxy").mkdir()
    Authority.create(pki / "proxy", "proxy")
    bundle = pki / "proxy" / "ca.crt"
    found = await from_kubeconfig(_write(pki, {"token": "t"}), also_trusted=bundle)
    assert found.tls is not None
    assert len(found.tls.get_ca_certs()) == 2
    assert found.ca == (pki / "ca.crt").read_bytes()
    assert bundle in found.files
    bundle.write_bytes((pki / "ca.crt").read_bytes())
    assert changed(found)


_TEXT = "# Főtanúsítvány\n".encode() + b"# Autorit\xe9\n"
_BAD = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


async def test_text_and_a_bad_certificate_in_a_bundle_hinder_nobody(pki: Path) -> None:
    good = (pki / "ca.crt").read_bytes()
    (pki / "ca.crt").write_bytes(_TEXT + _BAD + good)
    (pki / "proxy.crt").write_bytes(_TEXT + _BAD + good)
    found = await from_kubeconfig(_write(pki, {"token": "t"}), also_trusted=pki / "proxy.crt")
    assert found.tls is not None
    assert len(found.tls.get_ca_certs()) == 1
    assert found.ca == good, "what others are given has no more in it than every reader takes"


async def test_text_in_the_pods_bundle_hinders_nobody(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = (pki / "ca.crt").read_bytes()
    (pki / "ca.crt").write_bytes(_TEXT + _BAD + good)
    (pki / "token").write_text("t")
    monkeypatch.setattr(credentials, "_POD", pki)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    assert credentials.of_pod("--kubeconfig").ca == good


@pytest.mark.parametrize("bundle", [b"", _TEXT, _BAD])
async def test_a_bundle_without_any_certificate_is_refused(pki: Path, bundle: bytes) -> None:
    (pki / "proxy.crt").write_bytes(bundle)
    with pytest.raises(CredentialError, match="holds no certificate that can be read"):
        await from_kubeconfig(_write(pki, {"token": "t"}), also_trusted=pki / "proxy.crt")


async def test_a_proxys_ca_that_is_not_there_is_named(pki: Path) -> None:
    with pytest.raises(CredentialError, match=r"nowhere\.crt"):
        await from_kubeconfig(_write(pki, {"token": "t"}), also_trusted=pki / "nowhere.crt")


def _handshake(client: ssl.SSLContext, folder: Path) -> None:
    """With a server that has this folder's certificate; raises SSLCertVerificationError where the client does not trust it."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.crt", folder / "server.key")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(back, there, server_hostname="127.0.0.1"),
        server.wrap_bio(there, back, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python 3.13 does by default."""
    lenient = ssl.create_default_context

    def create(*, cadata: str | None) -> ssl.SSLContext:
        context = lenient(cadata=cadata)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", create)


@pytest.mark.usefixtures("strict")
async def test_a_server_whose_certificate_names_no_key_of_its_authority_is_trusted(pki: Path) -> None:
    Authority(pki).issue_server("server", ("127.0.0.1",))
    found = await from_kubeconfig(_write(pki, {"token": "abc"}))
    assert found.tls is not None
    _handshake(found.tls, pki)


async def test_an_intermediate_authority_alone_is_trusted(
    pki: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    intermediate = Authority(pki).issue_authority(tmp_path_factory.mktemp("intermediate"), "intermediate")
    intermediate.issue_server("server", ("127.0.0.1",))
    found = await from_kubeconfig(_write(intermediate.folder, {"token": "abc"}))
    assert found.tls is not None
    _handshake(found.tls, intermediate.folder)


async def test_a_server_of_another_authority_is_not_trusted(
    pki: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Authority.create(tmp_path_factory.mktemp("other"), "other")
    other.issue_server("server", ("127.0.0.1",))
    found = await from_kubeconfig(_write(pki, {"token": "abc"}))
    assert found.tls is not None
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(found.tls, other.folder)
