"""Which HTTP proxy the environment asks for: HTTPS_PROXY, HTTP_PROXY and NO_PROXY as Kubernetes programs understand them.

The standard library and aiohttp know no address ranges in NO_PROXY. Clusters have them there (AddOnDeploymentConfig's
`proxyConfig` fills it in), and without them an in-cluster address would be asked for at the proxy.
"""

from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from yarl import URL

_SUPPORTED = ("http", "https")


class ProxyError(ValueError):
    """The proxy cannot be used; the message names where it is configured, and not the URL, which may hold a password."""


def proxy_for(server: str, configured: str, environment: Mapping[str, str]) -> str:
    """URL of the proxy to reach `server` through, "" for none.

    Args:
        server: address of an API server, http or https.
        configured: the kubeconfig's `proxy-url`, which comes first; "" for none.
        environment: the process's.

    Raises:
        ProxyError: it is not an HTTP proxy.
    """
    proxy = configured or proxy_of_environment(server, environment)
    if not proxy:
        return ""
    variable = f"{urlsplit(server).scheme.upper()}_PROXY"
    where = "clusters[].cluster.proxy-url" if configured else f"environment variable {variable}"
    scheme, host = _parts(proxy)
    if scheme.startswith("socks"):
        raise ProxyError(
            f"{where} names a {scheme}:// proxy: SOCKS proxies are not supported: name an http:// proxy, or list the server in NO_PROXY"
        )
    if scheme not in _SUPPORTED or not host:
        raise ProxyError(f"{where} is not the address of a proxy: write http://HOST:PORT")
    return proxy


def _parts(url: str) -> tuple[str, str]:
    """Scheme and host; "" for what is not there."""
    with suppress(ValueError):
        split = urlsplit(url)
        return split.scheme[:16], split.hostname or ""
    return "", ""


def proxy_of_environment(server: str, environment: Mapping[str, str]) -> str:
    """URL of the proxy to reach `server` through, "" for none; after Go's `golang.org/x/net/http/httpproxy`.

    Args:
        server: address of an API server, http or https.
        environment: the process's; lower-case names are the second choice.
    """
    url = URL(server)
    if url.host is None or url.host == "localhost" or _is_loopback(url.host):
        return ""
    proxy = _variable(environment, f"{url.scheme.upper()}_PROXY")
    excepted = (entry.strip() for entry in _variable(environment, "NO_PROXY").split(","))
    if any(_covers(entry.lower(), url.host, url.port) for entry in excepted if entry):
        return ""
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.lower()) or ""


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY means this host: `*`, a range, an address, a domain with all below it, or `.domain` alone.

    An address or a domain may have a port: `10.0.0.1:6443`, `[fd00::1]:6443`.
    """
    if entry == "*":
        return True
    with suppress(ValueError):
        return ip_address(host) in ip_network(entry, strict=False)
    name, its_port = _without_port(entry)
    if its_port and its_port != str(port):
        return False
    with suppress(ValueError):
        return ip_address(host) == ip_address(name)
    suffix = name.removeprefix("*") if name.startswith("*.") else name
    return host.endswith(suffix) if suffix.startswith(".") else host == suffix or host.endswith(f".{suffix}")


def _without_port(entry: str) -> tuple[str, str]:
    """The name or address, and the port, "" for any."""
    if entry.startswith("["):
        address, _, rest = entry[1:].partition("]")
        return (address, rest[1:]) if rest.startswith(":") else (entry, "")
    name, _, port = entry.partition(":")
    return name, port
