"""What is ours to project and to change, and what is somebody else's."""

import json
import signal
import time
from base64 import b64encode, urlsafe_b64decode
from datetime import UTC, datetime

from hack.addon import Addon
from hack.processes import wait_until
from msa.api import names
from tests.integration.audit import Audit
from tests.support import identities
from tests.support.identities import (
    PATIENCE,
    create,
    events,
    identity,
    patch,
    secret,
    token,
    wait_ready,
    wait_refused,
)


def test_a_service_account_that_is_not_ours_is_left_alone_until_it_is_labelled(addon: Addon) -> None:
    addon.managed.kubectl("create", "serviceaccount", "-n", addon.install_namespace, "foreign")
    create(addon, "foreign")
    message = wait_refused(addon, "foreign", "ServiceAccountConflict")
    assert f"kubectl label -n {addon.install_namespace} serviceaccount foreign" in message
    assert secret(addon, "foreign") is None
    addon.managed.kubectl(
        "label", "serviceaccount", "-n", addon.install_namespace, "foreign", f"{names.LABEL_MANAGED}=true"
    )
    wait_ready(addon, "foreign")


def test_a_secret_that_is_not_ours_is_left_alone(addon: Addon) -> None:
    addon.hub.kubectl(
        "create", "secret", "generic", "-n", addon.cluster_name, "private", "--from-literal=token=mine"
    )
    create(addon, "private")
    wait_refused(addon, "private", "SecretConflict")
    assert token(addon, "private") == "mine"


def test_the_agents_own_service_account_is_never_projected(addon: Addon) -> None:
    create(addon, names.AGENT_SERVICE_ACCOUNT)
    wait_refused(addon, names.AGENT_SERVICE_ACCOUNT, "ReservedName")
    assert secret(addon, names.AGENT_SERVICE_ACCOUNT) is None


def test_a_status_that_claims_somebody_elses_account_gives_no_token_for_it(addon: Addon) -> None:
    addon.managed.kubectl("create", "serviceaccount", "-n", addon.install_namespace, "privileged")
    uid = (identities.account(addon, "privileged") or {})["metadata"]["uid"]
    create(addon, "privileged")
    claimed = {"namespace": addon.install_namespace, "name": "privileged", "uid": uid}
    patch(addon, "msa", "privileged", {"status": {"serviceAccountRef": claimed}}, "--subresource=status")
    wait_refused(addon, "privileged", "ServiceAccountConflict")
    assert secret(addon, "privileged") is None


def test_a_stranger_who_takes_a_deleted_accounts_name_before_we_can_gets_no_token_projected(
    addon: Addon, audit: Audit
) -> None:
    create(addon, "usurped")
    wait_ready(addon, "usurped")
    before = token(addon, "usurped")
    there = ("serviceaccount", "-n", addon.install_namespace, "usurped")
    audit = audit.from_now()
    addon.process.send(signal.SIGSTOP)  # so that to the agent both happen in one moment
    try:
        addon.managed.kubectl("delete", *there)
        addon.managed.kubectl("create", *there)
    finally:
        addon.process.send(signal.SIGCONT)
    wait_refused(addon, "usurped", "ServiceAccountConflict")
    assert token(addon, "usurped") == before
    asked = {request.resource for request in audit.work(addon, "usurped")}
    assert asked == {"managedserviceaccounts/status"}, "the copy of all accounts shows whose it is"
    stranger = identities.account(addon, "usurped")
    assert stranger is not None
    assert names.LABEL_MANAGED not in stranger["metadata"].get("labels", {})


def test_secrets_of_the_go_addon_are_taken_over_without_a_new_token(addon: Addon) -> None:
    create(addon, "migrated", validity="1h")
    wait_ready(addon, "migrated")
    before = token(addon, "migrated")
    ours = dict.fromkeys(
        (names.ANNOTATION_EXPIRATION, names.ANNOTATION_LAST_REFRESH, names.ANNOTATION_REQUESTED)
    )
    patch(addon, "secret", "migrated", {"metadata": {"annotations": ours}})

    def annotated() -> bool:
        stored = secret(addon, "migrated")
        return stored is not None and names.ANNOTATION_REQUESTED in stored["metadata"].get("annotations", {})

    assert wait_until(annotated, PATIENCE, 0.1)
    assert token(addon, "migrated") == before
    assert wait_until(lambda: ("Normal", "Adopted") in _told(addon, "migrated"), PATIENCE, 0.2)
    assert "Warning" not in {type_ for type_, _ in _told(addon, "migrated")}


