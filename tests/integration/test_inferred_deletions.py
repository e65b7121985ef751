"""An agent that finds its identities missing, on real API servers: what is only inferred waits, and a mass of it is held."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from hack.addon import Addon
from hack.processes import wait_until
from msa.api import names
from tests.integration.audit import Audit
from tests.integration.conftest import StartAddon
from tests.support import identities
from tests.support.identities import create, wait_ready

NAMES = [f"id-{number}" for number in range(6)]

pytestmark = pytest.mark.timeout(400)


def _held(addon: Addon) -> str:
    """The message of the Event, "" while there is none."""
    text = addon.hub.kubectl(
        *("get", "events", "-n", addon.cluster_name, "--field-selector=reason=DeletionsHeld", "-o", "json")
    )
    items = json.loads(text)["items"]
    return str(items[-1]["message"]) if items else ""


def _accounts(addon: Addon) -> dict[str, str]:
    found = {name: identities.account(addon, name) for name in NAMES}
    return {name: account["metadata"]["uid"] for name, account in found.items() if account is not None}


def _deployment() -> dict[str, Any]:
    labels = {"app": "agent"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "agent", "image": "none"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod}
    metadata = {"name": names.AGENT_DEPLOYMENT}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def test_on_a_hub_that_was_restored_empty_no_account_goes_until_a_person_says_so(
    start_addon: StartAddon, audit: Audit
) -> None:
    """Two clusters, so that both wait at the same time: one gets its identities back, and of the other they are meant to be gone."""
    restored, meant = start_addon("emptied"), start_addon("meant")
    for addon in (restored, meant):
        _fill(addon)
    before = _accounts(restored), _accounts(meant)
    _deploy(meant)
    for addon in (restored, meant):
        addon.stop()
        addon.hub.kubectl("delete", "msa", "-n", addon.cluster_name, "--all")
        addon.start()
    for addon in (restored, meant):
        assert wait_until(lambda: _held(addon) != "", 90, 1.0)  # noqa: B023 - called at once
        assert "6 of 6 ManagedServiceAccounts" in _held(addon)
        assert identities.sample(addon, "msa_deletions_held") == len(NAMES)
    assert (_accounts(restored), _accounts(meant)) == before
    since = audit.from_now()
    _fill(restored)
    assert _accounts(restored) == before[0]
    assert "create serviceaccounts" not in [request.what for request in since.work(restored)]
    _release(meant)


def _fill(addon: Addon) -> None:
    for name in NAMES:
        create(addon, name)
    for name in NAMES:
        wait_ready(addon, name)


def _deploy(addon: Addon) -> None:
    addon.managed.kubectl("create", "-n", addon.install_namespace, "-f", "-", stdin=json.dumps(_deployment()))


def _release(addon: Addon) -> None:
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    deployment = ("deployment", "-n", addon.install_namespace, names.AGENT_DEPLOYMENT)
    addon.managed.kubectl("annotate", *deployment, f"{names.ANNOTATION_RELEASE}={moment}")
    assert wait_until(lambda: not _accounts(addon), 30, 0.5), _accounts(addon)
    assert identities.sample(addon, "msa_deletions_held") == 0
