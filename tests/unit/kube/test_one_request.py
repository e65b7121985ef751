import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from hack.clusters import free_ports
from hack.pki import Authority
from msa.kube import one_request
from msa.kube.credentials import Credential, CredentialError
from msa.kube.kubeconfig import Kubeconfig
from msa.runtime.errors import ApiError, Forbidden, Network, NotFound, Refused, ServerError, Unauthorized
from tests.support.secret_hub import SecretHub, secret_hub, tunnel_proxy

_TOKEN = "s3cretword"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SecretHub]:
    with secret_hub(tmp_path / "hub") as hub:
        hub.body = b"hello"
        yield hub


def _credential(hub: SecretHub, folder: Path, user: Any = None, **cluster: Any) -> Credential:
    file = hub.kubeconfig(folder / "kubeconfig", user or {"token": _TOKEN}, **cluster)
    kubeconfig = Kubeconfig.read((file,), remedy="")
    return kubeconfig.credential(kubeconfig.written())


def test_the_body_is_given_and_the_token_sent(hub: SecretHub, tmp_path: Path) -> None:
    assert one_request.get(_credential(hub, tmp_path), "/x?y=1") == b"hello"
    assert hub.seen == [("/x?y=1", f"Bearer {_TOKEN}")]


@pytest.mark.parametrize("server", ["HTTPS://{}", "Https://{}/", "https://{}/?a=b"])
def test_however_https_is_written_the_token_goes_by_tls(hub: SecretHub, tmp_path: Path, server: str) -> None:
    place = f"127.0.0.1:{hub.port}"
    credential = _credential(hub, tmp_path, server=server.format(place))
    assert credential.tls is not None
    assert one_request.get(credential, "/x") == b"hello"
    assert hub.seen == [("/x", f"Bearer {_TOKEN}")]


@pytest.mark.parametrize("scheme", ["https", "HTTPS", " https"])
def test_without_tls_an_https_address_is_sent_nothing(hub: SecretHub, tmp_path: Path, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        server = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
        bare = evolve(_credential(hub, tmp_path), server=server, tls=None)
        with pytest.raises(CredentialError, match="has no TLS"):
            one_request.get(bare, "/x")
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.mark.parametrize("below", ["/k8s/clusters/local", "/k8s/clusters/local//", "/"])
def test_the_path_of_the_servers_address_comes_first(hub: SecretHub, tmp_path: Path, below: str) -> None:
    credential = evolve(_credential(hub, tmp_path), server=f"{hub.server}{below}")
    one_request.get(credential, "/x?y=1")
    assert hub.seen == [(f"{below.rstrip('/')}/x?y=1", f"Bearer {_TOKEN}")]


def test_a_client_certificate_goes_without_a_header(hub: SecretHub, tmp_path: Path) -> None:
    Authority(hub.folder).issue_client("me", "me", ())
    user = {"client-certificate": str(hub.folder / "me.crt"), "client-key": str(hub.folder / "me.key")}
    assert one_request.get(_credential(hub, tmp_path, user), "/x") == b"hello"
    assert hub.seen == [("/x", "")]


def test_the_servers_certificate_must_have_the_name_that_is_asked_for(hub: SecretHub, tmp_path: Path) -> None:
    named = _credential(hub, tmp_path, **{"tls-server-name": "hub.example"})
    assert one_request.get(named, "/x") == b"hello"
    other = _credential(hub, tmp_path, **{"tls-server-name": "other.example"})
    with pytest.raises(Refused, match=r"certificate is not trusted: .*other\.example"):
        one_request.get(other, "/x")


def test_a_server_of_another_authority_is_sent_nothing(hub: SecretHub, tmp_path: Path) -> None:
    Authority.create(tmp_path, "other")
    stranger = _credential(hub, tmp_path, **{"certificate-authority": str(tmp_path / "ca.crt")})
    with pytest.raises(Refused, match=rf"127.0.0.1:{hub.port}: the server's certificate is not trusted"):
        one_request.get(stranger, "/x")
    assert hub.seen == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [(401, Unauthorized), (403, Forbidden), (404, NotFound), (503, ServerError)],
)
def test_a_refusal_has_its_class_and_the_servers_words_without_the_token(
    hub: SecretHub, tmp_path: Path, code: int, kind: type[ApiError]
) -> None:
    hub.refuses(code, f"you sent {_TOKEN}, and no")
    with pytest.raises(kind) as caught:
        one_request.get(_credential(hub, tmp_path), "/x")
    assert caught.value.message == "you sent ..., and no"


