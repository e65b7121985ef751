"""One GET to an API server, for programs that ask for a single object and end: with the standard library alone, which starts fastest.

Programs that go on use `kube.transport`.
"""

import http.client
import socket
import ssl
from base64 import b64encode
from contextlib import closing, suppress
from datetime import UTC, datetime
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec
from attrs import evolve

import msa
from msa.kube.certificate import explained, said_to_have_expired
from msa.kube.credentials import Credential, CredentialError, one_line
from msa.runtime.errors import Network, Untrusted, classify
from msa.runtime.events import Status

_SECONDS = 10.0
_LONGEST = 8 * 1024 * 1024
_OK = 200
_PORTS = {"http": 80, "https": 443}


class _Connection(http.client.HTTPConnection):
    """To a server, perhaps through a proxy's tunnel, perhaps with TLS inside of it.

    Args:
        server: where to.
        credential: for the server.
    """

    def __init__(self, server: SplitResult, credential: Credential) -> None:
        host, port = _place(server)
        if server.scheme == "https" and credential.tls is None:  # else the token would go in clear text
            raise CredentialError(
                "the hub's address is an https:// one, but its credential has no TLS: write https://HOST:PORT in the kubeconfig"
            )
        self._tls, self._name = credential.tls, credential.tls_server_name or host
        if not credential.proxy:
            super().__init__(host, port, timeout=_SECONDS)
            return
        proxy = urlsplit(credential.proxy)
        if proxy.scheme != "http":
            raise CredentialError(
                "the proxy on the way to the hub is no http:// one: name one that is in HTTPS_PROXY or proxy-url"
            )
        super().__init__(*_place(proxy), timeout=_SECONDS)
        self.set_tunnel(host, port, _authorization(proxy))

    def connect(self) -> None:
        super().connect()
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


def get(credential: Credential, path: str) -> bytes:
    """The body of the answer.

    Args:
        credential: for the server.
        path: below the server's own, percent-encoded, with its query.

    Raises:
        ApiError: by class, see `runtime.errors`. No message holds the credential.
        CredentialError: HTTP cannot carry the credential or the address.
    """
    try:
        server = urlsplit(credential.server)
        where = _where(server, credential)
        with closing(_Connection(server, credential)) as connection:
            connection.request("GET", server.path.rstrip("/") + path, headers=_headers(credential))
            response = connection.getresponse()
            code, body = response.status, response.read(_LONGEST)
            location = response.headers.get("Location", "")
    except ssl.SSLCertVerificationError as error:  # a ValueError and an OSError, too
        tls, expired = _other_way(error, credential)
        if tls is not None:
            return get(evolve(credential, tls=tls, trust=None), path)
        refused = Untrusted(f"{where}: the server's certificate is not trusted: {error.verify_message}")
        refused.explain(expired)
        raise refused from None
    except (ValueError, http.client.InvalidURL):  # the text of either may quote a header
        raise CredentialError(
            "the hub's address, its proxy's or the token for it has a form that HTTP cannot carry: correct the kubeconfig"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise Network(f"{where}: {_without(credential, _said(error))}") from None
    if code != _OK:
        status = Status()
        with suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
            status = msgspec.json.decode(body, type=Status)
        answer = classify(code, status.reason, _without(credential, status.message), location=location)
        raise explained(answer, credential.certificate_ends, datetime.now(UTC))
    return body


def _other_way(
    refusal: ssl.SSLCertVerificationError, credential: Credential
) -> tuple[ssl.SSLContext | None, str]:
    """A context for the server that was refused, None where there is none; and since when its certificate has expired, "" if it has not."""
    from msa.kube import chains  # noqa: PLC0415 - seldom needed, and takes longer than the request

    place = chains.Place(*_place(urlsplit(credential.server)), credential.tls_server_name)
    certificates = chains.shown(place)
    tls = chains.other_way(refusal, place, credential.trust, certificates, datetime.now(UTC))
    return tls, said_to_have_expired(refusal, certificates)


def _headers(credential: Credential) -> dict[str, str]:
    headers = {"Accept": "application/json", "User-Agent": f"msa/{msa.__version__}"}
    return headers | ({"Authorization": credential.authorization} if credential.authorization else {})


def _place(url: SplitResult) -> tuple[str, int]:
    if not url.hostname or url.scheme not in _PORTS:
        raise ValueError
    return url.hostname, url.port or _PORTS[url.scheme]


def _authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _where(server: SplitResult, credential: Credential) -> str:
    """Which way it went wrong, without the passwords that URLs may hold."""
    way = "{}:{}".format(*_place(server))
    proxy = urlsplit(credential.proxy)
    return f"{way} through the proxy {proxy.hostname}:{proxy.port or ''}" if credential.proxy else way


def _said(error: Exception) -> str:
    match error:
        case TimeoutError():
            return f"no answer within {_SECONDS:.0f} s"
        case socket.gaierror():
            return f"the name cannot be resolved: {error.strerror}"
        case OSError(strerror=str(text)):
            return text
        case _:
            return one_line(error)


def _without(credential: Credential, text: str) -> str:
    """A server may send back what it was sent."""
    secret = credential.authorization.rpartition(" ")[2]
    return text.replace(secret, "...") if secret else text
