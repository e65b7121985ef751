"""What an operator is told: for whatever happens an Event on the object, and a metric that moves."""

import json
from base64 import b64encode
from collections.abc import Callable

import pytest

from hack.addon import Addon
from hack.processes import wait_until
from msa.api import names
from tests.support.identities import PATIENCE, create, events, patch, sample, wait_ready, wait_refused

Step = Callable[[Addon, str], object]


def _wait_told(addon: Addon, name: str, type_: str, reason: str, says: str) -> None:
    def told() -> bool:
        return any(
            event[:2] == (type_, reason) and event[2].startswith(says) for event in events(addon, name)
        )

    assert wait_until(told, PATIENCE, 0.2), events(addon, name)


def test_an_issued_token_is_told_with_its_cause(addon: Addon) -> None:
    metric = {"name": "msa_rotations_total", "result": "success"}
    before = {reason: sample(addon, **metric, reason=reason) for reason in ("SecretMissing", "SpecChanged")}
    create(addon, "issued", validity="1h")
    wait_ready(addon, "issued")
    _wait_told(addon, "issued", "Normal", "TokenIssued", "SecretMissing:")
    patch(addon, "msa", "issued", {"spec": {"rotation": {"validity": "2h"}}})
    _wait_told(addon, "issued", "Normal", "TokenIssued", "SpecChanged:")
    for reason, count in before.items():
        assert sample(addon, **metric, reason=reason) == count + 1


def _unlabel_account(addon: Addon, name: str) -> None:
    namespaced = ("serviceaccount", "-n", addon.install_namespace, name)
    addon.managed.kubectl("label", *namespaced, f"{names.LABEL_MANAGED}-")


def _unlabel_secret(addon: Addon, name: str) -> None:
    addon.hub.kubectl("label", "-n", addon.cluster_name, "secret", name, f"{names.LABEL_MANAGED}-")


def _delete_secret(addon: Addon, name: str) -> None:
    addon.hub.kubectl("delete", "secret", "-n", addon.cluster_name, name)


def _altered(body: object) -> Step:
    return lambda addon, name: patch(addon, "secret", name, body)


def _text(content: str) -> str:
    return b64encode(content.encode()).decode()


@pytest.mark.parametrize(
    ("name", "alter", "kind"),
    [
        ("no-secret", _delete_secret, "SecretMissing"),
        ("no-token", _altered({"data": {"token": None}}), "TokenMissing"),
        ("no-jwt", _altered({"data": {"token": _text("garbage")}}), "TokenMalformed"),
        ("other-ca", _altered({"data": {"ca.crt": _text("another")}}), "CAChanged"),
        ("more-data", _altered({"data": {"more": _text("data")}}), "ForeignData"),
        ("no-owner", _altered({"metadata": {"ownerReferences": None}}), "MarksLost"),
        ("no-label-of-secret", _unlabel_secret, "MarksLost"),
        ("no-label", _unlabel_account, "ServiceAccountRelabelled"),
    ],
)
def test_a_repair_is_told_with_what_was_wrong(addon: Addon, name: str, alter: Step, kind: str) -> None:
    create(addon, name)
    wait_ready(addon, name)
    before = sample(addon, "msa_repairs_total", kind=kind)
    alter(addon, name)
    _wait_told(addon, name, "Warning", "Repaired", f"{kind}:")
    assert sample(addon, "msa_repairs_total", kind=kind) == before + 1


def _foreign_account(addon: Addon, name: str) -> None:
    addon.managed.kubectl("create", "serviceaccount", "-n", addon.install_namespace, name)


def _foreign_secret(addon: Addon, name: str) -> None:
    addon.hub.kubectl("create", "secret", "generic", "-n", addon.cluster_name, name)


@pytest.mark.parametrize(
    ("name", "prepare", "reason"),
    [
        ("their-account", _foreign_account, "ServiceAccountConflict"),
        ("their-secret", _foreign_secret, "SecretConflict"),
        (names.AGENT_SERVICE_ACCOUNT, lambda _addon, _name: None, "ReservedName"),
    ],
)
def test_a_refusal_is_told_with_its_reason(addon: Addon, name: str, prepare: Step, reason: str) -> None:
    before = sample(addon, "msa_refusals_total", reason=reason)
    prepare(addon, name)
    create(addon, name)
    message = wait_refused(addon, name, reason)
    _wait_told(addon, name, "Warning", reason, message)
    assert sample(addon, "msa_refusals_total", reason=reason) > before
    assert sample(addon, "msa_rotations_total", reason=reason, result="failure") == 0


def test_a_failure_is_told_with_its_reason(addon: Addon) -> None:
    metric = {"name": "msa_rotations_total", "reason": "ForbiddenOnManagedCluster", "result": "failure"}
    before = sample(addon, **metric)
    _allow_tokens(addon, "get")
    create(addon, "failed")
    message = wait_refused(addon, "failed", "ForbiddenOnManagedCluster")
    _wait_told(addon, "failed", "Warning", "ForbiddenOnManagedCluster", message)
    assert sample(addon, **metric) > before
    _allow_tokens(addon, "create")
    wait_ready(addon, "failed")


def _allow_tokens(addon: Addon, verb: str) -> None:
    role = (
        "role",
        "-n",
        addon.install_namespace,
        "open-cluster-management:managed-serviceaccount:addon-agent",
    )
    change = [{"op": "replace", "path": "/rules/1/verbs", "value": [verb]}]
    addon.managed.kubectl("patch", *role, "--type=json", "-p", json.dumps(change))
