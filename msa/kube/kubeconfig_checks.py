"""What kubectl refuses in the entries that a context chooses, in its order: client-go's `tools/clientcmd/validation.go` and `rest.Config`.

Each check says what is wrong and what would help, quoting nothing of the kubeconfig; "" where it finds nothing.
"""

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from msa.kube.kubeconfig_types import Cluster, Exec, User

_EXEC_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_PROXIES: Final = ("http", "https", "socks5")


def problem(cluster: Cluster, user: User) -> str:
    """What is wrong with them; "" for nothing."""
    found = (check(cluster, user) for check in _CHECKS)
    return next(filter(None, found), "")


def _no_server(cluster: Cluster, _: User) -> str:
    return "" if cluster.server else "clusters[].cluster.server is empty: name the API server's address"


def _bad_server(cluster: Cluster, _: User) -> str:
    try:
        url = urlsplit(cluster.server)
        good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        good = False
    if good and not any(char.isspace() or not char.isprintable() for char in cluster.server):
        return ""
    return "clusters[].cluster.server is not an address: write https://HOST:PORT"


def _bad_proxy(cluster: Cluster, _: User) -> str:
    try:
        good = not cluster.proxy_url or urlsplit(cluster.proxy_url).scheme in _PROXIES
    except ValueError:
        good = False
    return (
        "" if good else "clusters[].cluster.proxy-url is not the address of a proxy: write http://HOST:PORT"
    )


def _two_bundles(cluster: Cluster, _: User) -> str:
    return _both(
        "clusters[].cluster",
        "certificate-authority",
        cluster.certificate_authority,
        cluster.certificate_authority_data.content,
    )


def _insecure_with_bundle(cluster: Cluster, _: User) -> str:
    bundle = cluster.certificate_authority or cluster.certificate_authority_data.content
    if not (cluster.insecure_skip_tls_verify and bundle):
        return ""
    return "clusters[].cluster has both insecure-skip-tls-verify: true and a certificate-authority: delete insecure-skip-tls-verify"


def _two_certificates(_: Cluster, user: User) -> str:
    return _both(
        "users[].user", "client-certificate", user.client_certificate, user.client_certificate_data.content
    )


def _two_keys(_: Cluster, user: User) -> str:
    if not _has_certificate(user):
        return ""
    return _both("users[].user", "client-key", user.client_key, user.client_key_data.content)


def _no_key(_: Cluster, user: User) -> str:
    if not _has_certificate(user) or user.client_key or user.client_key_data.content:
        return ""
    return "users[].user has a client-certificate without its key: add client-key or client-key-data"


def _two_methods(_: Cluster, user: User) -> str:
    if (user.token and (user.username or user.password)) or (user.token_file and user.username):
        return "users[].user has both a token and a username or password: delete one of them"
    return ""


def _impersonation(_: Cluster, user: User) -> str:
    if user.impersonate or user.as_uid or user.as_groups or user.as_user_extra:
        return "users[].user.as: impersonation is not supported: name a user that has the rights itself"
    return ""


def _two_programs(_: Cluster, user: User) -> str:
    return (
        "users[].user has both exec and auth-provider: delete one of them"
        if user.exec and user.auth_provider
        else ""
    )


def _provider(_: Cluster, user: User) -> str:
    if user.auth_provider is None or user.auth_provider.name == "oidc":
        return ""
    return "users[].user.auth-provider.name: only oidc is supported: use the credential plugin of your provider in exec"


def _bad_exec(_: Cluster, user: User) -> str:
    return _exec_problem(user.exec) if user.exec is not None else ""


def _exec_problem(plugin: Exec) -> str:
    where = "users[].user.exec"
    if not plugin.command:
        return f"{where}.command is empty: name the program"
    if plugin.api_version not in _EXEC_VERSIONS:
        return f"{where}.apiVersion must be {' or '.join(_EXEC_VERSIONS)}"
    if not all(one.name for one in plugin.env):
        return f"{where}.env[].name is empty: name the variable"
    optional = ("",) if plugin.api_version == _EXEC_VERSIONS[1] else ()
    if plugin.interactive_mode not in ("Never", "IfAvailable", "Always", *optional):
        return f"{where}.interactiveMode must be Never, IfAvailable or Always"
    return ""


def _has_certificate(user: User) -> bool:
    return bool(user.client_certificate or user.client_certificate_data.content)


def _both(where: str, name: str, file: str, data: bytes) -> str:
    return f"{where} has both {name} and {name}-data: delete one of them" if file and data else ""


_CHECKS: Final[tuple[Callable[[Cluster, User], str], ...]] = (
    _no_server,
    _bad_server,
    _bad_proxy,
    _two_bundles,
    _insecure_with_bundle,
    _two_certificates,
    _two_keys,
    _no_key,
    _two_methods,
    _impersonation,
    _two_programs,
    _provider,
    _bad_exec,
)
