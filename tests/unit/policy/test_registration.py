from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec
import pytest
from msgspec.structs import replace

from msa.api.addon import (
    AddonSpec,
    AddonStatus,
    DeploymentConfig,
    DeploymentConfigSpec,
    KubeClient,
    ManagedClusterAddOn,
    Registration,
    Subject,
)
from msa.api.meta import ObjectMeta, OwnerReference
from msa.api.work import Work
from msa.policy import registration
from msa.policy.registration import Obstacle

SIGNER = "kubernetes.io/kube-apiserver-client"
CSR_SUBJECT = Subject(
    "system:open-cluster-management:cluster:c1:addon:managed-serviceaccount:agent:addon-agent",
    (
        "system:open-cluster-management:cluster:c1:addon:managed-serviceaccount",
        "system:open-cluster-management:addon:managed-serviceaccount",
    ),
)
TOKEN_SUBJECT = Subject("system:serviceaccount:c1:managed-serviceaccount-agent")
NOBODY = Subject()
OWNER = OwnerReference(
    "addon.open-cluster-management.io/v1alpha1", "ClusterManagementAddOn", "managed-serviceaccount", "uid"
)
ANNOTATION = "addon.open-cluster-management.io/v1alpha1-install-namespace"


def addon(status: AddonStatus | None = None, *, cluster: str = "c1", **more: object) -> ManagedClusterAddOn:
    metadata = ObjectMeta(name="managed-serviceaccount", namespace=cluster, owner_references=(OWNER,))
    return replace(ManagedClusterAddOn(metadata), status=status or AddonStatus(), **more)


def old(driver: str, subject: Subject | None) -> AddonStatus:
    """A status in v1alpha1."""
    stored = () if subject is None else (Registration(signer_name=SIGNER, subject=subject),)
    return AddonStatus(kube_client_driver=driver, registrations=stored)


def new(driver: str, subject: Subject) -> AddonStatus:
    """A status in v1beta1."""
    return AddonStatus(
        registrations=(Registration(type="kubeClient", kube_client=KubeClient(subject, driver)),)
    )


Spelling: TypeAlias = Callable[[str, Subject], AddonStatus]
BOTH = pytest.mark.parametrize("stored", [old, new], ids=["v1alpha1", "v1beta1"])


@BOTH
@pytest.mark.parametrize("driver", ["", "csr"])
@pytest.mark.parametrize(
    "found", [NOBODY, CSR_SUBJECT, TOKEN_SUBJECT, Subject("system:admin", ("system:masters",))]
)
def test_without_the_token_driver_the_rights_go_to_the_user_that_we_choose(
    stored: Spelling, driver: str, found: Subject
) -> None:
    assert registration.subject(addon(stored(driver, found))) == CSR_SUBJECT


def test_before_anything_is_registered_the_rights_go_to_the_user_that_we_choose() -> None:
    assert registration.subject(addon()) == CSR_SUBJECT


@BOTH
def test_with_the_token_driver_the_rights_go_to_the_clusters_own_service_account(
    stored: Spelling,
) -> None:
    assert registration.subject(addon(stored("token", TOKEN_SUBJECT))) == TOKEN_SUBJECT


@BOTH
@pytest.mark.parametrize(
    "found", [NOBODY, CSR_SUBJECT], ids=["nobody is named", "the cluster's side has not yet overwritten ours"]
)
def test_with_the_token_driver_nobody_has_rights_before_the_clusters_side_has_named_a_subject(
    stored: Spelling, found: Subject
) -> None:
    obstacle = registration.subject(addon(stored("token", found)))
    assert obstacle == Obstacle("PermissionConfigPending", "registration subject not ready", refused=False)


def test_with_the_token_driver_and_no_registration_nobody_has_rights() -> None:
    obstacle = registration.subject(addon(old("token", None)))
    assert isinstance(obstacle, Obstacle)
    assert not obstacle.refused


REFUSED = {
    "another cluster's ServiceAccount": Subject("system:serviceaccount:c10:managed-serviceaccount-agent"),
    "another ServiceAccount": Subject("system:serviceaccount:c1:default"),
    "a ServiceAccount whose name begins as ours": Subject(
        "system:serviceaccount:c1:managed-serviceaccount-agent-2"
    ),
    "the ServiceAccount in other letters": Subject("system:serviceaccount:C1:managed-serviceaccount-agent"),
    "the ServiceAccount with a space after": Subject(TOKEN_SUBJECT.user + " "),
    "an administrator": Subject("kubernetes-admin"),
    "our agent's user without groups": Subject(CSR_SUBJECT.user),
    "our agent's user with its groups the other way round": replace(
        CSR_SUBJECT, groups=CSR_SUBJECT.groups[::-1]
    ),
    "another cluster's agent": Subject(CSR_SUBJECT.user.replace("c1", "c10"), CSR_SUBJECT.groups),
    "the ServiceAccount in a group": replace(TOKEN_SUBJECT, groups=("system:masters",)),
    "the ServiceAccount in its own groups": replace(TOKEN_SUBJECT, groups=("system:serviceaccounts:c1",)),
    "the ServiceAccount in a group without a name": replace(TOKEN_SUBJECT, groups=("",)),
    "a group alone": Subject("", ("system:masters",)),
    "our agent's groups alone": Subject("", CSR_SUBJECT.groups),
}


