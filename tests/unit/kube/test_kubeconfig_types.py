"""Kubeconfigs are decoded as kubectl 1.36 decodes them; each row was tried with it."""

import json
import re
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from msa.kube import kubeconfig_checks, kubeconfig_types
from msa.kube.kubeconfig_types import Cluster, Config, User, decode

_V1, _V1BETA1 = "client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"


def _decoded(**document: Any) -> Config:
    return decode(yaml.safe_dump(document).encode())


def _cluster(**fields: Any) -> Cluster:
    return (
        _decoded(clusters=[{"name": "c", "cluster": {"server": "https://h:1", **fields}}]).clusters[0].cluster
    )


def _user(**fields: Any) -> User:
    return _decoded(users=[{"name": "u", "user": fields}]).users[0].user


@pytest.mark.parametrize("value", ["false", "true", "", 0, 1, ["x"]])
def test_only_a_boolean_switches_verification_off(value: Any) -> None:
    """Templates write booleans as texts, and every text is true to Python."""
    with pytest.raises(
        ValueError, match=r"clusters\[0\]\.cluster\.insecure-skip-tls-verify must be a boolean, not"
    ):
        _cluster(**{"insecure-skip-tls-verify": value})
    assert _cluster(**{"insecure-skip-tls-verify": True}).insecure_skip_tls_verify
    assert not _cluster(**{"insecure-skip-tls-verify": None}).insecure_skip_tls_verify


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "the document must be a mapping, not a list"),
        ("text", "the document must be a mapping, not a string"),
        (
            {"users": [{"name": "u", "user": {"token": 123}}]},
            "users[0].user.token must be a string, not a number: put it in quotes",
        ),
        (
            {"users": [{"name": "u", "user": {"password": True}}]},
            "users[0].user.password must be a string, not a boolean",
        ),
        (
            {"users": [{"user": {"exec": {"args": [1]}}}]},
            "users[0].user.exec.args[0] must be a string, not a number",
        ),
        (
            {"users": [{"user": {"exec": {"env": {"A": "b"}}}}]},
            "users[0].user.exec.env must be a list, not a mapping",
        ),
        ({"users": [{"user": {"client-key-data": "?"}}]}, "users[0].user.client-key-data is not base64"),
        (
            {"clusters": [{"cluster": {"certificate-authority-data": "QUJD QUJD"}}]},
            "certificate-authority-data is not base64",
        ),
        ({"users": [{"name": "u"}, {"name": "u"}]}, "users[] has two entries of one name"),
        ({"clusters": [{"name": "u"}, {"name": "u"}]}, "clusters[] has two entries of one name"),
        ({"contexts": [{}, {}]}, "contexts[] has two entries of one name"),
        ({"kind": "Foo"}, "apiVersion and kind must be v1 and Config"),
        ({"apiVersion": "v2"}, "apiVersion and kind must be v1 and Config"),
    ],
)
def test_what_kubectl_refuses_is_told_with_its_field_and_never_quoted(document: Any, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        decode(yaml.safe_dump(document).encode())
    assert "QUJD" not in str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"users": None, "clusters": None, "contexts": None, "current-context": None, "preferences": None},
        {"users": [None, {"name": "u", "user": None}]},
        {"users": [{"user": {"exec": None, "auth-provider": None, "token": None}}]},
        {"future": {"x": [1]}, "extensions": [{"name": "x", "extension": "text"}]},
        {7: "x"},
        {"kind": "", "apiVersion": ""},
    ],
)
def test_null_is_absent_and_what_is_not_known_is_left_out(document: Any) -> None:
    config = decode(yaml.safe_dump(document).encode())
    assert not config.clusters
    assert all(one.user.exec is None and not one.user.token for one in config.users)


def test_no_document_is_an_empty_kubeconfig_and_the_first_of_several_counts() -> None:
    assert decode(b"") == decode(b"# nothing\n") == Config()
    assert decode(b"current-context: one\n---\ncurrent-context: two\n").current_context == "one"
    assert decode(b"current-context: 2020-01-01\n").current_context == "2020-01-01"


def test_base64_may_be_in_lines() -> None:
    for data in ("QUJD\nQUJD\n", "QUJD\r\nQUJD"):
        assert (
            _cluster(**{"certificate-authority-data": data}).certificate_authority_data.content == b"ABCABC"
        )


def test_null_stays_within_an_extension_which_is_handed_on_as_it_is() -> None:
    config = {"a": None, "b": [None, {"extension": None}]}
    cluster = _cluster(extensions=[{"name": "x", "extension": config}])
    assert cluster.extensions[0].extension == config


