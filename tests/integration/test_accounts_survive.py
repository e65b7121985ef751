"""What may delete the identities' ServiceAccounts, with OCM's stand-ins and a real garbage collector: the end of the addon, and nothing else."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.addon import Addon
from hack.clusters import Cluster, running
from hack.ocm import kinds
from hack.ocm.fleet import Fleet, Manager, Member
from hack.processes import wait_until
from msa.api import names
from tests.support import identities

INSTALL = names.DEFAULT_INSTALL_NAMESPACE
NAMES = ("one", "two", "three")
PATIENCE = 60.0
Standing = dict[str, tuple[str, str]]

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def fleet(home: Path) -> Iterator[Fleet]:
    with running("survive-hub", home) as hub:
        fleet = Fleet(hub)
        fleet.install()
        fleet.start()
        fleet.add_addon()
        yield fleet
        fleet.stop()


@pytest.fixture(scope="module")
def manager(fleet: Fleet) -> Iterator[Manager]:
    manager = Manager(fleet.hub, fleet.hub.kubeconfig)
    manager.start()
    yield manager
    manager.stop()


@pytest.fixture(scope="module")
def plane(home: Path) -> Iterator[Cluster]:
    with running("survive-managed", home) as managed:
        yield managed


@pytest.fixture(scope="module")
def member(fleet: Fleet, manager: Manager, plane: Cluster) -> Iterator[Member]:
    """A cluster with three identities, whose accounts have both owners."""
    assert manager.process.pid() is not None
    member = Member(fleet, plane, "s1")
    member.join()
    _wait_available(member)
    for name in NAMES:
        identities.create(_addon(member), name)
        identities.wait_ready(_addon(member), name)
    _wait_anchored(member)
    yield member
    member.stop()


def _wait_available(member: Member) -> None:
    assert wait_until(lambda: member.fleet.condition(member.name, "Available") == "True", PATIENCE)


def _addon(member: Member) -> Addon:
    return Addon(member.fleet.hub, member.managed, member.name, INSTALL)


def _uid(member: Member, kind: str, name: str) -> str:
    found = identities.get(member.managed, kind, INSTALL, name)
    return str(found["metadata"]["uid"]) if found else ""


def _owners(member: Member, name: str) -> set[str]:
    found = identities.account(_addon(member), name) or {"metadata": {}}
    return {owner["uid"] for owner in found["metadata"].get("ownerReferences", ())}


def _wait_anchored(member: Member) -> None:
    def anchored() -> bool:
        both = {
            _uid(member, "configmap", names.ANCHOR),
            _uid(member, "serviceaccount", names.AGENT_SERVICE_ACCOUNT),
        }
        return "" not in both and all(_owners(member, name) == both for name in NAMES)

    assert wait_until(anchored, PATIENCE, 0.5), [_owners(member, name) for name in NAMES]


def _standing(member: Member) -> Standing:
    """Each identity's account, and the token that its holders use."""
    addon = _addon(member)
    return {
        name: (_uid(member, "serviceaccount", name), identities.token(addon, name)[-40:]) for name in NAMES
    }


def _work_version(member: Member, name: str) -> str:
    found = member.fleet.get("manifestwork", name, member.name) or {"metadata": {"uid": ""}}
    return str(found["metadata"]["uid"])


def test_the_two_owners_are_carried_by_two_manifest_works(member: Member) -> None:
    config_map = identities.get(member.managed, "configmap", INSTALL, names.ANCHOR) or {}
    own = identities.get(member.managed, "serviceaccount", INSTALL, names.AGENT_SERVICE_ACCOUNT) or {}
    (one,), (other,) = (item["metadata"]["ownerReferences"] for item in (config_map, own))
    assert one["name"].endswith(names.IDENTITIES_WORK)
    assert other["name"].endswith(names.DEPLOY_WORK)


def test_the_config_map_is_deleted_and_no_account_goes(member: Member) -> None:
    before, uid = _standing(member), _uid(member, "configmap", names.ANCHOR)
    lease = _uid(member, "lease", names.ADDON)
    member.managed.kubectl("delete", "configmap", "-n", INSTALL, names.ANCHOR)
    assert wait_until(lambda: _uid(member, "configmap", names.ANCHOR) not in ("", uid), PATIENCE)
    _wait_anchored(member)
    assert _standing(member) == before
    assert _uid(member, "lease", names.ADDON) == lease, (
        "or the addon would not be AVAILABLE for up to a minute"
    )


