"""Agents that stop, start, and live through what API servers do."""

import time
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta

import yaml
from attrs import evolve

from hack.addon import Addon
from hack.clusters import Cluster, free_ports
from hack.processes import wait_until
from tests.integration.audit import Audit, Request
from tests.integration.conftest import StartAddon
from tests.integration.leaks import leaks
from tests.support import identities
from tests.support.identities import PATIENCE, create, sample, token, wait_new_token, wait_ready

_GARBAGE = {"data": {"token": b64encode(b"garbage").decode()}}
_INFERRED = 60.0 + PATIENCE
"""A deletion that the agent did not see waits a minute, and is checked."""


def test_service_accounts_of_identities_deleted_while_the_agent_was_down_go_when_it_is_back(
    start_addon: StartAddon,
) -> None:
    addon = start_addon("downtime")
    create(addon, "orphan")
    wait_ready(addon, "orphan")
    addon.stop()
    addon.hub.kubectl("delete", "msa", "-n", addon.cluster_name, "orphan")
    assert identities.account(addon, "orphan") is not None
    addon.start()
    assert wait_until(lambda: identities.account(addon, "orphan") is None, _INFERRED, 0.1)


def test_ephemeral_identities_go_at_their_times_never_early_and_at_most_a_second_late(
    start_addon: StartAddon, audit: Audit
) -> None:
    addon = start_addon("ephemeral", "--feature-gates=EphemeralIdentity=true")
    lives = {f"for-{seconds}": seconds for seconds in (4, 5, 6)}
    for name, seconds in lives.items():
        create(addon, name, ttl=seconds)
    for name in lives:
        wait_ready(addon, name)
    stamps = {
        name: datetime.fromisoformat(
            (identities.identity(addon, name) or {})["metadata"]["creationTimestamp"]
        )
        for name in lives
    }
    assert wait_until(lambda: len(_deletions(audit, addon)) == len(lives), 10, 0.1)
    for name, seconds in lives.items():
        deletion, creation = _deletions(audit, addon)[name], _creation(audit, name)
        assert deletion.at >= stamps[name] + timedelta(seconds=seconds)
        assert deletion.done <= creation.done + timedelta(seconds=seconds + 1)
        assert identities.identity(addon, name) is None
        assert wait_until(lambda name=name: identities.account(addon, name) is None, PATIENCE, 0.1)  # type: ignore[misc]  # mypy cannot infer a default's type


def _deletions(audit: Audit, addon: Addon) -> dict[str, Request]:
    return {
        request.name: request
        for request in audit.work(addon)
        if request.what == "delete managedserviceaccounts"
    }


def _creation(audit: Audit, name: str) -> Request:
    return next(
        request
        for request in audit.on_hub()
        if request.what == "create managedserviceaccounts" and request.name == name
    )


def test_identities_restored_from_a_backup_keep_the_tokens_that_were_restored_with_them(
    start_addon: StartAddon, audit: Audit
) -> None:
    """As on a new hub: other UIDs, no status, and Secrets without an owner. Who has read a token before goes on using it."""
    addon = start_addon("restored")
    create(addon, "kept")
    wait_ready(addon, "kept")
    addon.stop()
    backup = identities.secret(addon, "kept") or {}
    before = token(addon, "kept")
    addon.hub.kubectl("delete", "msa", "kept", "-n", addon.cluster_name)
    assert wait_until(lambda: identities.secret(addon, "kept") is None, PATIENCE)
    metadata = {part: backup["metadata"][part] for part in ("name", "namespace", "labels", "annotations")}
    addon.hub.kubectl("create", "-f", "-", stdin=yaml.safe_dump({**backup, "metadata": metadata}))
    create(addon, "kept")
    since = audit.from_now()
    addon.start()
    wait_ready(addon, "kept")
    assert token(addon, "kept") == before
    assert "create serviceaccounts/token" not in [request.what for request in since.work(addon)]
    (owner,) = (identities.secret(addon, "kept") or {})["metadata"]["ownerReferences"]
    assert owner["uid"] == (identities.identity(addon, "kept") or {})["metadata"]["uid"]


def test_a_restarted_api_server_and_a_compacted_history_end_in_the_right_state(
    start_addon: StartAddon, hub: Cluster
) -> None:
    addon = start_addon("restarted")
    create(addon, "before")
    wait_ready(addon, "before")
    old = token(addon, "before")
    hub.stop_apiserver()
    hub.compact()
    hub.start_apiserver()
    addon.hub.kubectl("delete", "secret", "-n", addon.cluster_name, "before")
    create(addon, "after")
    assert wait_until(lambda: identities.condition(addon, "after").get("status") == "True", 60, 0.2)
    wait_new_token(addon, "before", old)


def test_a_replaced_signing_key_means_new_tokens(start_addon: StartAddon, managed: Cluster) -> None:
    addon = start_addon("keys")
    create(addon, "signed")
    wait_ready(addon, "signed")
    old = token(addon, "signed")
    managed.replace_signing_key()
    assert wait_until(lambda: token(addon, "signed") not in ("", old), 40, 0.2)
    wait_ready(addon, "signed")


