"""What an agent's credential is good for on the hub: the certificate that it got, the rights that the manager gave, the chart's policy.

In its own cluster's namespace (`a`) it may
    get, list, watch                    ManagedServiceAccounts, and patch their status
    get, list, watch                    ALL Secrets, foreign ones too: RBAC knows no labels, and admission is not asked for reads
    create, patch, delete               Secrets with our label (the policy), others never
    create, patch                       Events
and everywhere what anybody may who is logged in: review its own access, read discovery and versions. In other namespaces, nothing.
"""

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from hack.ocm.fleet import Fleet
from hack.processes import wait_until
from msa.api import names
from tests.support.certificate_requests import Certificates, honest
from tests.support.chart_hub import apply, body
from tests.support.manager import Membership, managing
from tests.support.raw_client import RawClient

_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
_OURS = {names.LABEL_MANAGED: "true"}
_READS = ("get", "list", "watch")

pytestmark = pytest.mark.timeout(300)


@frozen
class _Grounds:
    """Two clusters.

    Attributes:
        agent: that of `a`, before the API server.
        anybody: who is logged in, and has been given nothing.
    """

    fleet: Fleet
    agent: RawClient
    anybody: RawClient
    a: str = "iso-a"
    b: str = "iso-b"


@pytest.fixture(scope="module")
def grounds(ocm: Fleet, home: Path) -> Iterator[_Grounds]:
    clusters = [Membership(ocm, name) for name in ("iso-a", "iso-b")]
    with managing(ocm.hub, "isolation"):
        for cluster in clusters:
            cluster.accept()
        for cluster in clusters:
            cluster.wait_installed()
        certificates = Certificates(ocm.hub)
        name = certificates.ask(certificates.registration_agent("iso-a"), "iso-a", honest("iso-a"))
        kubeconfig = certificates.kubeconfig(name, home / "iso-a.kubeconfig")
        anybody = ocm.hub.kubeconfig_for("anybody")
        grounds = _Grounds(ocm, RawClient.of(kubeconfig, home), RawClient.of(anybody, home))
        for namespace in (grounds.a, grounds.b):
            apply(ocm.hub, *(item for _, item in _objects(namespace)))
        assert wait_until(lambda: "an agent" in _create(grounds, _secret("probe")), 10), "the policy holds"
        yield grounds


def _secret(name: str, namespace: str = "iso-a", **changes: Any) -> dict[str, Any]:
    labels = changes.pop("labels", {})
    made = body("v1", "Secret", name, namespace, type="Opaque", data={"token": "YQ==", "ca.crt": "YQ=="})
    made["metadata"] |= {"labels": labels}
    return made | changes


def _create(grounds: _Grounds, secret: dict[str, Any]) -> str:
    return grounds.agent.ask("create", _path(grounds.a, "secrets"), secret).text


def _path(namespace: str, resource: str, group: str = "") -> str:
    return f"/{f'apis/{group}' if group else 'api/v1'}/namespaces/{namespace}/{resource}"


def _objects(namespace: str) -> list[tuple[str, dict[str, Any]]]:
    """One of each kind that an agent of another cluster must not touch, with the path of its collection."""
    ours, work = f"{names.GROUP}/v1beta1", "work.open-cluster-management.io/v1"
    foreign, marked = _secret("foreign", namespace), _secret("ours", namespace, labels=_OURS)
    return [
        (_path(namespace, "secrets"), foreign),
        (_path(namespace, "secrets"), marked),
        (_path(namespace, names.PLURAL, ours), body(ours, names.KIND, "there", namespace, spec={})),
        (
            _path(namespace, "leases", "coordination.k8s.io/v1"),
            body("coordination.k8s.io/v1", "Lease", names.ADDON, namespace, spec={}),
        ),
        (
            _path(namespace, "manifestworks", work),
            body(work, "ManifestWork", "there", namespace, spec={"workload": {"manifests": []}}),
        ),
    ]


_KINDS = [f"{item['kind']} {item['metadata']['name']}" for _, item in _objects("x")]


def _renamed(item: dict[str, Any], verb: str) -> dict[str, Any]:
    """A new object for `create`, so that a refusal is not for the name's sake."""
    if verb != "create":
        return item
    return item | {"metadata": item["metadata"] | {"name": "new"}}


@pytest.mark.parametrize("verb", _VERBS)
@pytest.mark.parametrize("kind", range(len(_KINDS)), ids=_KINDS)
def test_nothing_works_in_another_clusters_namespace(grounds: _Grounds, kind: int, verb: str) -> None:
    collection, item = _objects(grounds.b)[kind]
    answer = grounds.agent.ask(verb, collection, _renamed(item, verb))
    assert answer.code == 403, answer
    assert "cannot" in answer.text


