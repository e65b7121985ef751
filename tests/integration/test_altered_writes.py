"""Admission that alters what the agent writes, on real API servers: what is reported is what is stored, and nothing is written in a loop.

All identities are created together, so that one span of quiet shows of all of them that nothing more is written.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hack.addon import Addon
from hack.kubectl import Kubectl
from hack.processes import wait_until
from msa.api import names
from tests.integration.audit import Audit
from tests.integration.conftest import InstallAddon
from tests.support.identities import (
    PATIENCE,
    condition,
    create,
    events,
    identity,
    patch,
    secret,
    token,
    wait_ready,
)
from tests.support.mutating import Alteration, added, altering, without_our_label

_OWNER = '[{"apiVersion": "v1", "kind": "ConfigMap", "name": "kube-root-ca.crt", "uid": "UID"}]'
_GARBAGE = "Z2FyYmFnZQ=="
_ON_HUB = (
    Alteration("labelled", "secrets", added("/metadata/labels/team", '"blue"')),
    Alteration("annotated", "secrets", added("/metadata/annotations/team", '"blue"')),
    Alteration("shared", "secrets", added("/metadata/ownerReferences/-", _OWNER.strip("[]"))),
    Alteration(
        "worded",
        f"{names.PLURAL}/status",
        added("/status/conditions/0/message", '"as we say it here"'),
        names.GROUP,
        names.STORAGE_VERSION,
    ),
    Alteration("frozen", "secrets", added("/immutable", "true")),
    Alteration("unlabelled", "secrets", without_our_label()),
    Alteration("garbled", "secrets", added("/data/token", f'"{_GARBAGE}"')),
)
_ON_MANAGED = (
    Alteration("shortened", "serviceaccounts/token", added("/spec/expirationSeconds", "3600")),
    Alteration("unmarked", "serviceaccounts", without_our_label()),
    Alteration("claimed", "serviceaccounts", added("/metadata/labels/app.kubernetes.io~1managed-by", '"us"')),
    Alteration("owned", "serviceaccounts", added("/metadata/ownerReferences", _OWNER)),
)
_FIRST = [
    "create serviceaccounts",
    "create serviceaccounts/token",
    "create secrets",
    "patch managedserviceaccounts/status",
]
_AGAIN = ["create serviceaccounts/token", "patch secrets", "patch managedserviceaccounts/status"]
_MOST = 8
"""Requests for an identity that is altered at once, whatever is altered."""

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def altered(install_shared: InstallAddon, audit_logs: Audit) -> Iterator[tuple[Addon, Audit]]:
    """An agent among such policies, with all identities at rest."""
    addon = install_shared("altered")
    audit = audit_logs.from_now()
    with (
        altering(
            addon.hub,
            addon.cluster_name,
            *_with_owner(addon.hub, addon.cluster_name, _ON_HUB),
            served=lambda: (
                _stored(addon.hub, addon.cluster_name, "Secret", "garbled")["data"]["token"] == _GARBAGE
            ),
        ),
        altering(
            addon.managed,
            addon.install_namespace,
            *_with_owner(addon.managed, addon.install_namespace, _ON_MANAGED),
            served=lambda: (
                "ownerReferences"
                in _stored(addon.managed, addon.install_namespace, "ServiceAccount", "owned")["metadata"]
            ),
        ),
    ):
        addon.start()
        for one in (*_ON_HUB, *_ON_MANAGED):
            create(addon, one.name)
        for one in (*_ON_HUB, *_ON_MANAGED):
            assert wait_until(lambda: "status" in condition(addon, one.name), PATIENCE, 0.1)  # noqa: B023 - called at once
        assert not wait_until(lambda: len(audit.work(addon)) > _MOST * len(_ON_HUB + _ON_MANAGED), 5, 0.5)
        yield addon, audit
        addon.stop()


def _with_owner(
    cluster: Kubectl, namespace: str, alterations: tuple[Alteration, ...]
) -> Iterator[Alteration]:
    """With the UID of an object that is there, else garbage collection would take the reference away again."""
    ask = ("get", "configmap", "kube-root-ca.crt", "-n", namespace, "-o", "jsonpath={.metadata.uid}")
    assert wait_until(lambda: cluster.kubectl(*ask, check=False) != "", PATIENCE)
    uid = cluster.kubectl(*ask)
    for one in alterations:
        yield Alteration(one.name, one.resource, one.patch.replace("UID", uid), one.group, one.version)


def _stored(cluster: Kubectl, namespace: str, kind: str, name: str) -> dict[str, Any]:
    """What would be stored of an object that is created."""
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}
    answer = cluster.kubectl(
        *("create", "--dry-run=server", "-o", "json", "-f", "-"),
        stdin=json.dumps(body | ({"data": {"token": ""}} if kind == "Secret" else {})),
    )
    found: dict[str, Any] = json.loads(answer)
    return found


def _asked(altered: tuple[Addon, Audit], name: str) -> list[str]:
    addon, audit = altered
    return [request.what for request in audit.work(addon, name)]


def _reasons(addon: Addon, name: str) -> set[str]:
    return {reason for _, reason, _ in events(addon, name)}


@pytest.mark.parametrize("name", ["labelled", "annotated", "shared", "worded", "frozen"])
def test_what_is_added_without_harm_is_no_trouble_and_stays(altered: tuple[Addon, Audit], name: str) -> None:
    addon, _ = altered
    assert condition(addon, name)["status"] == "True"
    assert _asked(altered, name) == _FIRST
    assert _reasons(addon, name) == {"TokenIssued"}
    metadata = (secret(addon, name) or {})["metadata"]
    marks = {
        "labelled": "team" in metadata["labels"],
        "annotated": "team" in metadata["annotations"],
        "shared": len(metadata["ownerReferences"]) == 2,
    }
    assert marks.get(name, True)


def test_a_secret_whose_token_is_altered_is_reported_as_it_is_stored(altered: tuple[Addon, Audit]) -> None:
    addon, audit = altered
    assert token(addon, "garbled") == "garbage"
    assert condition(addon, "garbled")["reason"] == "SecretAltered"
    assert "expirationTimestamp" not in (identity(addon, "garbled") or {})["status"]
    assert _asked(altered, "garbled") == _FIRST
    since = audit.from_now()
    patch(addon, names.PLURAL, "garbled", {"spec": {"rotation": {"validity": "1h"}}})
    assert wait_until(lambda: len(since.work(addon, "garbled")) >= len(_AGAIN), PATIENCE)
    assert [request.what for request in since.work(addon, "garbled")] == _AGAIN
    assert "Repaired" not in _reasons(addon, "garbled"), "nothing was"


def test_a_secret_whose_label_is_removed_is_told_and_not_written_in_a_loop(
    altered: tuple[Addon, Audit],
) -> None:
    """The watch does not show it, so it is read."""
    addon, _ = altered
    assert condition(addon, "unlabelled")["reason"] == "SecretAltered"
    assert _asked(altered, "unlabelled")[:4] == _FIRST
    assert len(_asked(altered, "unlabelled")) <= _MOST


def test_a_secret_that_is_made_immutable_is_deleted_and_created_for_the_next_token(
    altered: tuple[Addon, Audit],
) -> None:
    addon, audit = altered
    before, since = token(addon, "frozen"), audit.from_now()
    patch(addon, names.PLURAL, "frozen", {"spec": {"rotation": {"validity": "1h"}}})
    wait_ready(addon, "frozen")
    assert token(addon, "frozen") not in ("", before)
    asked = [request for request in since.work(addon) if request.resource == "secrets"]
    assert [request.what for request in asked if request.name.startswith("frozen")] == [
        "create secrets",  # a dry run, under a name of its own
        "delete secrets",
        "create secrets",
    ]


def test_a_life_that_is_shortened_is_reported_as_granted(altered: tuple[Addon, Audit]) -> None:
    addon, _ = altered
    assert condition(addon, "shortened")["status"] == "True"
    assert (identity(addon, "shortened") or {})["status"]["grantedValidity"] == "1h0m0s"
    assert _asked(altered, "shortened") == _FIRST
    assert _reasons(addon, "shortened") == {"TokenIssued", "LifetimeShortened"}


@pytest.mark.parametrize("name", ["claimed", "owned"])
def test_an_account_that_is_given_to_another_program_gets_no_token(
    altered: tuple[Addon, Audit], name: str
) -> None:
    addon, _ = altered
    assert condition(addon, name)["reason"] == "ServiceAccountConflict"
    assert _asked(altered, name) == ["create serviceaccounts", "patch managedserviceaccounts/status"]


def test_an_account_whose_label_is_removed_works_and_is_not_told_as_repaired(
    altered: tuple[Addon, Audit],
) -> None:
    addon, _ = altered
    assert condition(addon, "unmarked")["status"] == "True"
    assert len(_asked(altered, "unmarked")) <= _MOST
    assert _reasons(addon, "unmarked") == {"TokenIssued"}
