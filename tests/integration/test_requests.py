"""What an agent asks the API servers for, as they count it: for a new token, for a due one, under odd clocks, and when all is quiet.

The quiet agent is started before all tests and looked at after them: its minute goes by meanwhile.
"""

import re
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from attrs import frozen

from hack.addon import Addon
from hack.clusters import Cluster
from hack.processes import wait_until
from msa.api import names
from tests.integration.audit import Audit, Request
from tests.integration.conftest import InstallAddon, StartAddon
from tests.support.aged_tokens import issued_earlier
from tests.support.identities import (
    PATIENCE,
    create,
    events,
    get,
    identity,
    patch,
    sample,
    token,
    wait_new_token,
    wait_ready,
    wait_refused,
)
from tests.support.proxy import UnrulyProxy, redirect, shifted_clock, unruly_proxy

_FIRST = [
    "create serviceaccounts",
    "create serviceaccounts/token",
    "create secrets",
    "patch managedserviceaccounts/status",
]
_AGAIN = ["create serviceaccounts/token", "patch secrets", "patch managedserviceaccounts/status"]


_UPKEEP = {"patch leases", "get /openid/v1/jwks", "get /api/v1"}
"""The last by agents that start meanwhile: what is in no namespace cannot be told apart."""

_IDLE_SECONDS = 30.0
_BEAT = timedelta(seconds=60)
_LONGEST_BACKOFF = 30.0
"""Of a watch whose server was away."""


@frozen
class _Quiet:
    """An agent with three identities and a proxy to each side; what was asked for since their work was done."""

    addon: Addon
    to_hub: UnrulyProxy
    to_managed: UnrulyProxy
    audit: Audit
    since: float
    gets: float


@pytest.fixture(scope="module", autouse=True)
def quiet(
    hub: Cluster, managed: Cluster, install_shared: InstallAddon, audit_logs: Audit
) -> Iterator[_Quiet]:
    kubeconfig = managed.folder / "quiet.kubeconfig"
    addon = install_shared("quiet", f"--spoke-kubeconfig={kubeconfig}")
    with (
        unruly_proxy(urlsplit(hub.server).port or 0) as to_hub,
        unruly_proxy(urlsplit(managed.server).port or 0) as to_managed,
    ):
        redirect(addon.hub_kubeconfig, to_hub.port, to=addon.hub_kubeconfig)
        redirect(managed.folder / "msa-agent.kubeconfig", to_managed.port, to=kubeconfig)
        addon.start()
        for name in ("one", "two", "three"):
            create(addon, name)
            wait_ready(addon, name)
        assert wait_until(lambda: _events_in(addon) >= 3, PATIENCE, 0.2)
        yield _Quiet(addon, to_hub, to_managed, audit_logs.from_now(), time.monotonic(), _gets(addon))
        addon.stop()


def test_a_new_identity_costs_four_requests_and_a_restart_none(start_addon: StartAddon, audit: Audit) -> None:
    addon = start_addon("frugal")
    create(addon, "one")
    wait_ready(addon, "one")
    assert wait_until(lambda: len(audit.work(addon)) >= 4, PATIENCE)
    addon.stop()
    assert [request.what for request in audit.work(addon)] == _FIRST
    restarted = audit.from_now()
    addon.start()
    # Two more: by then the first would have been looked at, and anything to do for it be done.
    create(addon, "two")
    wait_ready(addon, "two")
    assert wait_until(lambda: len(restarted.work(addon)) >= 4, PATIENCE)
    assert [request.what for request in restarted.work(addon)] == _FIRST
    assert restarted.work(addon, "one") == []


def test_a_token_is_rotated_at_its_time_with_three_requests(
    start_addon: StartAddon, managed: Cluster, audit: Audit
) -> None:
    """With a token of a minute's life, half of it over: API servers give none for less than ten minutes."""
    addon = start_addon("due")
    create(addon, "one", validity="10m")
    wait_ready(addon, "one")
    addon.stop()
    aged = issued_earlier(managed, token(addon, "one"), seconds=30, life=60)
    patch(addon, "secret", "one", {"data": {"token": b64encode(aged.encode()).decode()}})
    addon.start()
    assert wait_until(lambda: _status(addon, "one")["grantedValidity"] == "1m0s", PATIENCE)
    planned = datetime.fromisoformat(_status(addon, "one")["nextRefreshTimestamp"])
    audit = audit.from_now()
    wait_new_token(addon, "one", aged)
    assert wait_until(lambda: len(audit.work(addon)) >= 3, PATIENCE)
    assert [request.what for request in audit.work(addon)] == _AGAIN
    # It is told in whole seconds, and the server's Date header, from which the agent has the server's clock, is in whole seconds too.
    assert timedelta(seconds=-1) <= audit.work(addon)[0].at - planned < timedelta(seconds=2)
    assert wait_until(lambda: _events_of_rotations(addon, "one") == ["TokenDue"], PATIENCE, 0.2)
    assert sample(addon, "msa_rotations_total", reason="TokenDue", result="success") == 1