@BOTH
@pytest.mark.parametrize("found", REFUSED.values(), ids=list(REFUSED))
def test_with_the_token_driver_anybody_else_is_refused(stored: Spelling, found: Subject) -> None:
    obstacle = registration.subject(addon(stored("token", found)))
    assert isinstance(obstacle, Obstacle)
    assert obstacle.refused
    assert obstacle.reason == "SetPermissionFailed"
    assert repr(found.user) in obstacle.message
    assert all(group in obstacle.message for group in found.groups)
    assert TOKEN_SUBJECT.user in obstacle.message
    assert "Remove that entry" in obstacle.message


def test_a_refusal_shows_a_strangers_text_cut_and_in_ascii() -> None:
    stranger = Subject(
        "\u0455ystem:\n" + "x" * 5000, tuple(f"group-{number}-{'y' * 900}" for number in range(99))
    )
    obstacle = registration.subject(addon(old("token", stranger)))
    assert isinstance(obstacle, Obstacle)
    assert obstacle.message.isascii()
    assert obstacle.message.isprintable()
    assert len(obstacle.message) < 2000


def test_a_registration_with_a_signer_of_its_own_is_no_subject_for_the_hubs_api() -> None:
    foreign = (
        Registration(type="customSigner"),
        Registration(signer_name="example.com/signer", subject=TOKEN_SUBJECT),
    )
    for stored in foreign:
        obstacle = registration.subject(
            addon(AddonStatus(kube_client_driver="token", registrations=(stored,)))
        )
        assert isinstance(obstacle, Obstacle)
        assert not obstacle.refused


@pytest.mark.parametrize(
    ("status", "driver"),
    [
        (AddonStatus(), ""),
        (old("", CSR_SUBJECT), ""),
        (old("csr", None), "csr"),
        (old("token", CSR_SUBJECT), "token"),
        (new("", CSR_SUBJECT), ""),
        (new("csr", CSR_SUBJECT), "csr"),
        (new("token", NOBODY), "token"),
        (AddonStatus(registrations=(Registration(type="kubeClient"),)), ""),
    ],
)
def test_the_driver_is_what_the_clusters_side_has_set_in_either_version(
    status: AddonStatus, driver: str
) -> None:
    assert registration.driver(addon(status)) == driver


def test_a_registration_is_written_as_v1alpha1_spells_it() -> None:
    written = msgspec.to_builtins(registration.registrations(addon(), "v1alpha1"))
    assert written == (
        {"signerName": SIGNER, "subject": {"user": CSR_SUBJECT.user, "groups": CSR_SUBJECT.groups}},
    )


def test_a_registration_is_written_as_v1beta1_spells_it() -> None:
    written = msgspec.to_builtins(registration.registrations(addon(), "v1beta1"))
    subject = {"user": CSR_SUBJECT.user, "groups": CSR_SUBJECT.groups}
    assert written == ({"type": "kubeClient", "kubeClient": {"subject": subject}},)


@pytest.mark.parametrize("driver", ["csr", "token"])
def test_the_driver_that_the_clusters_side_has_set_stays(driver: str) -> None:
    (written,) = registration.registrations(addon(new(driver, NOBODY)), "v1beta1")
    assert written.kube_client is not None
    assert written.kube_client.driver == driver


@pytest.mark.parametrize(
    "found", [NOBODY, TOKEN_SUBJECT, CSR_SUBJECT, Subject("system:admin", ("system:masters",))]
)
def test_with_the_token_driver_the_subject_is_the_clusters_sides_to_write(found: Subject) -> None:
    assert (
        registration.registrations(addon(old("token", found)), "v1alpha1")
        == old("token", found).registrations
    )
    assert (
        registration.registrations(addon(new("token", found)), "v1beta1") == new("token", found).registrations
    )


def test_a_subject_of_the_token_driver_is_overwritten_once_the_driver_is_csr() -> None:
    assert (
        registration.registrations(addon(old("csr", TOKEN_SUBJECT)), "v1alpha1")
        == old("", CSR_SUBJECT).registrations
    )


