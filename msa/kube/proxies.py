"""Which HTTP proxy the environment asks for: HTTPS_PROXY, HTTP_PROXY and NO_PROXY as Kubernetes programs understand them.

The standard library and aiohttp know no address ranges in NO_PROXY. Clusters have them there (AddOnDeploymentConfig's
`proxyConfig` fills it in), and without them an in-cluster address would be asked for at the proxy.
"""

from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network

from yarl import URL


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
    """Whether an entry of NO_PROXY means this host: `*`, a range, an address, a domain with all below it, or `.domain` alone."""
    if entry == "*":
        return True
    with suppress(ValueError):
        return ip_address(host) in ip_network(entry, strict=False)
    name, _, its_port = entry.partition(":")
    if its_port and its_port != str(port):
        return False
    suffix = name.removeprefix("*") if name.startswith("*.") else name
    return host.endswith(suffix) if suffix.startswith(".") else host == suffix or host.endswith(f".{suffix}")