def test_a_token_that_the_go_addon_issued_anew_is_kept_and_the_refresh_time_goes_forwards(
    addon: Addon,
) -> None:
    """A rollback and an upgrade again: the Secret still has our annotations, about a token of before."""
    create(addon, "back", validity="1h")
    wait_ready(addon, "back")
    time.sleep(1.1)  # times are in whole seconds
    theirs = addon.managed.kubectl(
        "create", "token", "-n", addon.install_namespace, "back", "--duration=1h"
    ).strip()
    patch(addon, "secret", "back", {"data": {"token": b64encode(theirs.encode()).decode()}})
    assert wait_until(lambda: ("Normal", "Adopted") in _told(addon, "back"), PATIENCE, 0.2), _told(
        addon, "back"
    )
    assert token(addon, "back") == theirs
    assert "Warning" not in {type_ for type_, _ in _told(addon, "back")}
    claims = json.loads(urlsafe_b64decode(theirs.split(".")[1] + "=="))
    issued = datetime.fromtimestamp(claims["iat"], UTC)

    def refreshed() -> bool:
        said = (identity(addon, "back") or {})["status"]["tokenSecretRef"]["lastRefreshTimestamp"]
        return datetime.fromisoformat(said) == issued

    assert wait_until(refreshed, PATIENCE, 0.2), (identity(addon, "back") or {})["status"]


def _told(addon: Addon, name: str) -> set[tuple[str, str]]:
    return {(type_, reason) for type_, reason, _ in events(addon, name)}


_ELSEWHERE = {
    "apiVersion": "work.open-cluster-management.io/v1",
    "kind": "AppliedManifestWork",
    "name": "hub-addon-cluster-proxy-deploy-0",
    "uid": "0c9d3a52-93a2-4c09-8a8e-6f3f5b0a7a11",
}


def _apply_as_ocm(addon: Addon, name: str) -> None:
    """Another addon's ServiceAccount of that name, as OCM's work agent applies it: over one that is there, and with its own owner."""
    there = ("-n", addon.install_namespace)
    addon.managed.kubectl("create", "serviceaccount", *there, name, check=False)
    stored = identities.account(addon, name) or {}
    owners = [*stored["metadata"].get("ownerReferences", ()), _ELSEWHERE]
    changes = json.dumps({"metadata": {"ownerReferences": owners}})
    addon.managed.kubectl("patch", "serviceaccount", *there, name, "--type=merge", "-p", changes)


def test_an_account_that_another_addon_is_deployed_on_gives_no_token_and_is_not_deleted(addon: Addon) -> None:
    """A tenant takes the name of an addon that is not installed yet, and waits for its rights."""
    create(addon, "cluster-proxy")
    wait_ready(addon, "cluster-proxy")
    uid = (identities.account(addon, "cluster-proxy") or {})["metadata"]["uid"]
    _apply_as_ocm(addon, "cluster-proxy")
    wait_refused(addon, "cluster-proxy", "ServiceAccountConflict")
    assert wait_until(lambda: token(addon, "cluster-proxy") == "", PATIENCE, 0.1)
    assert secret(addon, "cluster-proxy") is not None
    addon.hub.kubectl("delete", "msa", "-n", addon.cluster_name, "cluster-proxy")
    _wait_looked_at(addon)
    assert (identities.account(addon, "cluster-proxy") or {})["metadata"]["uid"] == uid