def test_a_refusal_that_is_no_status_has_its_class_alone(hub: SecretHub, tmp_path: Path) -> None:
    hub.code, hub.body = 403, b"<html>"
    with pytest.raises(Forbidden) as caught:
        one_request.get(_credential(hub, tmp_path), "/x")
    assert caught.value.message == ""


def test_a_proxy_is_gone_through_with_the_user_that_its_address_names(hub: SecretHub, tmp_path: Path) -> None:
    with tunnel_proxy(hub.port) as proxy:
        through = f"http://me:p%40ss@127.0.0.1:{proxy.port}"
        far = _credential(hub, tmp_path, server="https://hub.example:6443", **{"proxy-url": through})
        assert one_request.get(far, "/x") == b"hello"
        assert proxy.seen == [("hub.example:6443", "Basic bWU6cEBzcw==")]
    assert hub.seen == [("/x", f"Bearer {_TOKEN}")]


def test_a_proxy_that_refuses_is_named_without_its_password(hub: SecretHub, tmp_path: Path) -> None:
    with tunnel_proxy(hub.port) as proxy:
        proxy.refuses = True
        through = f"http://me:{_TOKEN}@127.0.0.1:{proxy.port}"
        far = _credential(hub, tmp_path, {"token": "x"}, **{"proxy-url": through})
        with pytest.raises(Network, match=rf"through the proxy 127.0.0.1:{proxy.port}: .*407") as caught:
            one_request.get(far, "/x")
    assert _TOKEN not in str(caught.value)


def test_a_proxy_with_tls_is_refused_before_anything_is_sent(hub: SecretHub, tmp_path: Path) -> None:
    far = _credential(hub, tmp_path, **{"proxy-url": "https://127.0.0.1:1"})
    with pytest.raises(CredentialError, match="no http:// one"):
        one_request.get(far, "/x")


def test_a_refusal_of_a_client_certificate_that_has_expired_names_its_date(
    hub: SecretHub, tmp_path: Path
) -> None:
    hub.refuses(401, "Unauthorized")
    ended = evolve(_credential(hub, tmp_path), certificate_ends=datetime(2021, 2, 3, 4, 5, 6, tzinfo=UTC))
    with pytest.raises(Unauthorized, match="the client certificate expired at 2021-02-03T04:05:06Z"):
        one_request.get(ended, "/x")


def test_nobody_listening_is_told_with_the_address(hub: SecretHub, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    nowhere = _credential(hub, tmp_path, server=f"https://127.0.0.1:{port}")
    with pytest.raises(Network, match=rf"127.0.0.1:{port}: Connection refused"):
        one_request.get(nowhere, "/x")


def test_a_name_that_nobody_knows_is_told(
    hub: SecretHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown_name(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown_name)
    unknown = evolve(_credential(hub, tmp_path), server="https://hub.invalid")
    with pytest.raises(Network, match=r"hub\.invalid:443: the name cannot be resolved"):
        one_request.get(unknown, "/x")


def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(
    hub: SecretHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_request, "_SECONDS", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = _credential(hub, tmp_path, server=f"https://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Network, match="no answer within"):
            one_request.get(mute, "/x")


@pytest.mark.parametrize("token", [f"{_TOKEN}\nX-More: 1", f"{_TOKEN}\u2028"])
def test_a_token_that_no_header_can_carry_is_not_shown(hub: SecretHub, tmp_path: Path, token: str) -> None:
    """http.client's own error quotes it."""
    with pytest.raises(CredentialError) as caught:
        one_request.get(_credential(hub, tmp_path, {"token": token}), "/x")
    assert _TOKEN not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("server", ["hub", "ftp://hub", "https://", "https://a b", "https://h\x01:1"])
def test_an_address_that_is_none_is_told(hub: SecretHub, tmp_path: Path, server: str) -> None:
    with pytest.raises(CredentialError, match="address"):
        one_request.get(evolve(_credential(hub, tmp_path), server=server), "/x")