def test_a_short_text_that_says_very_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubeconfig_types, "_MOST_NODES", 1000)
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    with pytest.raises(ValueError, match="it is too large"):
        decode("\n".join(lines).encode())
    with pytest.raises(ValueError, match=r"nested too deeply|too large"):
        decode(b"a: &a [*a]")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.binary() | _JSON.map(json.dumps).map(str.encode))
def test_whatever_a_file_holds_it_is_a_kubeconfig_or_an_error_of_ours(content: bytes) -> None:
    with suppress(ValueError):
        assert isinstance(decode(content), Config)


_FIELDS = st.sampled_from(
    [
        "server",
        "token",
        "tokenFile",
        "exec",
        "auth-provider",
        "client-key-data",
        "insecure-skip-tls-verify",
        "extensions",
    ]
)


@given(st.dictionaries(_FIELDS, _JSON))
def test_whatever_an_entry_holds_it_is_one_or_an_error_of_ours(entry: dict[str, Any]) -> None:
    document = {"clusters": [{"name": "x", "cluster": entry}], "users": [{"name": "x", "user": entry}]}
    with suppress(ValueError):
        config = decode(json.dumps(document).encode())
        kubeconfig_checks.problem(config.clusters[0].cluster, config.users[0].user)


_PLUGIN = {"command": "x", "apiVersion": _V1, "interactiveMode": "Never"}


@pytest.mark.parametrize(
    ("cluster", "user", "says"),
    [
        ({"server": ""}, {}, "clusters[].cluster.server is empty"),
        ({"server": "h:6443"}, {}, "is not an address"),
        ({"server": " https://h"}, {}, "is not an address"),
        ({"server": "https://h:99999"}, {}, "is not an address"),
        ({"proxy-url": "ftp://p"}, {}, "proxy-url is not the address of a proxy"),
        (
            {"certificate-authority": "f", "certificate-authority-data": "QUJD"},
            {},
            "both certificate-authority and",
        ),
        (
            {"certificate-authority": "f", "insecure-skip-tls-verify": True},
            {},
            "both insecure-skip-tls-verify: true and",
        ),
        ({"certificate-authority-data": "QUJD", "insecure-skip-tls-verify": True}, {}, "both insecure-skip"),
        ({}, {"client-certificate": "f", "client-certificate-data": "QUJD"}, "both client-certificate and"),
        (
            {},
            {"client-certificate": "f", "client-key": "f", "client-key-data": "QUJD"},
            "both client-key and",
        ),
        ({}, {"client-certificate": "f"}, "has a client-certificate without its key"),
        ({}, {"token": "t", "username": "u"}, "both a token and a username"),
        ({}, {"token": "t", "password": "p"}, "both a token and a username or password"),
        ({}, {"tokenFile": "t", "username": "u"}, "both a token and a username"),
        ({}, {"token": "t", "as": "u"}, "impersonation is not supported"),
        ({}, {"token": "t", "as-groups": ["g"]}, "impersonation is not supported"),
        ({}, {"exec": _PLUGIN, "auth-provider": {"name": "oidc"}}, "both exec and auth-provider"),
        ({}, {"auth-provider": {"name": "gcp"}}, "only oidc is supported"),
        ({}, {"exec": _PLUGIN | {"command": ""}}, "exec.command is empty"),
        (
            {},
            {"exec": _PLUGIN | {"apiVersion": "client.authentication.k8s.io/v1alpha1"}},
            "exec.apiVersion must be",
        ),
        ({}, {"exec": _PLUGIN | {"env": [{"value": "x"}]}}, "exec.env[].name is empty"),
        ({}, {"exec": _PLUGIN | {"interactiveMode": None}}, "exec.interactiveMode must be"),
        ({}, {"exec": _PLUGIN | {"interactiveMode": "never"}}, "exec.interactiveMode must be"),
    ],
)
def test_entries_that_kubectl_refuses_are_refused_with_a_remedy(
    cluster: dict[str, Any], user: dict[str, Any], says: str
) -> None:
    found = kubeconfig_checks.problem(_cluster(**cluster), _user(**user))
    assert says in found


@pytest.mark.parametrize(
    "user",
    [
        {},
        {"token": "t", "client-certificate": "f", "client-key": "f"},
        {"token": "t", "client-key": "f"},
        {"tokenFile": "t", "password": "p"},
        {"exec": _PLUGIN, "token": "t"},
        {"exec": {"command": "x", "apiVersion": _V1BETA1}},
    ],
)
def test_entries_that_kubectl_takes_are_taken(user: dict[str, Any]) -> None:
    assert kubeconfig_checks.problem(_cluster(), _user(**user)) == ""