@pytest.mark.parametrize("work", [names.DEPLOY_WORK, names.IDENTITIES_WORK])
def test_either_manifest_work_is_deleted_and_no_account_goes(member: Member, work: str) -> None:
    before, uid = _standing(member), _work_version(member, work)
    member.fleet.hub.kubectl("delete", "manifestwork", "-n", member.name, work, "--wait=false")
    assert wait_until(lambda: _work_version(member, work) not in ("", uid), PATIENCE)
    _wait_available(member)
    _wait_anchored(member)
    assert _standing(member) == before


def test_a_rollback_to_an_addon_that_knows_neither_object_and_back_costs_nothing(
    member: Member, manager: Manager
) -> None:
    """The Go addon lists the agent's ServiceAccount, and no ConfigMap; two managers may write in turns meanwhile."""
    before = _standing(member)
    stored = member.fleet.get("manifestwork", names.DEPLOY_WORK, member.name) or {}
    listed = stored["spec"]["workload"]["manifests"]
    assert names.ANCHOR not in {item["metadata"]["name"] for item in listed}
    theirs = [item for item in listed if item["kind"] != "Service"]
    for _ in range(3):
        _rewrite(member, theirs)
        _rewrite(member, listed)
    manager.stop()
    _rewrite(member, theirs)
    label = {"metadata": {"annotations": {"other-manager": "was-here"}}}
    member.fleet.hub.kubectl(
        *("patch", "manifestwork", "-n", member.name, names.DEPLOY_WORK, "--type=merge"),
        *("-p", json.dumps(label)),
    )
    assert wait_until(
        lambda: _uid(member, "service", "managed-serviceaccount-addon-agent-metrics") == "", PATIENCE
    )
    assert _standing(member) == before
    manager.start()
    assert wait_until(
        lambda: _uid(member, "service", "managed-serviceaccount-addon-agent-metrics") != "", PATIENCE
    )
    _wait_anchored(member)
    assert _standing(member) == before


def _rewrite(member: Member, manifests: list[Any]) -> None:
    spec = {"spec": {"workload": {"manifests": manifests}}}
    member.fleet.hub.kubectl(
        *("patch", "manifestwork", "-n", member.name, names.DEPLOY_WORK, "--type=merge"),
        *("-p", json.dumps(spec)),
    )


def test_the_agents_own_account_is_deleted_and_no_other_goes(member: Member) -> None:
    before = _standing(member)
    uid = _uid(member, "serviceaccount", names.AGENT_SERVICE_ACCOUNT)
    member.managed.kubectl("delete", "serviceaccount", "-n", INSTALL, names.AGENT_SERVICE_ACCOUNT)
    assert wait_until(
        lambda: _uid(member, "serviceaccount", names.AGENT_SERVICE_ACCOUNT) not in ("", uid), PATIENCE
    )
    assert _standing(member) == before


def _gone(member: Member) -> Callable[[], bool]:
    return lambda: all(not _uid(member, "serviceaccount", name) for name in NAMES)


def test_with_the_addon_all_accounts_go_without_a_manager_and_from_a_cluster_that_was_dead(
    member: Member, manager: Manager
) -> None:
    """Nothing holds the addon up: its object is gone at once, and the accounts when the cluster is back."""
    manager.stop()
    member.stop(signal.SIGKILL)
    member.fleet.hub.kubectl(
        *("delete", "managedclusteraddon", "-n", member.name, names.ADDON, "--wait=true", "--timeout=10s")
    )
    for work in (names.DEPLOY_WORK, names.IDENTITIES_WORK):
        found = member.fleet.get("manifestwork", work, member.name)
        assert found is None or kinds.WORK_FINALIZER in found["metadata"]["finalizers"]
    assert not _gone(member)()
    member.start()
    assert wait_until(_gone(member), PATIENCE), _standing(member)
