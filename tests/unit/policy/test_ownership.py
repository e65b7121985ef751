import shlex
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from msa.api import names
from msa.api.core import ServiceAccount
from msa.api.managedserviceaccount import ServiceAccountRef, Status, TokenSecretRef
from msa.api.meta import FieldsEntry, ObjectMeta, OwnerReference
from msa.policy.ownership import (
    OWNERS,
    SHARED_ACCOUNTS,
    appliers,
    is_labelled,
    may_delete,
    owns_account,
    owns_secret,
    refused_account,
    refused_name,
    refused_secret,
)
from tests.support.builders import NAMESPACE, account, credential, identity, with_metadata

OURS = {names.LABEL_MANAGED: "true"}
COPY = OURS | {names.LABEL_SYNCED_FROM: "cluster1-one"}
MADE_FOR = names.ANNOTATION_OWNER_UID
CLAIMING_ALL = replace(
    identity(),
    status=Status(
        token_secret_ref=TokenSecretRef("one"),
        service_account_ref=ServiceAccountRef(NAMESPACE, "one", "sa-uid"),
    ),
)
"""An identity whose status, which a tenant may write, says that account and Secret are its own."""


def _account(labels: dict[str, str] | None, annotations: dict[str, str] | None = None) -> ServiceAccount:
    return ServiceAccount(replace(account().metadata, labels=labels, annotations=annotations))


def test_the_agents_own_service_account_is_no_name_for_an_identity() -> None:
    refusal = refused_name(identity("managed-serviceaccount"))
    assert refusal is not None
    assert refusal.reason == "ReservedName"
    assert "'managed-serviceaccount'" in refusal.message
    assert "choose another name" in refusal.message


@pytest.mark.parametrize("name", ["one", "default", "managed-serviceaccount-2", "managed-serviceaccoun"])
def test_any_other_name_may_be_had(name: str) -> None:
    assert refused_name(identity(name)) is None


@pytest.mark.parametrize(
    ("labels", "ours"),
    [
        (OURS, True),
        (OURS | {"team": "blue"}, True),
        (None, False),
        ({}, False),
        ({names.LABEL_MANAGED: "false"}, False),
        ({names.LABEL_MANAGED: "True"}, False),
        ({names.LABEL_MANAGED: ""}, False),
        ({"is-managed-serviceaccount": "true"}, False),
    ],
)
def test_our_label_counts_with_the_value_true_alone(labels: dict[str, str] | None, *, ours: bool) -> None:
    assert is_labelled(ObjectMeta(labels=labels)) is ours


@pytest.mark.parametrize(
    ("labels", "annotations", "ours"),
    [
        pytest.param(OURS, None, True, id="label"),
        pytest.param(None, {MADE_FOR: "msa-uid"}, True, id="label lost, made for this identity"),
        pytest.param(OURS, {MADE_FOR: "older"}, True, id="label, made for an earlier identity"),
        pytest.param(None, {MADE_FOR: "older"}, False, id="label lost, made for an earlier identity"),
        pytest.param({names.LABEL_MANAGED: "false"}, None, False, id="label set to false"),
        pytest.param(None, {MADE_FOR: ""}, False, id="empty annotation"),
        pytest.param({MADE_FOR: "msa-uid"}, None, False, id="annotation's name as a label"),
        pytest.param(None, {names.LABEL_MANAGED: "true"}, False, id="label's name as an annotation"),
        pytest.param(None, None, False, id="nothing"),
    ],
)
def test_a_service_account_is_ours_by_its_label_or_its_annotation(
    labels: dict[str, str] | None, annotations: dict[str, str] | None, *, ours: bool
) -> None:
    assert owns_account(CLAIMING_ALL, _account(labels, annotations)) is ours


@pytest.mark.parametrize(
    ("labels", "owners", "ours"),
    [
        pytest.param(OURS, ("msa-uid",), True, id="label and owner"),
        pytest.param(OURS, (), True, id="owner lost"),
        pytest.param(None, ("msa-uid",), True, id="label lost"),
        pytest.param(None, ("another", "msa-uid"), True, id="label lost, one of several owners"),
        pytest.param(None, ("older",), False, id="owned by an earlier identity"),
        pytest.param(None, ("msa-uid-2",), False, id="owner whose UID only begins alike"),
        pytest.param({names.LABEL_MANAGED: "false"}, (), False, id="label set to false"),
        pytest.param(COPY, (), False, id="copy for a ClusterProfile"),
        pytest.param(COPY, ("profile-uid",), False, id="copy that goes with its ClusterProfile"),
        pytest.param(COPY, ("msa-uid",), True, id="a copy's label on what is owned"),
        pytest.param(OURS | {names.LABEL_SYNCED_FROM: ""}, (), False, id="a copy's label without its value"),
        pytest.param(None, (), False, id="nothing"),
    ],
)
def test_a_secret_is_ours_by_its_label_or_its_owner(
    labels: dict[str, str] | None, owners: tuple[str, ...], *, ours: bool
) -> None:
    stored = with_metadata(credential(owners=owners), labels=labels)
    assert owns_secret(CLAIMING_ALL, stored) is ours


def test_an_identity_without_a_uid_owns_nothing_that_merely_lacks_our_annotation() -> None:
    nameless = replace(identity(), metadata=replace(identity().metadata, uid=""))
    assert not owns_account(nameless, ServiceAccount(ObjectMeta(name="one")))


