"""Credentials for ClusterProfiles: the manager by the chart's rights, on a real API server."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from hack.addon import MANIFESTS, ensure_namespace
from hack.charts import Release
from hack.clusters import running
from hack.ocm.fleet import Fleet
from hack.processes import wait_until
from msa.api import names
from tests.support.audit_log import AuditLog
from tests.support.chart_hub import body, get
from tests.support.manager import ACCOUNT
from tests.support.profiles_hub import MSA, OCM, PATIENCE, PROFILES, ProfilesHub, encoded

PUBLISH: Final = "--publish-access-providers"
QUIET_SECONDS: Final = 2.0
CRD: Final = Path(__file__).parents[2] / "hack/ocm/crds/clusterprofiles.yaml"

_AUDITED: Final = (
    {"level": "Metadata", "users": [ACCOUNT], "verbs": ["get", "create", "patch", "delete"]},
    {"level": "None"},
)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def hub(home: Path) -> Iterator[ProfilesHub]:
    log = AuditLog(home / "profiles.audit", _AUDITED)
    with running("profiles", home, extra=log.flags()) as cluster:
        Fleet(cluster).install()
        gate, access = "featureGates.clusterProfile", "clusterProfile.publishAccessProviders"
        Release(cluster).install(f"--set={gate}=true", f"--set={access}=true")
        yield ProfilesHub(cluster, log)


@pytest.fixture
def made(hub: ProfilesHub) -> Iterator[str]:
    """A cluster with an identity whose credential is beside its profile in namespace `argo`, and the manager running."""
    hub.accept("c1")
    hub.profile("argo", "c1")
    hub.identity("c1", "argocd", "one")
    with hub.managing():
        hub.wait_token("argo", "c1-argocd", "one")
        yield "c1-argocd"
    hub.kubectl("delete", MSA, "--all", "-n", "c1")
    hub.kubectl("delete", "secret", "--all", "-n", "argo")
    hub.kubectl("delete", PROFILES, "--all", "-n", "argo")


def test_a_copy_is_the_profiles_and_holds_what_its_source_holds(hub: ProfilesHub, made: str) -> None:
    copy, source = hub.secret("argo", made), hub.secret("c1", "argocd")
    assert copy["type"] == "Opaque"
    assert copy["data"] == source["data"]
    assert copy["metadata"]["labels"] == {
        names.LABEL_SYNCED_FROM: made,
        "authentication.open-cluster-management.io/is-managed-serviceaccount": "true",
    }
    assert copy["metadata"]["annotations"] == {
        names.ANNOTATION_LAST_REFRESH: "one",
        names.ANNOTATION_EXPIRATION: "later",
    }
    (owner,) = copy["metadata"]["ownerReferences"]
    assert owner == {
        "apiVersion": "multicluster.x-k8s.io/v1alpha1",
        "kind": "ClusterProfile",
        "name": "c1",
        "uid": hub.uid("argo", "c1"),
        "controller": True,
    }


def test_the_sample_asks_for_copies(hub: ProfilesHub, made: str) -> None:
    hub.kubectl("create", "-n", "c1", "-f", str(MANIFESTS / "samples/synced.yaml"))
    hub.renew("c1", "synced", "one")
    hub.wait_token("argo", "c1-synced", "one")


def test_a_new_copy_and_a_renewed_token_take_one_read_and_one_write_each(hub: ProfilesHub, made: str) -> None:
    log = hub.log.from_now()
    hub.profile("kueue", "c1")
    hub.wait_token("kueue", made, "one")
    _rest(hub, log)
    assert [item.what for item in hub.requests(log)] == ["get secrets", "create secrets"]
    log = hub.log.from_now()
    hub.renew("c1", "argocd", "two")
    for namespace in ("argo", "kueue"):
        hub.wait_token(namespace, made, "two")
    _rest(hub, log)
    assert [item.what for item in hub.requests(log)] == ["get secrets", "patch secrets", "patch secrets"]
    log = hub.log.from_now()
    hub.kubectl("delete", PROFILES, "c1", "-n", "kueue")
    hub.wait_token("kueue", made, "")
    _rest(hub, log)
    assert [item.what for item in hub.requests(log)] in (
        [],
        ["delete secrets"],
    )  # the garbage collector was first


def test_a_manager_that_starts_where_all_is_right_reads_and_writes_nothing(
    hub: ProfilesHub, made: str
) -> None:
    log = hub.log.from_now()
    with hub.managing() as replica:
        _rest(hub, log)
    assert hub.requests(log) == []
    assert "profile_secret" not in replica.log.read_text()


def _rest(hub: ProfilesHub, log: AuditLog) -> None:
    """Nothing is asked for some seconds."""
    while (seen := len(log.lines())) >= 0 and wait_until(
        lambda: len(log.lines()) != seen, QUIET_SECONDS, 0.2
    ):
        pass


@pytest.mark.parametrize(
    ("where", "changes"),
    [
        ((MSA, "c1", "argocd"), {"metadata": {"labels": None}}),
        ((MSA, "c1", "argocd"), {"metadata": {"labels": {names.LABEL_SYNC_TO_PROFILE: "false"}}}),
        (("managedcluster", "default", "c1"), {"spec": {"hubAcceptsClient": False}}),
        ((PROFILES, "argo", "c1"), {"metadata": {"labels": {"x-k8s.io/cluster-manager": "somebody"}}}),
    ],
)
def test_a_copy_goes_when_it_is_asked_for_no_more_and_comes_back_when_it_is(
    hub: ProfilesHub, made: str, where: tuple[str, str, str], changes: Any
) -> None:
    hub.patch(*where, changes)
    hub.wait_token("argo", made, "")
    hub.accept("c1")
    hub.profile("argo", "c1")
    hub.identity("c1", "argocd", "one")
    hub.wait_token("argo", made, "one")


def test_a_copy_goes_with_its_identity(hub: ProfilesHub, made: str) -> None:
    hub.kubectl("delete", MSA, "argocd", "-n", "c1")
    hub.wait_token("argo", made, "")


def test_a_copy_goes_with_its_profile_though_no_manager_runs(hub: ProfilesHub) -> None:
    hub.accept("c1")
    hub.profile("orphaned", "c1")
    hub.identity("c1", "argocd", "one")
    with hub.managing():
        hub.wait_token("orphaned", "c1-argocd", "one")
    hub.kubectl("delete", PROFILES, "c1", "-n", "orphaned")
    hub.wait_token("orphaned", "c1-argocd", "")


def test_what_was_missed_while_no_manager_ran_is_made_up_for_and_most_deletions_wait_for_a_persons_word(
    hub: ProfilesHub,
) -> None:
    """Nobody saw the deletions: they may be the work of a hub that was restored without them."""
    gone = [f"gone-{number}" for number in range(6)]
    hub.accept("c1")
    hub.profile("missed", "c1")
    for name in (*gone, "renewed"):
        hub.identity("c1", name, "one")
    with hub.managing():
        for name in (*gone, "renewed"):
            hub.wait_token("missed", f"c1-{name}", "one")
    hub.kubectl("delete", MSA, *gone, "-n", "c1")
    hub.renew("c1", "renewed", "two")
    with hub.managing() as replica:
        hub.wait_token("missed", "c1-renewed", "two")
        assert wait_until(lambda: _held(hub) == ["Warning"], PATIENCE, 0.2)
        assert replica.value("msa_profile_removals_held", kind="copy") > 0
        assert all(hub.secret("missed", f"c1-{name}") is not None for name in gone)
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        hub.kubectl("annotate", PROFILES, "c1", "-n", "missed", f"{names.ANNOTATION_RELEASE}={at}")
        assert wait_until(
            lambda: all(hub.secret("missed", f"c1-{name}") is None for name in gone), 60 + PATIENCE, 1.0
        )
    assert hub.token("missed", "c1-renewed") == encoded("two")


def _held(hub: ProfilesHub) -> list[str]:
    return [item["type"] for item in hub.events("missed", "c1") if item["reason"] == "RemovalHeld"]


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"token": encoded("other")}},
        {"data": {"token": None}},
        {"data": {"more": encoded("more")}},
        {"data": None},
        {"metadata": {"labels": {names.LABEL_SYNCED_FROM: "other", names.LABEL_MANAGED: None}}},
        {"metadata": {"annotations": None}},
        {"immutable": True},
    ],
    ids=str,
)
def test_what_somebody_altered_in_a_copy_is_put_right(hub: ProfilesHub, made: str, changes: Any) -> None:
    before = hub.secret("argo", made)
    hub.patch("secret", "argo", made, changes)

    def right() -> bool:
        now = hub.secret("argo", made) or {"metadata": {}}
        same = ("labels", "annotations", "ownerReferences")
        return (
            now.get("data") == before["data"]
            and not now.get("immutable")
            and all(now["metadata"].get(part) == before["metadata"].get(part) for part in same)
        )

    assert wait_until(right, PATIENCE, 0.1), hub.secret("argo", made)


def test_a_deleted_copy_is_made_anew(hub: ProfilesHub, made: str) -> None:
    hub.kubectl("delete", "secret", "-n", "argo", made)
    hub.wait_token("argo", made, "one")


def test_a_copy_of_a_type_that_cannot_be_changed_is_made_anew(hub: ProfilesHub, made: str) -> None:
    hub.profile("typed", "c1", manager="somebody")
    copy = hub.secret("argo", made)
    owner = copy["metadata"]["ownerReferences"][0] | {"uid": hub.uid("typed", "c1")}
    odd = body("v1", "Secret", made, "typed", type="example.com/odd", data={"token": "eA=="})
    odd["metadata"] |= {"labels": copy["metadata"]["labels"], "ownerReferences": [owner]}
    hub.kubectl("create", "-f", "-", stdin=json.dumps(odd))
    hub.kubectl("label", "--overwrite", PROFILES, "c1", "-n", "typed", f"x-k8s.io/cluster-manager={OCM}")
    hub.wait_token("typed", made, "one")
    assert hub.secret("typed", made)["type"] == "Opaque"


def test_marks_of_others_on_a_copy_survive_a_renewed_token(hub: ProfilesHub, made: str) -> None:
    hub.patch("secret", "argo", made, {"metadata": {"labels": {"x": "y"}, "annotations": {"x": "y"}}})
    hub.renew("c1", "argocd", "two")
    hub.wait_token("argo", made, "two")
    metadata = hub.secret("argo", made)["metadata"]
    assert (metadata["labels"]["x"], metadata["annotations"]["x"]) == ("y", "y")


def test_while_the_agent_repairs_a_secret_the_copies_stay(hub: ProfilesHub, made: str) -> None:
    log = hub.log.from_now()
    hub.kubectl("delete", "secret", "argocd", "-n", "c1")
    _rest(hub, log)
    assert hub.token("argo", made) == encoded("one")
    hub.renew("c1", "argocd", "two")
    hub.wait_token("argo", made, "two")


def test_a_secret_that_somebody_claims_to_be_the_agents_is_not_copied(hub: ProfilesHub, made: str) -> None:
    hub.patch("secret", "c1", "argocd", {"metadata": {"ownerReferences": None}, "data": {"token": "eA=="}})
    log = hub.log.from_now()
    _rest(hub, log)
    assert hub.token("argo", made) == encoded("one")
    assert hub.requests(log) == []


def test_a_foreign_secret_is_left_alone_and_told_once_until_it_is_gone(hub: ProfilesHub, made: str) -> None:
    hub.accept("c2")
    ensure_namespace(hub.cluster, "argo")
    hub.kubectl("create", "secret", "generic", "c2-argocd", "-n", "argo", "--from-literal=token=theirs")
    hub.profile("argo", "c2")
    hub.identity("c2", "argocd", "two")
    assert wait_until(lambda: hub.events("c2", "argocd") != [], PATIENCE, 0.1)
    log = hub.log.from_now()
    _rest(hub, log)
    assert hub.requests(log) == [], "no hot loop"
    (event,) = hub.events("c2", "argocd")
    assert (event["type"], event["reason"], event["count"]) == ("Warning", "ProfileSecretConflict", 1)
    assert "Secret argo/c2-argocd" in event["message"]
    assert "delete or rename it" in event["message"]
    assert event["involvedObject"]["kind"] == "ManagedServiceAccount"
    assert hub.token("argo", "c2-argocd") == encoded("theirs")
    hub.kubectl("delete", "secret", "-n", "argo", "c2-argocd")
    hub.kubectl("label", MSA, "-n", "c2", "argocd", "look=again")
    hub.wait_token("argo", "c2-argocd", "two")


def test_of_two_identities_whose_copies_have_one_name_the_first_is_copied(
    hub: ProfilesHub, made: str
) -> None:
    for cluster, name in (("a-b", "c"), ("a", "b-c")):
        hub.accept(cluster)
        hub.profile("argo", cluster)
        hub.identity(cluster, name, f"{cluster}/{name}")
        assert wait_until(lambda: hub.secret("argo", "a-b-c") is not None, PATIENCE, 0.1)
    assert wait_until(lambda: hub.events("a", "b-c") != [], PATIENCE, 0.1)
    assert "ManagedServiceAccount a-b/c" in hub.events("a", "b-c")[0]["message"]
    assert hub.token("argo", "a-b-c") == encoded("a-b/c")


def _refusals(hub: ProfilesHub) -> list[Any]:
    status = get(hub.cluster, MSA, "-n", "c1", "argocd").get("status", {})
    return [item for item in status.get("conditions", ()) if item["type"] == "ClusterProfileCopyRefused"]


def test_a_tenant_who_may_only_create_profiles_gets_no_token_and_the_identity_says_so(
    hub: ProfilesHub, made: str
) -> None:
    hub.profile("tenant", "c1", bound=False)
    assert wait_until(lambda: len(_refusals(hub)) == 1, PATIENCE, 0.1)
    (said,) = _refusals(hub)
    assert (said["status"], said["reason"]) == ("True", "ProfileNamespaceNotBound")
    assert "clusteradm clusterset bind SET --namespace tenant" in said["message"]
    assert hub.secret("tenant", made) is None
    hub.bind("tenant")
    hub.wait_token("tenant", made, "one")
    assert wait_until(lambda: _refusals(hub) == [], PATIENCE, 0.1)
    hub.kubectl("delete", "managedclustersetbinding", "every", "-n", "tenant")
    hub.wait_token("tenant", made, "")
    hub.kubectl("delete", PROFILES, "c1", "-n", "tenant")


def test_a_token_that_can_be_used_no_more_is_not_copied(hub: ProfilesHub, made: str) -> None:
    said = {"type": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    for status, reason, token in (("False", "TokenExpired", ""), ("True", "TokenFresh", "one")):
        conditions = [{**said, "status": status, "reason": reason}]
        hub.patch(MSA, "c1", "argocd", {"status": {"conditions": conditions}}, "--subresource=status")
        hub.wait_token("argo", made, token)


def test_thousands_of_hostile_profiles_cost_others_nothing(hub: ProfilesHub, made: str) -> None:
    ensure_namespace(hub.cluster, "hostile")
    many = [body("multicluster.x-k8s.io/v1alpha1", "ClusterProfile", "c1", "hostile")]
    many += [
        body("multicluster.x-k8s.io/v1alpha1", "ClusterProfile", f"x{n}", "hostile") for n in range(2000)
    ]
    for item in many:
        name = item["metadata"]["name"]
        item["metadata"]["labels"] = {
            "x-k8s.io/cluster-manager": OCM,
            "open-cluster-management.io/cluster-name": name,
        }
        item["spec"] = {"clusterManager": {"name": OCM}}
    log = hub.log.from_now()
    hub.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": many}))
    hub.renew("c1", "argocd", "two")
    hub.wait_token("argo", made, "two")
    _rest(hub, log)
    asked = [item.what for item in hub.requests(log)]
    assert asked.count("get secrets") == 1
    assert set(asked) == {"get secrets", "patch secrets"}, "no copy is created"
    hub.kubectl("delete", PROFILES, "c1", "-n", "hostile")


def test_a_name_that_is_too_long_is_told(hub: ProfilesHub, made: str) -> None:
    hub.identity("c1", "m" * 61, "long")
    assert wait_until(lambda: hub.events("c1", "m" * 61) != [], PATIENCE, 0.1)
    assert hub.events("c1", "m" * 61)[0]["reason"] == "ProfileSecretNameTooLong"


def test_a_namespace_that_is_deleted_goes_without_a_warning(hub: ProfilesHub, made: str) -> None:
    for number in range(12):
        hub.accept(f"many{number}")
        hub.identity(f"many{number}", "argocd", "one")
        hub.profile("ending", f"many{number}")
    with hub.managing() as replica:
        for number in range(12):
            hub.wait_token("ending", f"many{number}-argocd", "one")
        hub.kubectl("delete", "namespace", "ending", "--timeout=60s")
    assert '"level":"warning"' not in replica.log.read_text()


def test_a_copy_that_can_be_made_no_more_in_such_a_namespace_is_tried_once(
    hub: ProfilesHub, made: str
) -> None:
    """Nobody empties the namespace meanwhile."""
    hub.profile("stuck", "c1")
    emptying = hub.cluster.process("controller-manager")
    with hub.managing() as replica:
        hub.wait_token("stuck", made, "one")
        emptying.send(signal.SIGSTOP)
        try:
            hub.kubectl("delete", "namespace", "stuck", "--wait=false")
            log = hub.log.from_now()
            hub.kubectl("delete", "secret", made, "-n", "stuck")
            _rest(hub, log)
        finally:
            emptying.send(signal.SIGCONT)
        refused = [item for item in hub.requests(log) if item.what == "create secrets"]
        assert {item.code for item in refused} == {403}
        assert len(refused) == 2, "once by each of the two managers"
    assert '"level":"warning"' not in replica.log.read_text()


def test_profiles_of_a_kind_that_comes_later_get_their_copies_without_a_restart(hub: ProfilesHub) -> None:
    hub.accept("c1")
    hub.identity("c1", "argocd", "one")
    hub.kubectl("delete", "crd", PROFILES)
    with hub.managing():
        log = hub.log.from_now()
        _rest(hub, log)
        assert hub.requests(log) == []
        hub.kubectl("apply", "--server-side", "-f", str(CRD))
        hub.kubectl("wait", "--for=condition=Established", "crd", PROFILES, "--timeout=30s")
        hub.profile("later", "c1")
        wanted = encoded("one")
        assert wait_until(lambda: hub.token("later", "c1-argocd") == wanted, 60.0, 0.2)


SERVER: Final = "https://c1.example.com:6443"
CONFIGS: Final = {"managedClusterClientConfigs": [{"url": SERVER, "caBundle": encoded("ca")}]}


def test_a_profile_says_how_its_cluster_is_reached_and_cp_creds_finds_the_token_there(
    hub: ProfilesHub,
) -> None:
    hub.accept("c1", **CONFIGS)
    hub.profile("access", "c1")
    hub.identity("c1", "argocd", "one")
    with hub.managing(PUBLISH):
        assert wait_until(lambda: bool(hub.providers("access", "c1")), PATIENCE, 0.1)
        (provider,) = hub.providers("access", "c1")
        assert provider["name"] == OCM
        cluster = provider["cluster"]
        assert (cluster["server"], cluster["certificate-authority-data"]) == (SERVER, encoded("ca"))
        (extension,) = cluster["extensions"]
        hub.wait_token("access", "c1-argocd", "one")
        info = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            "spec": {"interactive": False, "cluster": {"server": SERVER, "config": extension["extension"]}},
        }
        environment = {
            **os.environ,
            "KUBERNETES_EXEC_INFO": json.dumps(info),
            "KUBECONFIG": str(hub.cluster.kubeconfig),
            "NAMESPACE": "access",
        }
        program = "from msa.cli.cp_creds import main; main()"
        command = [sys.executable, "-c", program, "--managed-serviceaccount=argocd"]
        answer = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=30, check=True
        )
        assert json.loads(answer.stdout)["status"]["token"] == "one"
        _follows_the_cluster(hub)


def _follows_the_cluster(hub: ProfilesHub) -> None:
    moved = {"managedClusterClientConfigs": [{"url": "https://elsewhere:6443"}]}
    hub.patch("managedcluster", "default", "c1", {"spec": moved})
    assert wait_until(
        lambda: bool(hub.providers("access", "c1")[0]["cluster"]["server"] == "https://elsewhere:6443"),
        PATIENCE,
        0.1,
    )
    hub.patch("managedcluster", "default", "c1", {"spec": {"managedClusterClientConfigs": None}})
    assert wait_until(lambda: not hub.providers("access", "c1"), PATIENCE, 0.1)


def test_providers_that_somebody_else_wrote_are_not_touched_even_those_of_our_name(hub: ProfilesHub) -> None:
    hub.accept("c1", **CONFIGS)
    theirs = [{"name": OCM, "cluster": {"server": "https://theirs:6443"}}]
    hub.profile("theirs", "c1")
    hub.patch(PROFILES, "theirs", "c1", {"status": {"accessProviders": theirs}}, "--subresource=status")
    hub.profile("ours", "c1")
    with hub.managing(PUBLISH):
        assert wait_until(lambda: bool(hub.providers("ours", "c1")), PATIENCE, 0.1)
        log = hub.log.from_now()
        hub.patch(PROFILES, "ours", "c1", {"status": {"accessProviders": theirs}}, "--subresource=status")
        _rest(hub, log)
        assert hub.requests(log) == []
        assert hub.providers("theirs", "c1") == hub.providers("ours", "c1") == theirs


def test_where_it_is_not_asked_for_no_access_is_published(hub: ProfilesHub, made: str) -> None:
    hub.accept("c1", **CONFIGS)
    log = hub.log.from_now()
    _rest(hub, log)
    assert not hub.providers("argo", "c1")
