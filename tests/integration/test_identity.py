"""One identity, from kubectl to a call on the managed cluster, and everything that may happen to it."""

import json
import time
from base64 import b64decode, b64encode
from datetime import datetime

import pytest

from hack.addon import Addon
from hack.demo import as_holder
from hack.processes import wait_until
from msa.api import names
from tests.support import identities
from tests.support.identities import (
    PATIENCE,
    condition,
    create,
    patch,
    sample,
    secret,
    token,
    wait_new_token,
    wait_ready,
    wait_repaired,
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
    wait_repaired(
        lambda: patch(addon, "msa", "edited", {"spec": {"rotation": {"validity": "2h"}}}),
        lambda: token(addon, "edited") != before,
    )
    claims = _claims(token(addon, "edited"))
    assert claims["exp"] - claims["iat"] == 7200  # type: ignore[operator]  # numbers in JSON


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("widened", ("vault",), ["other", "vault"]), ("named", (), ["vault"]), ("narrowed", ("a", "b"), ["b"])],
)
def test_changed_audiences_take_effect_at_once(
    addon: Addon, name: str, before: tuple[str, ...], after: list[str]
) -> None:
    create(addon, name, audiences=before)
    wait_ready(addon, name)
    assert sorted(_claims(token(addon, name))["aud"]) != after  # type: ignore[call-overload]  # a list in JSON
    wait_repaired(
        lambda: patch(addon, "msa", name, {"spec": {"audiences": after}}),
        lambda: sorted(_claims(token(addon, name))["aud"]) == after,  # type: ignore[call-overload]  # a list in JSON
    )
    wait_ready(addon, name)
    assert (identities.identity(addon, name) or {})["status"]["audiences"] == after


def test_the_secrets_annotations_and_the_status_and_the_token_tell_the_same_times(addon: Addon) -> None:
    create(addon, "times", validity="1h")
    wait_ready(addon, "times")
    first = token(addon, "times")
    _assert_same_times(addon, "times")
    patch(addon, "msa", "times", {"spec": {"rotation": {"validity": "2h"}}})
    wait_new_token(addon, "times", first)
    wait_ready(addon, "times")
    _assert_same_times(addon, "times")


def _assert_same_times(addon: Addon, name: str) -> None:
    annotations = (secret(addon, name) or {})["metadata"]["annotations"]
    status = (identities.identity(addon, name) or {})["status"]
    claims = _claims(token(addon, name))
    assert annotations[names.ANNOTATION_EXPIRATION] == status["expirationTimestamp"]
    assert annotations[names.ANNOTATION_LAST_REFRESH] == status["tokenSecretRef"]["lastRefreshTimestamp"]
    assert datetime.fromisoformat(status["expirationTimestamp"]).timestamp() == claims["exp"]
    refreshed = datetime.fromisoformat(status["tokenSecretRef"]["lastRefreshTimestamp"])
    assert abs(refreshed.timestamp() - claims["iat"]) <= 1  # type: ignore[operator]  # a number in JSON


def test_a_deleted_secret_comes_back_at_once(addon: Addon) -> None:
    create(addon, "lost")
    wait_ready(addon, "lost")
    before = token(addon, "lost")
    wait_repaired(
        lambda: addon.hub.kubectl("delete", "secret", "-n", addon.cluster_name, "lost"),
        lambda: token(addon, "lost") not in ("", before),
    )


def test_garbage_in_the_secret_is_replaced_and_foreign_marks_survive(addon: Addon) -> None:
    create(addon, "garbage")
    wait_ready(addon, "garbage")
    altered = {
        "metadata": {"labels": {"backup": "yes"}, "annotations": {"backup/at": "noon"}},
        "data": {"token": b64encode(b"garbage").decode(), "stranger": b64encode(b"x").decode()},
    }
    wait_repaired(
        lambda: patch(addon, "secret", "garbage", altered),
        lambda: token(addon, "garbage") not in ("", "garbage"),
    )
    stored = secret(addon, "garbage")
    assert stored is not None
    assert set(stored["data"]) == {"token", "ca.crt"}
    assert stored["metadata"]["labels"]["backup"] == "yes"
    assert stored["metadata"]["annotations"]["backup/at"] == "noon"