def test_what_is_written_is_what_is_read_back() -> None:
    """No second write follows the first."""
    for version in ("v1alpha1", "v1beta1"):
        written = registration.registrations(addon(), version)
        stored = msgspec.json.decode(msgspec.json.encode(written), type=tuple[Registration, ...])
        assert registration.registrations(addon(AddonStatus(registrations=stored)), version) == stored


def test_the_only_configuration_supported_is_the_deployment_config() -> None:
    assert msgspec.to_builtins(registration.SUPPORTED_CONFIGS) == (
        {"group": "addon.open-cluster-management.io", "resource": "addondeploymentconfigs"},
    )


_DEFAULT = "open-cluster-management-agent-addon"


@pytest.mark.parametrize(
    ("config", "annotation", "spec", "status", "expected"),
    [
        ("", "", "", "", _DEFAULT),
        ("", "", "of-the-spec", "", "of-the-spec"),
        ("", "of-the-annotation", "of-the-spec", "", "of-the-annotation"),
        ("of-the-config", "of-the-annotation", "of-the-spec", "", "of-the-config"),
        ("of-the-config", "", "", "running-in", "of-the-config"),
        ("", "", "of-the-spec", "running-in", "of-the-spec"),
        ("", "", "", "running-in", "running-in"),
        # The API server writes the default into fields that were left out.
        (_DEFAULT, _DEFAULT, _DEFAULT, "running-in", "running-in"),
        (_DEFAULT, "", "of-the-spec", "", "of-the-spec"),
        ("", "", "", "Not A Namespace", _DEFAULT),
        ("", "", "", "x" * 64, _DEFAULT),
    ],
)
def test_a_running_agent_moves_only_to_a_namespace_that_somebody_asks_for(
    config: str, annotation: str, spec: str, status: str, expected: str
) -> None:
    asked = replace(addon(), spec=AddonSpec(install_namespace=spec), status=AddonStatus(namespace=status))
    asked = replace(asked, metadata=replace(asked.metadata, annotations={ANNOTATION: annotation}))
    stored = DeploymentConfig(
        ObjectMeta(name="one"), DeploymentConfigSpec(agent_install_namespace=config), "hash"
    )
    running = registration.running_in(asked, ())
    assert registration.install_namespace(asked, stored, running) == expected


def test_without_a_config_the_namespace_is_the_default() -> None:
    assert registration.install_namespace(addon(), None, "") == "open-cluster-management-agent-addon"


def _work(namespace: str, *, going: bool = False) -> Work:
    leaves = datetime(2026, 11, 1, tzinfo=UTC) if going else None
    return Work(ObjectMeta(name="w", deletion_timestamp=leaves), "", (), {}, (), namespace=namespace)


@pytest.mark.parametrize(
    ("status", "works", "expected"),
    [
        ("of-the-status", (_work("of-the-agents"), _work("of-the-others")), "of-the-status"),
        ("", (_work("of-the-agents"), _work("of-the-others")), "of-the-agents"),
        ("Not A Namespace", (_work(""), _work("of-the-others")), "of-the-others"),
        ("", (None, _work("of-the-others")), "of-the-others"),
        ("", (_work("of-the-agents", going=True), None), ""),
        ("", (_work("Not A Namespace"), _work("x" * 64)), ""),
        ("", (None, None), ""),
    ],
)
def test_where_a_status_was_lost_the_manifest_works_say_in_which_namespace_the_agent_runs(
    status: str, works: tuple[Work | None, ...], expected: str
) -> None:
    assert registration.running_in(addon(AddonStatus(namespace=status)), works) == expected


@pytest.mark.parametrize(
    ("owners", "ours"),
    [
        ((OWNER,), True),
        ((replace(OWNER, kind="Deployment"), OWNER), True),
        ((replace(OWNER, api_version="addon.open-cluster-management.io/v1beta1"),), True),
        ((), False),
        ((replace(OWNER, name="work-manager"),), False),
        ((replace(OWNER, kind="ClusterManagementAddOnList"),), False),
        ((replace(OWNER, api_version="example.com/v1"),), False),
        ((replace(OWNER, api_version="v1"),), False),
    ],
)
def test_an_addon_is_ours_if_ocm_made_it_from_our_cluster_management_addon(
    owners: tuple[OwnerReference, ...], ours: bool
) -> None:
    found = addon()
    assert (
        registration.is_ours(replace(found, metadata=replace(found.metadata, owner_references=owners)))
        is ours
    )


def test_the_subjects_of_another_cluster_are_its_own() -> None:
    found = registration.subject(addon(cluster="c10"))
    assert isinstance(found, Subject)
    assert found != CSR_SUBJECT
    assert "cluster:c10:" in found.user
