"""Agents that stop, start, and live through what API servers do."""

import json
import signal
import subprocess
import time
from base64 import b64decode, b64encode

import yaml
from attrs import evolve

from hack.addon import Addon
from hack.clusters import Cluster, free_ports
from hack.processes import wait_until
from tests.integration.conftest import StartAddon
from tests.support import identities
from tests.support.identities import PATIENCE, create, token, wait_new_token, wait_ready


def _requests(addon: Addon, *methods: str) -> int:
    lines = (line for line in addon.metrics().splitlines() if line.startswith("rest_client_requests_total"))
    return round(
        sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if any(f'method="{method}"' in line for method in methods)
        )
    )


def test_a_new_identity_costs_four_requests_and_a_restart_no_write(start_addon: StartAddon) -> None:
    addon = start_addon("frugal")
    lease_writes = 1
    assert wait_until(lambda: _requests(addon, "POST", "PUT") == lease_writes, PATIENCE)
    create(addon, "one")
    wait_ready(addon, "one")
    event = 1
    assert wait_until(
        lambda: _requests(addon, "POST", "PATCH", "PUT", "DELETE") == lease_writes + 4 + event, PATIENCE
    )
    addon.stop()
    addon.start()
    wait_ready(addon, "one")
    assert wait_until(lambda: _requests(addon, "PUT") == lease_writes, PATIENCE)
    assert _requests(addon, "POST", "PATCH", "DELETE") == 0


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
    assert wait_until(lambda: identities.account(addon, "orphan") is None, PATIENCE, 0.1)


def test_an_ephemeral_identity_goes_at_its_time_and_not_before(start_addon: StartAddon) -> None:
    addon = start_addon("ephemeral", "--feature-gates=EphemeralIdentity=true")
    create(addon, "brief", ttl=4)
    wait_ready(addon, "brief")
    assert wait_until(lambda: identities.identity(addon, "brief") is None, 6, 0.1)
    assert wait_until(lambda: identities.account(addon, "brief") is None, PATIENCE, 0.1)


def test_sigterm_ends_the_agent_in_good_order(start_addon: StartAddon) -> None:
    addon = start_addon("polite")
    addon.stop()
    child = subprocess.Popen(addon.command(), stderr=subprocess.PIPE, text=True)
    assert wait_until(addon.ready, PATIENCE)
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=10) == 0
    assert child.stderr is not None
    child.stderr.close()


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
            base.hub, shorter, base.cluster_name, base.install_namespace, health_port=base.health_port
        )
        addon.install()
        addon.start()
        create(addon, "year")
        wait_ready(addon, "year")
        assert identities.condition(addon, "year", "LifetimeShortened")["status"] == "True"
        assert (identities.identity(addon, "year") or {})["status"]["grantedValidity"] == "1h0m0s"
        addon.stop()
    finally:
        shorter.down()


def test_a_writer_who_alters_the_secret_again_and_again_is_named_and_not_fought(
    start_addon: StartAddon,
) -> None:
    addon = start_addon("contested")
    create(addon, "fought")
    wait_ready(addon, "fought")
    patch = json.dumps({"data": {"token": "Z2FyYmFnZQ=="}})

    def alter() -> bool:
        addon.hub.kubectl(
            "patch",
            "secret",
            "-n",
            addon.cluster_name,
            "fought",
            "--type=merge",
            "-p",
            patch,
            "--field-manager=vandal",
            check=False,
        )
        return identities.condition(addon, "fought").get("reason") == "SecretContested"

    assert wait_until(alter, PATIENCE, 0.3), identities.condition(addon, "fought")
    assert "vandal" in identities.condition(addon, "fought")["message"]


def test_of_two_replicas_one_works_and_the_other_takes_over_when_it_stops(start_addon: StartAddon) -> None:
    one = start_addon("replicas", "--leader-elect=true")
    health, metrics = free_ports(2)
    two = evolve(one, replica="two", health_port=health, metrics_port=metrics)
    two.start()
    try:
        create(one, "first")
        wait_ready(one, "first")
        assert _requests(two, "POST", "PATCH", "PUT") == 0
        one.stop()
        stopped = time.monotonic()
        create(two, "second")
        wait_ready(two, "second")
        assert time.monotonic() - stopped < 4, "two seconds for the lead, the rest for kubectl and the token"
    finally:
        two.stop()
