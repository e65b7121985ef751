"""What users are told when something stands in the agent's way, and that it goes on once that is gone."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from hack.addon import Addon
from hack.processes import wait_until
from msa.agent.writes import TokenReviews
from msa.api.core import Secret, ServiceAccount
from msa.api.token import Token
from msa.kube import credentials
from msa.kube.resources import Resource, Selection
from msa.kube.transport import Transport
from msa.runtime.metrics import Metrics
from tests.integration.audit import Audit
from tests.integration.conftest import InstallAddon, StartAddon
from tests.support import identities
from tests.support.identities import (
    PATIENCE,
    condition,
    create,
    patch,
    token,
    wait_ready,
    wait_refused,
    wait_repaired,
)


def _allow(addon: Addon, *, hub: bool, verbs: list[str]) -> None:
    """Changes what the agent may do with Secrets on the hub, or with ServiceAccounts on the managed cluster."""
    cluster, namespace = (addon.hub, addon.cluster_name) if hub else (addon.managed, addon.install_namespace)
    role = (
        "managed-serviceaccount-addon-agent"
        if hub
        else "open-cluster-management:managed-serviceaccount:addon-agent"
    )
    rule = 2 if hub else 0
    patch = json.dumps([{"op": "replace", "path": f"/rules/{rule}/verbs", "value": verbs}])
    cluster.kubectl("patch", "role", "-n", namespace, role, "--type=json", "-p", patch)


def test_a_permission_missing_on_the_hub_is_named_and_waited_for(start_addon: StartAddon) -> None:
    addon = start_addon("hubforbids")
    _allow(addon, hub=True, verbs=["get", "list", "watch"])
    create(addon, "one")
    message = wait_refused(addon, "one", "ForbiddenOnHub")
    assert "check the Role" in message
    assert condition(addon, "one", "SecretCreated")["status"] == "False"
    _allow(addon, hub=True, verbs=["get", "list", "watch", "create", "patch", "delete"])
    wait_ready(addon, "one")


def test_a_permission_missing_on_the_managed_cluster_is_named_and_waited_for(start_addon: StartAddon) -> None:
    addon = start_addon("forbidden")
    _allow(addon, hub=False, verbs=["get", "list", "watch"])
    create(addon, "one")
    message = wait_refused(addon, "one", "ForbiddenOnManagedCluster")
    assert "install namespace" in message
    _allow(addon, hub=False, verbs=["get", "list", "watch", "create", "patch", "delete"])
    wait_ready(addon, "one")


def test_an_unreachable_managed_cluster_is_told_and_what_there_is_stays_ready(
    start_addon: StartAddon,
) -> None:
    addon = start_addon("unreachable")
    create(addon, "old")
    wait_ready(addon, "old")
    addon.managed.stop_apiserver()
    try:
        create(addon, "new")
        wait_refused(addon, "new", "ManagedClusterUnreachable")
        assert condition(addon, "old")["status"] == "True"
    finally:
        addon.managed.start_apiserver()
    assert wait_until(lambda: condition(addon, "new").get("status") == "True", 60, 0.2)


@pytest.mark.parametrize(
    ("answer", "reason"), [("Invalid", "TokenRequestRefused"), ("Forbidden", "ForbiddenOnManagedCluster")]
)
def test_an_admission_policy_that_denies_tokens_is_told_in_its_own_words(
    start_addon: StartAddon, answer: str, reason: str
) -> None:
    addon = start_addon(f"denied-{answer.lower()}")
    create(addon, "old")
    wait_ready(addon, "old")
    before = token(addon, "old")
    with _no_tokens(addon, answer):
        create(addon, "new")
        assert "no tokens on Sundays" in wait_refused(addon, "new", reason)
        patch(addon, "msa", "old", {"spec": {"rotation": {"validity": "1h"}}})
        assert "no tokens on Sundays" in wait_refused(addon, "old", reason)
        assert token(addon, "new") == ""
        assert token(addon, "old") == before, "the old one stays in use"
    for name in ("new", "old"):
        assert wait_until(lambda name=name: condition(addon, name).get("status") == "True", 60, 0.2)  # type: ignore[misc]  # mypy cannot infer a default's type


@contextmanager
def _no_tokens(addon: Addon, answer: str) -> Iterator[None]:
    """An admission policy in the install namespace that answers every token request with this reason."""
    name, api = addon.cluster_name, "admissionregistration.k8s.io/v1"
    policy = {
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": addon.install_namespace}},
            "resourceRules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["serviceaccounts/token"],
                }
            ],
        },
        "validations": [{"expression": "false", "message": "no tokens on Sundays", "reason": answer}],
    }
    binding = {"policyName": name, "validationActions": ["Deny"]}
    for kind, spec in (("ValidatingAdmissionPolicy", policy), ("ValidatingAdmissionPolicyBinding", binding)):
        made = {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}
        addon.managed.kubectl("create", "-f", "-", stdin=json.dumps(made))
    ask = ("create", "token", "-n", addon.install_namespace, "default")
    assert wait_until(lambda: "Sundays" in addon.managed.kubectl(*ask, check=False), PATIENCE, 0.2)
    try:
        yield
    finally:
        addon.managed.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)


def test_a_cluster_that_keeps_its_key_set_to_itself_is_told_once_and_identities_work(
    install_addon: InstallAddon, audit: Audit
) -> None:
    addon = install_addon("keyless")
    role = ("clusterrole", "open-cluster-management:managed-serviceaccount:addon-agent")
    withheld = [{"op": "remove", "path": "/rules/1"}]
    addon.managed.kubectl("patch", *role, "--type=json", "-p", json.dumps(withheld))
    try:
        addon.start()
        for name in ("one", "two", "three"):
            create(addon, name)
        for name in ("one", "two", "three"):
            wait_ready(addon, name)
        wait_repaired(
            lambda: patch(addon, "secret", "one", {"data": {"token": "Z2FyYmFnZQ=="}}),
            lambda: len(token(addon, "one")) > len("garbage"),
        )
        # Before the rule is given back: then the next asking is answered.
        asked = _asked_for_keys(audit, addon)
    finally:
        addon.install()
    assert set(asked) == {403}, "for two minutes a server may just have been started"
    assert addon.process.log.read_text().count('"key_set_unavailable"') == 1
    issued = [request for request in audit.work(addon) if request.token]
    assert len(issued) == 4


def _asked_for_keys(audit: Audit, addon: Addon) -> list[int]:
    """The answers."""
    return [request.code for request in audit.requests(addon) if request.resource == "/openid/v1/jwks"]


def test_an_object_stored_with_an_invalid_spec_is_told_so_and_keeps_its_token(
    start_addon: StartAddon,
) -> None:
    """The CRD refuses such a spec today; one stored before that rule must be handled, and stay updatable."""
    addon = start_addon("invalid")
    create(addon, "kept", validity="1h")
    wait_ready(addon, "kept")
    before = token(addon, "kept")
    crd = "managedserviceaccounts.authentication.open-cluster-management.io"
    path = "/spec/versions/1/schema/openAPIV3Schema/properties/spec/properties/rotation/properties/validity/x-kubernetes-validations"
    rules = json.loads(addon.hub.kubectl("get", "crd", crd, "-o", "json"))["spec"]["versions"][1]["schema"][
        "openAPIV3Schema"
    ]
    rules = rules["properties"]["spec"]["properties"]["rotation"]["properties"]["validity"][
        "x-kubernetes-validations"
    ]
    addon.hub.kubectl("patch", "crd", crd, "--type=json", "-p", json.dumps([{"op": "remove", "path": path}]))
    shorter = json.dumps({"spec": {"rotation": {"validity": "5m"}}})

    def stored() -> bool:
        addon.hub.kubectl(
            "patch", "msa", "-n", addon.cluster_name, "kept", "--type=merge", "-p", shorter, check=False
        )
        return bool((identities.identity(addon, "kept") or {})["spec"]["rotation"]["validity"] == "5m")

    assert wait_until(stored, PATIENCE, 0.3)
    addon.hub.kubectl(
        "patch", "crd", crd, "--type=json", "-p", json.dumps([{"op": "add", "path": path, "value": rules}])
    )
    assert "spec.rotation.validity" in wait_refused(addon, "kept", "InvalidSpec")
    assert token(addon, "kept") == before
    addon.hub.kubectl("label", "msa", "-n", addon.cluster_name, "kept", "still=updatable")


def test_metrics_can_be_read_by_a_scraper_and_follow_the_objects(start_addon: StartAddon) -> None:
    addon = start_addon("measured")
    create(addon, "one")
    wait_ready(addon, "one")

    def names_of(family: str) -> set[str]:
        families = {found.name: found for found in text_string_to_metric_families(addon.metrics())}
        return {sample.labels["name"] for sample in families[family].samples}

    assert names_of("msa_token_expiration_timestamp_seconds") == {"one"}
    addon.hub.kubectl("delete", "msa", "-n", addon.cluster_name, "one")
    assert wait_until(lambda: names_of("msa_token_expiration_timestamp_seconds") == set(), PATIENCE, 0.2), (
        "no stale series"
    )


def test_a_token_review_tells_good_tokens_from_others(start_addon: StartAddon) -> None:
    addon = start_addon("reviewed")
    create(addon, "one")
    wait_ready(addon, "one")

    async def review(kubeconfig: Path, hub_kubeconfig: Path) -> tuple[bool, bool, bool]:
        metrics = Metrics(CollectorRegistry())
        hub = Transport(partial(credentials.from_kubeconfig, hub_kubeconfig), metrics)
        managed = Transport(partial(credentials.from_kubeconfig, kubeconfig), metrics)
        await hub.open()
        await managed.open()
        reviews = TokenReviews(
            Resource(hub, Selection("", "v1", "secrets", addon.cluster_name), Secret),
            Resource(managed, Selection("authentication.k8s.io", "v1", "tokenreviews"), ServiceAccount),
        )
        held = await reviews.read_token("one")
        assert held is not None
        audiences = ("https://kubernetes.default.svc",)
        try:
            return (
                await reviews.review(held.token, audiences),
                await reviews.review(held.token, ("other",)),
                await reviews.review(Token(held.token.reveal() + "x"), audiences),
            )
        finally:
            await hub.close()
            await managed.close()

    assert asyncio.run(review(addon.managed.folder / "msa-agent.kubeconfig", addon.hub_kubeconfig)) == (
        True,
        False,
        False,
    )
