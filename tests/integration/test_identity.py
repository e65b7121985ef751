"""One identity, from kubectl to a call on the managed cluster, and everything that may happen to it."""

import hashlib
import json
import re
from base64 import b64decode, b64encode

from hack.addon import Addon
from hack.demo import as_holder
from hack.processes import wait_until
from msa.api import names
from tests.support import identities
from tests.support.identities import (
    PATIENCE,
    condition,
    create,
    secret,
    token,
    wait_new_token,
    wait_ready,
    wait_refused,
)


def _claims(value: str) -> dict[str, object]:
    payload = value.split(".")[1]
    claims: dict[str, object] = json.loads(b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_"))
    return claims


def test_an_identity_gets_a_token_that_the_managed_cluster_takes(addon: Addon) -> None:
    create(addon, "plain")
    wait_ready(addon, "plain")
    whoami = as_holder(addon.managed, token(addon, "plain"), "auth", "whoami", "-o", "json")
    assert (
        json.loads(whoami)["status"]["userInfo"]["username"]
        == f"system:serviceaccount:{addon.install_namespace}:plain"
    )


def test_the_secret_is_what_the_contract_says(addon: Addon) -> None:
    create(addon, "contract")
    wait_ready(addon, "contract")
    stored, owner = secret(addon, "contract"), identities.identity(addon, "contract")
    assert stored is not None
    assert owner is not None
    assert stored["type"] == "Opaque"
    assert set(stored["data"]) == {"token", "ca.crt"}
    assert b64decode(stored["data"]["ca.crt"]) == addon.managed.ca_file.read_bytes()
    assert stored["metadata"]["labels"][names.LABEL_MANAGED] == "true"
    assert [reference["uid"] for reference in stored["metadata"]["ownerReferences"]] == [
        owner["metadata"]["uid"]
    ]


def test_an_object_of_v1alpha1_with_an_empty_rotation_gets_all_defaults(addon: Addon) -> None:
    body = {
        "apiVersion": f"{names.GROUP}/v1alpha1",
        "kind": names.KIND,
        "metadata": {"name": "old", "namespace": addon.cluster_name},
        "spec": {"rotation": {}},
    }
    addon.hub.kubectl("create", "-f", "-", stdin=json.dumps(body))
    wait_ready(addon, "old")
    found = identities.identity(addon, "old")
    assert found is not None
    assert found["spec"]["rotation"] == {"enabled": True, "validity": "8640h0m0s"}
    assert found["status"]["grantedValidity"] == "8640h0m0s"


def test_audiences_and_validity_are_what_was_asked_for(addon: Addon) -> None:
    create(addon, "custom", validity="1h", audiences=("vault", "other"))
    wait_ready(addon, "custom")
    claims = _claims(token(addon, "custom"))
    assert set(claims["aud"]) == {"vault", "other"}  # type: ignore[call-overload]  # a list in JSON
    assert claims["exp"] - claims["iat"] == 3600  # type: ignore[operator]  # numbers in JSON


def test_a_changed_validity_takes_effect_at_once(addon: Addon) -> None:
    create(addon, "edited", validity="1h")
    wait_ready(addon, "edited")
    before = token(addon, "edited")
    patch = json.dumps({"spec": {"rotation": {"validity": "2h"}}})
    addon.hub.kubectl("patch", "msa", "-n", addon.cluster_name, "edited", "--type=merge", "-p", patch)
    claims = _claims(wait_new_token(addon, "edited", before))
    assert claims["exp"] - claims["iat"] == 7200  # type: ignore[operator]  # numbers in JSON


def test_a_deleted_secret_comes_back_at_once(addon: Addon) -> None:
    create(addon, "lost")
    wait_ready(addon, "lost")
    before = token(addon, "lost")
    addon.hub.kubectl("delete", "secret", "-n", addon.cluster_name, "lost")
    wait_new_token(addon, "lost", before)


def test_garbage_in_the_secret_is_replaced_and_foreign_marks_survive(addon: Addon) -> None:
    create(addon, "garbage")
    wait_ready(addon, "garbage")
    patch = {
        "metadata": {"labels": {"backup": "yes"}, "annotations": {"backup/at": "noon"}},
        "data": {"token": b64encode(b"garbage").decode(), "stranger": b64encode(b"x").decode()},
    }
    addon.hub.kubectl(
        "patch", "secret", "-n", addon.cluster_name, "garbage", "--type=merge", "-p", json.dumps(patch)
    )
    wait_new_token(addon, "garbage", "garbage")
    stored = secret(addon, "garbage")
    assert stored is not None
    assert set(stored["data"]) == {"token", "ca.crt"}
    assert stored["metadata"]["labels"]["backup"] == "yes"
    assert stored["metadata"]["annotations"]["backup/at"] == "noon"


def test_an_altered_ca_is_repaired_without_a_new_token(addon: Addon) -> None:
    create(addon, "ca")
    wait_ready(addon, "ca")
    before = token(addon, "ca")
    patch = json.dumps({"data": {"ca.crt": b64encode(b"someone else's").decode()}})
    addon.hub.kubectl("patch", "secret", "-n", addon.cluster_name, "ca", "--type=merge", "-p", patch)

    def repaired() -> bool:
        stored = secret(addon, "ca")
        return (
            stored is not None and b64decode(stored["data"]["ca.crt"]) == addon.managed.ca_file.read_bytes()
        )

    assert wait_until(repaired, 5, 0.1)
    assert token(addon, "ca") == before


def test_a_deleted_service_account_is_made_again_with_a_token_for_the_new_one(addon: Addon) -> None:
    create(addon, "replaced")
    wait_ready(addon, "replaced")
    before, old = token(addon, "replaced"), identities.account(addon, "replaced")
    addon.managed.kubectl("delete", "serviceaccount", "-n", addon.install_namespace, "replaced")
    after = wait_new_token(addon, "replaced", before)
    new = identities.account(addon, "replaced")
    assert old is not None
    assert new is not None
    assert old["metadata"]["uid"] != new["metadata"]["uid"]
    assert _claims(after)["kubernetes.io"]["serviceaccount"]["uid"] == new["metadata"]["uid"]  # type: ignore[index]  # nested JSON


def test_a_lost_label_of_the_service_account_is_put_back(addon: Addon) -> None:
    create(addon, "unlabelled")
    wait_ready(addon, "unlabelled")
    addon.managed.kubectl(
        "label", "serviceaccount", "-n", addon.install_namespace, "unlabelled", f"{names.LABEL_MANAGED}-"
    )

    def labelled() -> bool:
        found = identities.account(addon, "unlabelled")
        return found is not None and found["metadata"].get("labels", {}).get(names.LABEL_MANAGED) == "true"

    assert wait_until(labelled, PATIENCE, 0.1)


def test_a_lost_label_of_the_secret_is_put_back(addon: Addon) -> None:
    create(addon, "bare")
    wait_ready(addon, "bare")
    addon.hub.kubectl("label", "secret", "-n", addon.cluster_name, "bare", f"{names.LABEL_MANAGED}-")

    def labelled() -> bool:
        stored = secret(addon, "bare")
        return stored is not None and stored["metadata"].get("labels", {}).get(names.LABEL_MANAGED) == "true"

    assert wait_until(labelled, PATIENCE, 0.1)


def test_deleting_the_identity_takes_service_account_and_secret_along(addon: Addon) -> None:
    create(addon, "gone")
    wait_ready(addon, "gone")
    addon.hub.kubectl("delete", "msa", "-n", addon.cluster_name, "gone")
    assert wait_until(lambda: identities.account(addon, "gone") is None, PATIENCE, 0.1)
    assert wait_until(lambda: secret(addon, "gone") is None, PATIENCE, 0.1)


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
    patch = json.dumps(
        {
            "status": {
                "serviceAccountRef": {"namespace": addon.install_namespace, "name": "privileged", "uid": uid}
            }
        }
    )
    addon.hub.kubectl(
        "patch",
        "msa",
        "-n",
        addon.cluster_name,
        "privileged",
        "--subresource=status",
        "--type=merge",
        "-p",
        patch,
    )
    wait_refused(addon, "privileged", "ServiceAccountConflict")
    assert secret(addon, "privileged") is None


def test_secrets_of_the_go_addon_are_taken_over_without_a_new_token(addon: Addon) -> None:
    create(addon, "migrated", validity="1h")
    wait_ready(addon, "migrated")
    before = token(addon, "migrated")
    ours = dict.fromkeys(
        (names.ANNOTATION_EXPIRATION, names.ANNOTATION_LAST_REFRESH, names.ANNOTATION_REQUESTED)
    )
    patch = json.dumps({"metadata": {"annotations": ours}})
    addon.hub.kubectl("patch", "secret", "-n", addon.cluster_name, "migrated", "--type=merge", "-p", patch)

    def annotated() -> bool:
        stored = secret(addon, "migrated")
        return stored is not None and names.ANNOTATION_REQUESTED in stored["metadata"].get("annotations", {})

    assert wait_until(annotated, PATIENCE, 0.1)
    assert token(addon, "migrated") == before


def test_an_immutable_secret_with_garbage_is_made_anew(addon: Addon) -> None:
    create(addon, "frozen")
    wait_ready(addon, "frozen")
    patch = json.dumps({"immutable": True, "data": {"token": b64encode(b"garbage").decode()}})
    addon.hub.kubectl("patch", "secret", "-n", addon.cluster_name, "frozen", "--type=merge", "-p", patch)
    assert len(wait_new_token(addon, "frozen", "garbage")) > 100


def test_the_heartbeat_lease_is_renewed_in_the_form_that_ocm_reads(addon: Addon) -> None:
    def renewed() -> str:
        return addon.managed.kubectl(
            "get",
            "lease",
            "-n",
            addon.install_namespace,
            names.ADDON,
            "-o",
            "jsonpath={.spec.renewTime}",
            check=False,
        )

    assert wait_until(
        lambda: bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", renewed())), PATIENCE, 0.2
    ), renewed()


def test_no_token_is_in_the_logs_at_any_level(addon: Addon) -> None:
    create(addon, "secretive")
    wait_ready(addon, "secretive")
    log = addon.process.log.read_text()
    value = token(addon, "secretive")
    assert "TokenIssued" not in value
    assert value not in log
    assert b64encode(value.encode()).decode() not in log
    assert not re.search(r"eyJ[\w-]{8,}\.[\w-]{4,}", log)
    assert hashlib.sha256(value.encode()).hexdigest() not in log
    assert '"ready"' in log, "the log that was searched is the agent's"


def test_conditions_are_those_of_the_contract(addon: Addon) -> None:
    create(addon, "conditions")
    wait_ready(addon, "conditions")
    for type_ in ("TokenReported", "SecretCreated"):
        found = condition(addon, "conditions", type_)
        assert (found["status"], found["reason"], found["message"]) == ("True", type_, "")
