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