def test_an_altered_ca_is_repaired_without_a_new_token(addon: Addon) -> None:
    create(addon, "ca")
    wait_ready(addon, "ca")
    before = token(addon, "ca")

    def repaired() -> bool:
        stored = secret(addon, "ca")
        return (
            stored is not None and b64decode(stored["data"]["ca.crt"]) == addon.managed.ca_file.read_bytes()
        )

    altered = {"data": {"ca.crt": b64encode(b"someone else's").decode()}}
    wait_repaired(lambda: patch(addon, "secret", "ca", altered), repaired)
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

    def labelled() -> bool:
        found = identities.account(addon, "unlabelled")
        return found is not None and found["metadata"].get("labels", {}).get(names.LABEL_MANAGED) == "true"

    unlabel = ("label", "serviceaccount", "-n", addon.install_namespace, "unlabelled")
    wait_repaired(lambda: addon.managed.kubectl(*unlabel, f"{names.LABEL_MANAGED}-"), labelled)


def test_a_lost_label_of_the_secret_is_put_back_and_its_token_stays(addon: Addon) -> None:
    create(addon, "bare")
    wait_ready(addon, "bare")
    before = token(addon, "bare")

    def labelled() -> bool:
        stored = secret(addon, "bare")
        return stored is not None and stored["metadata"].get("labels", {}).get(names.LABEL_MANAGED) == "true"

    unlabel = ("label", "secret", "-n", addon.cluster_name, "bare", f"{names.LABEL_MANAGED}-")
    wait_repaired(lambda: addon.hub.kubectl(*unlabel), labelled)
    assert token(addon, "bare") == before


def test_several_edits_of_a_secret_in_a_row_cost_one_new_token(addon: Addon) -> None:
    """And what was written can be seen, and copied, meanwhile."""
    create(addon, "edited-often")
    wait_ready(addon, "edited-often")
    metric = {"name": "msa_rotations_total", "result": "success", "reason": "TokenMalformed"}
    before, issued = token(addon, "edited-often"), sample(addon, **metric)
    for number in range(4):
        text = f"garbage {number}"
        patch(addon, "secret", "edited-often", {"data": {"token": b64encode(text.encode()).decode()}})
        time.sleep(0.5)
        assert token(addon, "edited-often") == text
    assert wait_until(lambda: token(addon, "edited-often").count(".") == 2, PATIENCE, 0.1)
    assert token(addon, "edited-often") != before
    assert wait_until(lambda: sample(addon, **metric) == issued + 1, PATIENCE, 0.2)


def test_deleting_the_identity_takes_service_account_and_secret_along(addon: Addon) -> None:
    create(addon, "gone")
    wait_ready(addon, "gone")
    addon.hub.kubectl("delete", "msa", "-n", addon.cluster_name, "gone")
    assert wait_until(lambda: identities.account(addon, "gone") is None, PATIENCE, 0.1)
    assert wait_until(lambda: secret(addon, "gone") is None, PATIENCE, 0.1)


def test_an_immutable_secret_with_garbage_is_made_anew(addon: Addon) -> None:
    create(addon, "frozen")
    wait_ready(addon, "frozen")
    altered = {"immutable": True, "data": {"token": b64encode(b"garbage").decode()}}
    wait_repaired(
        lambda: patch(addon, "secret", "frozen", altered),
        lambda: len(token(addon, "frozen")) > len("garbage"),
    )


def test_conditions_are_those_of_the_contract(addon: Addon) -> None:
    create(addon, "conditions")
    wait_ready(addon, "conditions")
    for type_ in ("TokenReported", "SecretCreated"):
        found = condition(addon, "conditions", type_)
        assert (found["status"], found["reason"], found["message"]) == ("True", type_, "")