def test_a_service_account_of_that_name_that_is_not_ours_is_refused_with_the_way_out() -> None:
    """The command that the message ends with names the account and gives it what makes it ours."""
    refusal = refused_account(_account(None))
    assert refusal.reason == "ServiceAccountConflict"
    assert f"ServiceAccount {NAMESPACE}/one on the managed cluster" in refusal.message
    command, label = refusal.message.partition("kubectl ")[2].rsplit(" ", 1)
    assert shlex.split(command) == ["label", "-n", "install", "serviceaccount", "one"]
    assert owns_account(identity(), _account(dict([label.split("=")])))


def test_nobody_is_advised_to_adopt_the_account_that_all_pods_share() -> None:
    for name in SHARED_ACCOUNTS:
        shared = ServiceAccount(replace(account(name).metadata, labels=None))
        assert "kubectl" not in refused_account(shared).message
        assert "Choose another name" in refused_account(shared).message


_LABELLED = '{"f:metadata":{"f:labels":{"f:app":{}}}}'


@pytest.mark.parametrize(
    ("manager", "operation", "fields", "applies"),
    [
        pytest.param("kubectl", "Apply", _LABELLED, True, id="kubectl apply --server-side"),
        pytest.param("kustomize-controller", "Apply", _LABELLED, True, id="Flux"),
        pytest.param("any", "Apply", '{"f:automountServiceAccountToken":{}}', True, id="a field of its own"),
        pytest.param("any", "Apply", '{"f:metadata":{"f:ownerReferences":{}}}', True, id="an owner"),
        pytest.param("any", "Apply", '{"f:metadata":{"f:annotations":{"f:x":{}}}}', True, id="an annotation"),
        pytest.param("any", "Apply", "[]", True, id="no tree"),
        pytest.param("any", "Apply", '{"f:a":' * 2000 + "{}" + "}" * 2000, True, id="deep"),
        pytest.param("kubectl-label", "Update", _LABELLED, False, id="kubectl label"),
        pytest.param("kubectl-edit", "Update", '{"f:secrets":{}}', False, id="kubectl edit"),
        pytest.param(names.FIELD_MANAGER, "Apply", _LABELLED, False, id="ourselves"),
        pytest.param("any", "Apply", "{}", False, id="nothing"),
        pytest.param(
            "openshift.io/image-registry-pull-secrets_service-account-controller",
            "Apply",
            '{"f:imagePullSecrets":{"k:{}":{}},"f:secrets":{},'
            '"f:metadata":{"f:annotations":{".":{},"f:openshift.io/internal-registry-pull-secret-ref":{}}}}',
            False,
            id="OpenShift's pull secrets",
        ),
    ],
)
def test_an_account_that_a_program_applies_server_side_is_that_programs_and_an_edit_leaves_it_ours(
    manager: str, operation: str, fields: str, *, applies: bool
) -> None:
    found = appliers([FieldsEntry(manager, operation, fields=Raw(fields.encode()))])
    assert found == ((manager,) if applies else ())
    stored = replace(account(), appliers=found)
    assert owns_account(identity(), stored) is not applies
    assert may_delete(stored) is not applies
    assert (f"applied by {manager}" in refused_account(stored).message) is applies


@pytest.mark.parametrize(
    ("marks", "claim"),
    [
        ({"owner_references": (OwnerReference("apps/v1", "Deployment", "x", "u"),)}, "Deployment x"),
        (
            {"owner_references": (OwnerReference("w/v1", "AppliedManifestWork", "x", "u"),)},
            "AppliedManifestWork x",
        ),
        ({"labels": OURS | {"app.kubernetes.io/managed-by": "Helm"}}, "app.kubernetes.io/managed-by"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "a"}}, "argocd.argoproj.io/tracking-id"),
    ],
)
def test_our_label_is_no_proof_against_another_owner_or_mark(marks: dict[str, Any], claim: str) -> None:
    """What is deployed later under the name of an identity's account is bound to rights that are not meant for the identity."""
    shared = ServiceAccount(replace(account().metadata, **marks))
    assert not owns_account(identity(), shared)
    assert not may_delete(shared)
    refusal = refused_account(shared)
    assert refusal.reason == "ServiceAccountConflict"
    assert claim in refusal.message
    assert "kubectl label" not in refusal.message


def test_the_two_owners_of_the_addon_take_nothing_away() -> None:
    ours = tuple(OwnerReference("v1", kind, name, "u") for kind, name in OWNERS)
    anchored = ServiceAccount(replace(account().metadata, owner_references=ours))
    assert owns_account(identity(), anchored)
    assert may_delete(anchored)


def test_the_agents_own_account_is_never_deleted() -> None:
    assert not may_delete(account(names.AGENT_SERVICE_ACCOUNT))


def test_a_secret_of_that_name_that_is_not_ours_is_refused_with_the_way_out() -> None:
    """The command that the message ends with names the Secret and gives it what makes it ours."""
    refusal = refused_secret(identity())
    assert refusal.reason == "SecretConflict"
    assert "Secret cluster1/one on the hub" in refusal.message
    command, taken, label = refusal.message.partition("kubectl ")[2].rsplit(" ", 2)
    assert shlex.split(command) == ["label", "-n", "cluster1", "secret", "one"]
    left = {name: value for name, value in COPY.items() if f"{name}-" != taken}
    labelled = with_metadata(credential(owners=()), labels=left | dict([label.split("=")]))
    assert owns_secret(identity(), labelled)


def test_the_user_is_told_what_adopting_a_secret_costs_before_doing_it() -> None:
    message = refused_secret(identity()).message
    assert "deletes those other than token and ca.crt" in message
    assert message.index("back them up first") < message.index("kubectl label")