def test_nor_does_one_of_an_addon_that_was_there_first_even_if_it_has_our_label(addon: Addon) -> None:
    _apply_as_ocm(addon, "work-manager")
    label = f"{names.LABEL_MANAGED}=true"
    addon.managed.kubectl("label", "serviceaccount", "-n", addon.install_namespace, "work-manager", label)
    create(addon, "work-manager")
    wait_refused(addon, "work-manager", "ServiceAccountConflict")
    assert secret(addon, "work-manager") is None
    addon.hub.kubectl("delete", "msa", "-n", addon.cluster_name, "work-manager")
    _wait_looked_at(addon)
    assert identities.account(addon, "work-manager") is not None


def _apply_server_side(addon: Addon, name: str, manager: str, **content: object) -> None:
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}, **content}
    addon.managed.kubectl(
        *("apply", "--server-side", f"--field-manager={manager}", "-n", addon.install_namespace, "-f", "-"),
        stdin=json.dumps(body),
    )


def test_edits_of_people_and_of_the_cluster_leave_an_account_ours_and_what_applies_it_does_not(
    addon: Addon,
) -> None:
    create(addon, "edited")
    wait_ready(addon, "edited")
    there = ("serviceaccount", "-n", addon.install_namespace, "edited")
    addon.managed.kubectl("label", *there, "team=blue")
    addon.managed.kubectl("annotate", *there, "note=kept")
    addon.managed.kubectl("patch", *there, "-p", '{"automountServiceAccountToken":false}')
    pulls = "openshift.io/image-registry-pull-secrets_service-account-controller"
    _apply_server_side(addon, "edited", pulls, imagePullSecrets=[{"name": "registry"}])
    before = token(addon, "edited")
    _wait_looked_at(addon)
    assert token(addon, "edited") == before != ""
    marked = {"name": "edited", "labels": {"app": "installed"}}
    _apply_server_side(addon, "edited", "installer", metadata=marked)
    assert "applied by installer" in wait_refused(addon, "edited", "ServiceAccountConflict")
    assert wait_until(lambda: token(addon, "edited") == "", PATIENCE, 0.1)
    _apply_server_side(addon, "edited", "installer")
    assert wait_until(lambda: token(addon, "edited") not in ("", before), PATIENCE, 0.1)


def _wait_looked_at(addon: Addon) -> None:
    """What was deleted before this has been looked at: another identity has come and gone since."""
    create(addon, "passing")
    wait_ready(addon, "passing")
    addon.hub.kubectl("delete", "msa", "-n", addon.cluster_name, "passing")
    assert wait_until(lambda: identities.account(addon, "passing") is None, PATIENCE, 0.1)


def test_an_account_that_lost_its_label_is_deleted_with_its_identity(addon: Addon) -> None:
    create(addon, "bare")
    wait_ready(addon, "bare")
    addon.process.send(signal.SIGSTOP)  # so that to the agent both happen in one moment
    try:
        addon.managed.kubectl(
            "label", "serviceaccount", "-n", addon.install_namespace, "bare", f"{names.LABEL_MANAGED}-"
        )
        addon.hub.kubectl("delete", "msa", "-n", addon.cluster_name, "bare")
    finally:
        addon.process.send(signal.SIGCONT)
    assert wait_until(lambda: identities.account(addon, "bare") is None, PATIENCE, 0.1)


def test_an_account_that_is_being_deleted_has_its_own_reason_and_gets_no_token(
    addon: Addon, audit: Audit
) -> None:
    create(addon, "terminating")
    wait_ready(addon, "terminating")
    there = ("serviceaccount", "-n", addon.install_namespace, "terminating")

    def finalizers(value: list[str]) -> str:
        return json.dumps({"metadata": {"finalizers": value}})

    addon.managed.kubectl("patch", *there, "--type=merge", "-p", finalizers(["example.com/keep"]))
    addon.managed.kubectl("delete", *there, "--wait=false")
    wait_refused(addon, "terminating", "ServiceAccountTerminating")
    since = audit.from_now()
    addon.hub.kubectl("delete", "secret", "-n", addon.cluster_name, "terminating")
    _wait_looked_at(addon)
    assert not [request for request in since.work(addon, "terminating") if request.token]
    addon.managed.kubectl("patch", *there, "--type=merge", "-p", finalizers([]))
    wait_ready(addon, "terminating")
    assert token(addon, "terminating") != ""
