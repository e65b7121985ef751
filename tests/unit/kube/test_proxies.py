import pytest

from msa.kube.proxies import ProxyError, proxy_for, proxy_of_environment

_PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("server", "no_proxy", "goes_through"),
    [
        ("https://hub.example:6443", "", True),
        ("https://hub.example:6443", "*", False),
        ("https://hub.example:6443", "example", False),
        ("https://hub.example:6443", ".example", False),
        ("https://example:6443", ".example", True),
        ("https://hub.example:6443", "*.example", False),
        ("https://hub.example:6443", "other.example, hub.example", False),
        ("https://hub.example:6443", "hub.example:6443", False),
        ("https://hub.example:6443", "hub.example:443", True),
        ("https://thehub.example:6443", "hub.example", True),
        ("https://10.96.0.1:443", "10.96.0.0/12", False),
        ("https://10.112.0.1:443", "10.96.0.0/12", True),
        ("https://10.96.0.1:443", "10.96.0.1", False),
        ("https://10.96.0.1:443", "10.96.0.1:443", False),
        ("https://[fd00::1]:443", "fd00::/8", False),
        ("https://[fd00::1]:443", "10.0.0.0/8", True),
        ("https://[fd00::1]:6443", "[fd00::1]:6443", False),
        ("https://[fd00::1]:6443", "[fd00:0::0:1]:6443", False),
        ("https://[fd00::1]:6443", "[fd00::1]:443", True),
        ("https://[fd00::1]:6443", "[fd00::2]:6443", True),
        ("https://[fd00::1]:6443", "[fd00::1]", True),
        ("https://[fd00::1]:6443", "[", True),
        ("https://[fd00::1]:6443", "fd00::1", False),
        ("https://10.96.0.1:443", "10.96.0.1:6443", True),
        ("https://127.0.0.1:443", "", False),
        ("https://localhost:443", "", False),
        ("http://hub.example:80", "", False),
    ],
)
def test_a_server_is_reached_through_the_proxy_unless_no_proxy_covers_it(
    server: str, no_proxy: str, goes_through: bool
) -> None:
    environment = {"HTTPS_PROXY": _PROXY, "NO_PROXY": no_proxy}
    assert proxy_of_environment(server, environment) == (_PROXY if goes_through else "")


def test_lower_case_names_count_too_and_a_scheme_may_be_left_out() -> None:
    assert proxy_of_environment("https://hub.example", {"https_proxy": "proxy:3128"}) == "http://proxy:3128"


@pytest.mark.parametrize("bad", ["ftp://p:1", "http://", "http://[", "http://:1"])
def test_what_is_no_proxy_is_refused(bad: str) -> None:
    with pytest.raises(ProxyError, match="environment variable HTTPS_PROXY is not the address of a proxy"):
        proxy_for("https://hub.example", "", {"HTTPS_PROXY": bad})


def test_the_kubeconfigs_proxy_comes_before_the_environments() -> None:
    environment = {"HTTPS_PROXY": "socks5://p:1", "NO_PROXY": "*"}
    assert proxy_for("https://hub.example", _PROXY, environment) == _PROXY
    assert proxy_for("https://hub.example", "", environment) == ""
