import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any

import pytest

from msa.api.names import ANNOTATION_EXPIRATION
from msa.policy.exec_credential import Request, Unanswerable, answer, namespace, requested, secret_name

_V1 = "client.authentication.k8s.io/v1"
_SECRET = "s3cret.word"
_ASKED = Request(_V1, "eu")


def _info(cluster: Any, api_version: Any = _V1) -> str:
    spec = {"interactive": False, "cluster": cluster}
    return json.dumps({"apiVersion": api_version, "kind": "ExecCredential", "spec": spec})


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_the_answer_has_the_version_that_was_asked_for(version: str) -> None:
    api_version = f"client.authentication.k8s.io/{version}"
    cluster = {"server": "https://c1", "config": {"clusterName": "c1", "more": [1]}}
    request = requested(_info(cluster, api_version))
    assert request == Request(api_version, "c1")
    assert json.loads(answer(request, _secret(token="a.b.c")))["apiVersion"] == api_version


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not set"),
        ("{", "is no ExecCredential"),
        ("[]", "is no ExecCredential"),
        ("\udcff", "is no ExecCredential"),
        ("[" * 100_000, "is no ExecCredential"),
        ("{}", "apiVersion ''"),
        (_info({}, "client.authentication.k8s.io/v1alpha1"), "v1alpha1"),
        (_info({}, "v1"), "write client.authentication.k8s.io/v1"),
        (_info({}, 1), "is no ExecCredential"),
        (json.dumps({"apiVersion": _V1}), "provideClusterInfo: true"),
        (json.dumps({"apiVersion": _V1, "spec": None}), "provideClusterInfo: true"),
        (json.dumps({"apiVersion": _V1, "spec": "x"}), "is no ExecCredential"),
        (_info(None), "provideClusterInfo: true"),
        (_info({}), "has no spec.cluster.config.clusterName"),
        (_info({"config": None}), "has no spec.cluster.config.clusterName"),
        (_info({"config": {}}), "has no spec.cluster.config.clusterName"),
        (_info({"config": {"clusterName": ""}}), "has no spec.cluster.config.clusterName"),
        (_info({"config": {"clusterName": 1}}), "$.spec.cluster.config.clusterName"),
        (_info({"config": "c1"}), "$.spec.cluster.config"),
        (_info({"config": {"clusterName": "../c1"}}), "'../c1' is no name of a managed cluster"),
        (_info({"config": {"clusterName": "c1/../x"}}), "is no name"),
        (_info({"config": {"clusterName": "c1%2fx"}}), "is no name"),
        (_info({"config": {"clusterName": "c1\n"}}), "is no name"),
        (_info({"config": {"clusterName": "C1"}}), "is no name"),
        (_info({"config": {"clusterName": "c" * 64}}), "is no name"),
    ],
)
def test_what_cannot_be_answered_is_told_in_one_line(text: str, says: str) -> None:
    with pytest.raises(Unanswerable) as caught:
        requested(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_secret_is_named_after_cluster_and_account() -> None:
    assert secret_name("c1", "argo.cd") == "c1-argo.cd"


@pytest.mark.parametrize("account", ["..", "../x", "a/b", "A", "a?b", "a\n", "-a", "", "a" * 251])
def test_an_account_that_cannot_be_part_of_a_name_is_refused(account: str) -> None:
    with pytest.raises(Unanswerable, match="--managed-serviceaccount"):
        secret_name("c1", account)


@pytest.mark.parametrize("name", ["..", "a/b", "A", "", "a b"])
def test_a_namespace_that_cannot_be_one_is_refused(name: str) -> None:
    assert namespace("a-1") == "a-1"
    with pytest.raises(Unanswerable, match="NAMESPACE"):
        namespace(name)


def _secret(annotations: dict[str, str] | None = None, **data: str) -> bytes:
    encoded = {key: b64encode(value.encode()).decode() for key, value in data.items()}
    return json.dumps({"metadata": {"annotations": annotations}, "data": encoded}).encode()


def _owned(**owner: Any) -> bytes:
    """As a copy is, but for what is given."""
    profile = {"apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ClusterProfile", "controller": True}
    references = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x"}, {**profile, "name": "eu", **owner}]
    return json.dumps({"metadata": {"ownerReferences": references}, "data": {"token": "dG9rZW4="}}).encode()


@pytest.mark.parametrize("version", ["v1alpha1", "v1"])
def test_of_two_clusters_whose_names_lead_to_one_secret_the_other_one_is_refused(version: str) -> None:
    """Cluster eu with prod-argocd and cluster eu-prod with argocd."""
    api_version = f"multicluster.x-k8s.io/{version}"
    assert secret_name("eu", "prod-argocd") == secret_name("eu-prod", "argocd")
    with pytest.raises(Unanswerable, match=r"copy for cluster 'eu-prod', not for 'eu': .*rename") as caught:
        answer(_ASKED, _owned(name="eu-prod", apiVersion=api_version))
    assert "dG9rZW4=" not in str(caught.value)
    assert json.loads(answer(Request(_V1, "eu-prod"), _owned(name="eu-prod")))["status"] == {"token": "token"}


@pytest.mark.parametrize(
    "owner",
    [
        {},
        {"name": "eu-prod", "controller": False},
        {"name": "eu-prod", "kind": "Deployment"},
        {"name": "eu-prod", "apiVersion": "multicluster.x-k8s.io.example/v1"},
        {"name": "eu-prod", "apiVersion": "v1"},
    ],
)
def test_a_secret_that_no_profile_of_another_cluster_controls_is_taken(owner: dict[str, Any]) -> None:
    assert json.loads(answer(_ASKED, _owned(**owner)))["status"] == {"token": "token"}


def _token(**claims: Any) -> str:
    payload = urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJSUzI1NiJ9.{payload}.c2ln"


def test_the_answer_is_one_line_of_fixed_form() -> None:
    token = _token(exp=1_800_000_000)
    assert answer(_ASKED, _secret(token=token)) == (
        f'{{"apiVersion":"{_V1}","kind":"ExecCredential",'
        f'"status":{{"token":"{token}","expirationTimestamp":"2027-01-15T08:00:00Z"}}}}'
    )


_EARLIER = {ANNOTATION_EXPIRATION: "2026-12-31T00:00:00+01:00"}


@pytest.mark.parametrize(
    ("token", "annotations", "expires"),
    [
        (_token(exp=1_800_000_000), _EARLIER, "2027-01-15T08:00:00Z"),
        (_token(sub="x"), _EARLIER, "2026-12-30T23:00:00Z"),
        (_token(exp="soon"), _EARLIER, "2026-12-30T23:00:00Z"),
        (_token(exp=10**18), _EARLIER, "2026-12-30T23:00:00Z"),
        ("opaque", _EARLIER, "2026-12-30T23:00:00Z"),
        ("opaque", {ANNOTATION_EXPIRATION: "soon"}, None),
        ("opaque", {}, None),
        ("opaque", None, None),
    ],
)
def test_the_expiry_is_the_tokens_own_else_the_secrets_else_none(
    token: str, annotations: dict[str, str] | None, expires: str | None
) -> None:
    status = json.loads(answer(_ASKED, _secret(annotations, token=token)))["status"]
    assert status == {"token": token} | ({"expirationTimestamp": expires} if expires else {})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>", "no Secret"),
        (b"\xff", "no Secret"),
        (b"{}", "no Secret"),
        (b'{"metadata":{}}', "it has no token"),
        (b'{"metadata":{},"data":{"ca.crt":"YQ=="}}', "it has no token"),
        (b'{"metadata":{},"data":{"token":""}}', "it has no token"),
        (f'{{"metadata":{{}},"data":{{"token":"{_SECRET}"}}}}'.encode(), "no bearer token"),
        (_secret(token=f"{_SECRET}\nX-Header: y"), "no bearer token"),
        (_secret(token=f"{_SECRET}\n"), "no bearer token"),
        (b'{"metadata":{},"data":{"token":"/////w=="}}', "no bearer token"),
    ],
)
def test_a_secret_without_a_usable_token_is_told_and_never_shown(body: bytes, says: str) -> None:
    with pytest.raises(Unanswerable) as caught:
        answer(_ASKED, body)
    assert says in str(caught.value)
    assert _SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
