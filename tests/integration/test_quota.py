"""A Secret that somebody made immutable, in a namespace whose quota of Secrets is used up."""

import json
from base64 import b64encode

from hack.addon import Addon
from hack.processes import wait_until
from msa.api import names
from tests.integration.audit import Audit
from tests.integration.conftest import StartAddon
from tests.support.aged_tokens import issued_earlier
from tests.support.identities import (
    PATIENCE,
    condition,
    create,
    patch,
    secret,
    token,
    wait_new_token,
    wait_ready,
    wait_refused,
)


def _quota(addon: Addon, most: int) -> None:
    """Counted by now."""
    spec = {"hard": {"count/secrets": str(most)}}
    metadata = {"name": "few", "namespace": addon.cluster_name}
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec}
    addon.hub.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    ask = ("get", "resourcequota", "few", "-n", addon.cluster_name, "-o", "jsonpath={.status}")
    counted = {"hard": {"count/secrets": str(most)}, "used": {"count/secrets": "1"}}
    assert wait_until(lambda: json.loads(addon.hub.kubectl(*ask) or "{}") == counted, PATIENCE, 0.1)


def test_while_the_quota_is_used_up_the_old_token_stays_and_the_condition_says_what_to_do(
    start_addon: StartAddon, audit: Audit
) -> None:
    addon = start_addon("full")
    create(addon, "one")
    wait_ready(addon, "one")
    patch(addon, "secret", "one", {"immutable": True})
    _quota(addon, 1)
    before, since = token(addon, "one"), audit.from_now()
    patch(addon, names.PLURAL, "one", {"spec": {"rotation": {"validity": "1h"}}})
    message = wait_refused(addon, "one", "ForbiddenOnHub")
    assert "exceeded quota: few" in message
    assert "Secret full/one is immutable" in message
    assert "Raise the quota by one Secret" in message
    tries = "create serviceaccounts/token"
    assert wait_until(lambda: [one.what for one in since.work(addon)].count(tries) >= 2, PATIENCE, 0.2)
    assert token(addon, "one") == before
    assert [one.what for one in since.work(addon)].count("patch managedserviceaccounts/status") == 1
    assert "delete secrets" not in [one.what for one in since.work(addon)]
    _quota(addon, 2)
    patch(addon, names.PLURAL, "one", {"spec": {"rotation": {"validity": "2h"}}})  # else the backoff goes on
    wait_new_token(addon, "one", before)
    wait_ready(addon, "one")


def test_shortly_before_the_token_expires_the_secret_is_deleted_and_created_in_the_room_of_its_own(
    start_addon: StartAddon,
) -> None:
    addon = start_addon("lastchance")
    create(addon, "one", validity="10m")
    wait_ready(addon, "one")
    addon.stop()
    aged = issued_earlier(addon.managed, token(addon, "one"), seconds=560, life=600)
    data = {"token": b64encode(aged.encode()).decode()}
    patch(addon, "secret", "one", {"immutable": True, "data": data})
    _quota(addon, 1)
    addon.start()
    wait_new_token(addon, "one", aged)
    wait_ready(addon, "one")
    assert "immutable" not in (secret(addon, "one") or {})
    assert condition(addon, "one", "SecretCreated")["status"] == "True"