def test_a_changed_ca_of_the_managed_cluster_is_written_at_once_and_the_token_stays(
    start_addon: StartAddon,
) -> None:
    addon = start_addon("authority")
    create(addon, "trusting")
    wait_ready(addon, "trusting")
    before = token(addon, "trusting")
    kubeconfig = addon.managed.folder / "msa-agent.kubeconfig"
    config = yaml.safe_load(kubeconfig.read_text())
    bundle = addon.managed.ca_file.read_bytes() + addon.hub.ca_file.read_bytes()
    config["clusters"][0]["cluster"]["certificate-authority-data"] = b64encode(bundle).decode()
    swapped = kubeconfig.with_suffix(".new")
    swapped.write_text(yaml.safe_dump(config))
    swapped.replace(kubeconfig)

    def rewritten() -> bool:
        stored = identities.secret(addon, "trusting")
        return stored is not None and b64decode(stored["data"]["ca.crt"]) == bundle

    assert wait_until(rewritten, 20, 0.2)
    assert token(addon, "trusting") == before


def test_a_replaced_hub_kubeconfig_is_taken_up_without_a_restart(start_addon: StartAddon) -> None:
    """The credential is renewed in place, as OCM's registration agent does; the old one is refused from then on."""
    addon = start_addon("renewed")
    create(addon, "before")
    wait_ready(addon, "before")
    fresh = addon.hub.kubeconfig_for(f"{addon.user}", file=addon.hub_kubeconfig.with_suffix(".new"))
    fresh.replace(addon.hub_kubeconfig)
    for number in range(12):  # some with the old one, some with the new one
        create(addon, f"meanwhile-{number}")
        time.sleep(0.5)
    assert wait_until(lambda: "credential_reloaded" in addon.process.log.read_text(), 20, 0.2)
    for number in range(12):
        wait_ready(addon, f"meanwhile-{number}")
    assert "reconcile_failed" not in addon.process.log.read_text()
    _wait_until_old_connections_are_closed(addon)
    create(addon, "afterwards")
    wait_ready(addon, "afterwards")


def _wait_until_old_connections_are_closed(addon: Addon) -> None:
    """All requests that began with the old credential have had their time: the watches are opened anew with the new one."""
    opened = sample(addon, "reflector_watches_total", resource="secrets")
    assert wait_until(lambda: sample(addon, "reflector_watches_total", resource="secrets") > opened, 60, 0.5)


def test_a_life_shortened_by_the_server_is_told_and_renewed_by_what_was_granted(
    start_addon: StartAddon, managed: Cluster
) -> None:
    shorter = Cluster(
        "shorter",
        managed.folder.parent / "shorter",
        ("--service-account-max-token-expiration=1h",),
        die_with_parent=True,
    )
    try:
        shorter.up()
        base = start_addon("shortened")
        base.stop()
        addon = Addon(
            base.hub,
            shorter,
            base.cluster_name,
            base.install_namespace,
            flags=base.flags,
            health_port=base.health_port,
        )
        addon.install()
        addon.start()
        create(addon, "year")
        wait_ready(addon, "year")
        assert identities.condition(addon, "year", "LifetimeShortened")["status"] == "True"
        assert (identities.identity(addon, "year") or {})["status"]["grantedValidity"] == "1h0m0s"
        addon.stop()
        assert leaks(addon.process.log, [token(addon, "year")]) == []
    finally:
        shorter.down()


def test_a_writer_who_alters_the_secret_again_and_again_is_named_and_not_fought(
    start_addon: StartAddon, audit: Audit
) -> None:
    """It never pauses, so each repair comes 5 s after it began anew: three so, the next 10 s later."""
    addon = start_addon("contested")
    create(addon, "fought")
    wait_ready(addon, "fought")
    audit = audit.from_now()
    alterations = 0

    def repairs() -> list[Request]:
        return [request for request in audit.work(addon) if request.what == "patch secrets"]

    def fourth_is_over() -> bool:
        nonlocal alterations
        alterations += 1
        identities.patch(addon, "secret", "fought", _GARBAGE, "--field-manager=vandal")
        return len(repairs()) >= 4 and (datetime.now(UTC) - repairs()[3].at).total_seconds() > 3

    assert wait_until(fourth_is_over, 3 * PATIENCE, 0.2)
    told = identities.condition(addon, "fought")
    assert told["reason"] == "SecretContested"
    assert "vandal" in told["message"]
    assert alterations > 10
    assert len(repairs()) == 4
    assert len([request for request in audit.work(addon) if request.token]) == 4
    assert (repairs()[3].at - repairs()[2].at).total_seconds() >= 4.9


def test_of_two_replicas_one_works_and_the_other_takes_over_when_it_stops(start_addon: StartAddon) -> None:
    one = start_addon("replicas", "--leader-elect=true")
    health, metrics = free_ports(2)
    two = evolve(one, replica="two", health_port=health, metrics_port=metrics)
    two.start()
    try:
        create(one, "first")
        wait_ready(one, "first")
        writes = ("POST", "PATCH", "PUT", "DELETE")
        assert sum(identities.sample(two, "rest_client_requests_total", method=verb) for verb in writes) == 0
        one.stop()
        stopped = time.monotonic()
        create(two, "second")
        wait_ready(two, "second")
        assert time.monotonic() - stopped < 4, "two seconds for the lead, the rest for kubectl and the token"
    finally:
        two.stop()