@pytest.mark.parametrize("verb", _READS)
def test_what_is_refused_by_namespace_is_not_to_be_had_in_all_namespaces_either(
    grounds: _Grounds, verb: str
) -> None:
    for path in ("/api/v1/secrets", f"/apis/{names.GROUP}/v1beta1/{names.PLURAL}"):
        answer = grounds.agent.send("GET", f"{path}?watch=1&timeoutSeconds=1" if verb == "watch" else path)
        assert answer.code == 403, answer


_OF_REQUESTS = [
    *((verb, "") for verb in _VERBS),
    *((verb, part) for verb in ("get", "update", "patch") for part in ("approval", "status")),
]


@pytest.mark.parametrize(("verb", "subresource"), _OF_REQUESTS)
def test_certificates_of_any_cluster_are_out_of_reach(grounds: _Grounds, verb: str, subresource: str) -> None:
    """Not even its own: its cluster's registration agent asks for it."""
    certificates = Certificates(grounds.fleet.hub)
    name = certificates.ask(certificates.registration_agent(grounds.b), grounds.b, honest(grounds.b))
    asked, collection = certificates.get(name), "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    answer = grounds.agent.ask(verb, collection, asked, subresource=subresource)
    assert answer.code == 403, answer


def test_to_see_a_b_and_to_be_anybody_there_is_the_same(grounds: _Grounds) -> None:
    """Nothing is left that the two tables above have not thought of: RBAC grants there what anybody has who is logged in."""
    assert _rules(grounds.agent, grounds.b) == _rules(grounds.anybody, grounds.b)


def test_in_its_own_namespace_it_may_do_what_is_listed_above_and_nothing_else(grounds: _Grounds) -> None:
    assert _rules(grounds.agent, grounds.a) - _rules(grounds.anybody, grounds.a) == {
        (f"{names.PLURAL}.{names.GROUP}", "get list watch"),
        (f"{names.PLURAL}.{names.GROUP}/status", "patch"),
        ("secrets", "create delete get list patch watch"),
        ("events", "create patch"),
    }


def _rules(who: RawClient, namespace: str) -> set[tuple[str, str]]:
    """Every resource with its verbs."""
    kind = "SelfSubjectRulesReview"
    review = body("authorization.k8s.io/v1", kind, "", spec={"namespace": namespace})
    answer = who.send("POST", f"/apis/authorization.k8s.io/v1/{kind.lower()}s", review)
    status = json.loads(answer.text)["status"]
    assert not status["incomplete"]
    return {
        (_full(resource, group), " ".join(sorted(rule["verbs"])))
        for rule in status["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def _full(resource: str, group: str) -> str:
    """As RBAC's own tools spell it: resource.group/subresource."""
    plain, slash, subresource = resource.partition("/")
    return f"{plain}{f'.{group}' if group else ''}{slash}{subresource}"


@pytest.mark.parametrize("verb", ["create", "update", "patch", "delete", "deletecollection"])
def test_secrets_of_others_in_its_own_namespace_are_safe(grounds: _Grounds, verb: str) -> None:
    """Even where they are made to look like ours by the very request."""
    before = _stored(grounds, "foreign")
    for labels in ({}, _OURS):
        secret = _secret("foreign", labels=labels, data={"token": b64encode(verb.encode()).decode()})
        secret = (
            secret if verb != "create" else _secret("new-foreign", type="kubernetes.io/tls", labels=labels)
        )
        answer = grounds.agent.ask(verb, _path(grounds.a, "secrets"), secret)
        assert answer.code in (403, 422), answer
    assert _stored(grounds, "foreign") == before


def test_a_secret_of_its_own_it_may_make_change_and_delete(grounds: _Grounds) -> None:
    """The counterpart: what is refused above is not refused for want of something else."""
    secret, collection = _secret("mine", labels=_OURS), _path(grounds.a, "secrets")
    assert [
        grounds.agent.ask(verb, collection, secret).code for verb in ("create", "get", "patch", "delete")
    ] == [201, 200, 200, 200]


def test_no_token_is_to_be_had_of_a_service_account(grounds: _Grounds) -> None:
    """Neither by asking for one, nor by a Secret that the hub would write one into."""
    request = body("authentication.k8s.io/v1", "TokenRequest", "default", spec={})
    path = _path(grounds.a, "serviceaccounts/default/token")
    assert grounds.agent.send("POST", path, request).code == 403
    secret = _secret("stolen", labels=_OURS, type="kubernetes.io/service-account-token", data={})
    secret["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "default"}
    assert "of type Opaque" in _create(grounds, secret)


def _stored(grounds: _Grounds, name: str) -> Any:
    return grounds.fleet.get("secret", name, grounds.a)