@pytest.mark.parametrize("hours", [1, -1])
def test_a_managed_cluster_whose_clock_is_an_hour_off_costs_no_token_more(
    install_addon: InstallAddon, managed: Cluster, audit: Audit, hours: int
) -> None:
    with _other_clock(install_addon, managed, f"skew{hours % 24}", timedelta(hours=hours)) as addon:
        create(addon, "one", validity="24h")
        wait_ready(addon, "one")
        assert wait_until(
            lambda: abs(sample(addon, "msa_clock_skew_seconds", side="managed") - hours * 3600) < 2, PATIENCE
        )
        assert abs(sample(addon, "msa_clock_skew_seconds", side="hub")) < 2
        addon.stop()
        addon.start()
        create(addon, "two", validity="24h")
        wait_ready(addon, "two")
        assert wait_until(lambda: len(audit.work(addon)) >= 8, PATIENCE)
        assert [request.what for request in audit.work(addon)] == _FIRST * 2


def test_a_clock_that_cannot_be_right_is_told_and_costs_one_token(
    install_addon: InstallAddon, managed: Cluster, audit: Audit
) -> None:
    """By the Date of its answers an hour's token is over as soon as it is issued."""
    with _other_clock(install_addon, managed, "badclock", timedelta(hours=2)) as addon:
        create(addon, "one", validity="1h")
        wait_refused(addon, "one", "ClockSkew")
        assert token(addon, "one") != ""
        assert not wait_until(lambda: len(_tokens(audit, addon)) > 1, 3), "a hot loop"
        assert len(_tokens(audit, addon)) == 1


def test_an_idle_agent_follows_its_watches_renews_its_lease_and_asks_for_nothing_else(
    quiet: _Quiet,
) -> None:
    def asked() -> set[str]:
        return {request.what for request in quiet.audit.requests(quiet.addon) if request.verb != "watch"}

    while time.monotonic() - quiet.since < _IDLE_SECONDS and asked() <= _UPKEEP:
        time.sleep(1)
    assert asked() <= _UPKEEP
    assert _gets(quiet.addon) - quiet.gets <= 1, "the key set, every five minutes"


@pytest.mark.timeout(180)
def test_the_heartbeat_stands_still_while_either_cluster_is_out_of_reach_and_goes_on_after(
    quiet: _Quiet,
) -> None:
    """A beat that may not be is tried again every five seconds: each of the two spans has a try in it."""
    first = _renewed(quiet.addon)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first), "as OCM reads it"
    due = datetime.fromisoformat(first) + _BEAT
    _wait_for(due - timedelta(seconds=3))
    _cut(quiet.to_hub)
    _wait_for(due + timedelta(seconds=6.5))
    assert _renewed(quiet.addon) == first, "the hub is out of reach"
    _cut(quiet.to_managed)
    quiet.to_hub.refusing = False
    _wait_for(due + timedelta(seconds=11.5))
    assert _renewed(quiet.addon) == first, "the managed cluster is out of reach"
    quiet.to_managed.refusing = False
    create(quiet.addon, "four")
    wait_ready(quiet.addon, "four", _LONGEST_BACKOFF + PATIENCE)
    # A beat is for all caches that are fresh, so the last watch that is back counts.
    assert wait_until(lambda: _renewed(quiet.addon) != first, _LONGEST_BACKOFF + PATIENCE, 0.2)


def _tokens(audit: Audit, addon: Addon) -> list[Request]:
    return [request for request in audit.work(addon) if request.resource == "serviceaccounts/token"]


@contextmanager
def _other_clock(
    install_addon: InstallAddon, managed: Cluster, name: str, ahead: timedelta
) -> Iterator[Addon]:
    """An agent that sees the managed cluster's clock that far ahead."""
    kubeconfig = managed.folder / f"{name}.kubeconfig"
    addon = install_addon(name, f"--spoke-kubeconfig={kubeconfig}")
    with shifted_clock(managed, "msa-agent", ahead) as port:
        redirect(managed.folder / "msa-agent.kubeconfig", port, to=kubeconfig)
        addon.start()
        yield addon
        addon.stop()


def _status(addon: Addon, name: str) -> dict[str, Any]:
    status: dict[str, Any] = (identity(addon, name) or {})["status"]
    return status


def _events_of_rotations(addon: Addon, name: str) -> list[str]:
    told = [message for _, reason, message in events(addon, name) if reason == "TokenIssued"]
    return [message.partition(":")[0] for message in told if not message.startswith("SecretMissing")]


def _gets(addon: Addon) -> float:
    return sample(addon, "rest_client_requests_total", method="GET")


def _cut(proxy: UnrulyProxy) -> None:
    proxy.refusing = True
    proxy.cut_all()


def _wait_for(moment: datetime) -> None:
    """The agent is a process of its own: there is no clock to turn."""
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


def _renewed(addon: Addon) -> str:
    lease = get(addon.managed, "lease", addon.install_namespace, names.ADDON)
    return str(lease["spec"]["renewTime"]) if lease else ""


def _events_in(addon: Addon) -> int:
    return len(addon.hub.kubectl("get", "events", "-n", addon.cluster_name, "-o", "name").split())
