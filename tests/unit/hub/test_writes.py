"""What is sent to the hub, to the letter."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import pytest
from attrs import define, field
from msgspec.structs import replace

from msa.api.addon import AddonStatus, StoredClusterAddOn, Subject
from msa.api.meta import Condition, ObjectMeta
from msa.hub import bodies
from msa.hub.objects import Objects
from msa.hub.ports import Kind
from msa.hub.writes import HubWrites
from msa.policy import addon_status
from msa.policy.addon_status import Findings
from msa.runtime.errors import ApiError, Conflict, Forbidden, NotFound
from msa.runtime.ports import Page
from tests.support.candidates import candidate
from tests.support.fleet import addon, fleet_addon, with_
from tests.support.sent import Sent

R = TypeVar("R")
STORED = ObjectMeta(
    name="managed-serviceaccount-addon-agent",
    namespace="c1",
    uid="role-uid",
    resource_version="7",
    labels={"team": "a", "open-cluster-management.io/addon-name": "other"},
    annotations={"note": "b"},
)
BINDING = bodies.role_binding(addon(), Subject("a"))


@define
class Listing:
    """As much of a `ListWatch` as is asked."""

    items: tuple[Any, ...]

    async def list(self, *, limit: int) -> Page[Any]:
        return Page(self.items[:limit], "9")


@define
class Server:
    now: Callable[[], datetime]
    requests: list[Any] = field(factory=list)
    error: ApiError | None = None
    listed: dict[str, tuple[Any, ...]] = field(factory=dict)

    @property
    def writes(self) -> HubWrites:
        kinds: dict[Kind, Objects] = {kind: self._resource(kind.value) for kind in Kind}
        addons, fleet, requests = (self._resource(name) for name in ("addons", "fleet", "requests"))
        return HubWrites(kinds, addons, fleet, requests, self._listed, self.now)

    def _listed(self, namespace: str) -> Any:
        return Listing(self.listed.get(namespace, ()))

    def _resource(self, name: str) -> Sent:
        return Sent(name, self.requests, self.error)


@pytest.fixture
def server(now: Callable[[], datetime]) -> Server:
    return Server(now)


async def test_an_object_is_created_in_its_clusters_namespace(server: Server) -> None:
    assert await server.writes.create(Kind.ROLE_BINDING, BINDING) == "8"
    ((name, namespace, verb, body),) = server.requests
    assert (name, namespace, verb) == ("RoleBinding", "c1", "create")
    assert body["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "addon.open-cluster-management.io/v1alpha1",
            "kind": "ManagedClusterAddOn",
            "name": "managed-serviceaccount",
            "uid": "c1-addon-uid",
        }
    ]
    assert body["metadata"]["labels"] == {"open-cluster-management.io/addon-name": "managed-serviceaccount"}


async def test_an_object_is_rewritten_in_whole_at_the_version_that_was_read_and_foreign_marks_stay(
    server: Server,
) -> None:
    assert await server.writes.rewrite(Kind.ROLE_BINDING, STORED, BINDING) == "8"
    ((name, namespace, verb, stored, operations),) = server.requests
    assert (name, namespace, verb, stored) == ("RoleBinding", "c1", "json patch", STORED.name)
    assert {operation["op"] for operation in operations} == {"add"}
    sent = {operation["path"]: operation["value"] for operation in operations}
    assert sent.keys() == {
        "/metadata/resourceVersion",
        "/metadata/labels/open-cluster-management.io~1addon-name",
        "/metadata/ownerReferences",
        "/roleRef",
        "/subjects",
    }
    assert sent["/metadata/resourceVersion"] == "7"
    assert sent["/metadata/labels/open-cluster-management.io~1addon-name"] == "managed-serviceaccount"
    assert sent["/subjects"] == json.loads(msgspec.json.encode(BINDING["subjects"]))


async def test_a_work_is_rewritten_with_its_spec_and_its_annotations(server: Server) -> None:
    body = {
        "metadata": {**BINDING["metadata"], "annotations": {"hash": "h"}},
        "kind": "ManifestWork",
        "spec": {"workload": {}},
    }
    await server.writes.rewrite(Kind.WORK, STORED, body)
    sent = {operation["path"]: operation["value"] for operation in server.requests[0][-1]}
    assert sent["/metadata/annotations/hash"] == "h"
    assert sent["/spec"] == {"workload": {}}
    assert "/kind" not in sent


async def test_an_object_without_labels_and_annotations_gets_ours(server: Server) -> None:
    await server.writes.rewrite(Kind.ROLE_BINDING, replace(STORED, labels=None, annotations=None), BINDING)
    sent = {operation["path"]: operation["value"] for operation in server.requests[0][-1]}
    assert sent["/metadata/labels"] == BINDING["metadata"]["labels"]
    assert "/metadata/annotations" not in sent


async def test_the_binding_is_of_our_role_and_names_the_user_alone(server: Server) -> None:
    await server.writes.create(Kind.ROLE_BINDING, bodies.role_binding(addon(), Subject("u", ("g",))))
    body = server.requests[0][-1]
    group = "rbac.authorization.k8s.io"
    assert body["roleRef"] == {"apiGroup": group, "kind": "ClusterRole", "name": STORED.name}
    assert body["subjects"] == [{"kind": "User", "apiGroup": group, "name": "u"}]


async def test_a_deletion_names_the_very_object(server: Server) -> None:
    assert await server.writes.delete(Kind.ROLE_BINDING, STORED)
    assert server.requests == [["RoleBinding", "c1", "delete", STORED.name, "role-uid"]]


@pytest.mark.parametrize("error", [NotFound("gone"), Conflict("another has its name")])
async def test_what_is_gone_already_needs_no_deletion(server: Server, error: ApiError) -> None:
    server.error = error
    assert not await server.writes.delete(Kind.ROLE_BINDING, STORED)


async def test_a_deletion_that_the_hub_refuses_is_a_failure(server: Server) -> None:
    server.error = Forbidden("no")
    with pytest.raises(Forbidden):
        await server.writes.delete(Kind.ROLE_BINDING, STORED)


async def test_an_addon_is_read_whole_by_a_list_since_the_manager_may_get_none(server: Server) -> None:
    many = AddonStatus(conditions=tuple(Condition(f"C{number}", "True", "R") for number in range(40)))
    stored = StoredClusterAddOn(addon().metadata, status=msgspec.Raw(msgspec.json.encode(many)))
    assert await server.writes.whole_addon(addon()) is None
    server.listed["c1"] = (stored,)
    found = await server.writes.whole_addon(addon())
    assert found is not None
    assert (found.status, found.abridged) == (many, False)


@pytest.mark.parametrize(
    ("version", "registration"),
    [
        ("v1alpha1", {"signerName": "kubernetes.io/kube-apiserver-client"}),
        ("v1beta1", {"type": "kubeClient"}),
    ],
)
async def test_a_status_carries_the_version_that_was_read_and_only_what_changed(
    server: Server, version: str, registration: dict[str, Any]
) -> None:
    stored = with_(addon(), resource_version="7")
    wanted = addon_status.wanted(stored, Findings("agents", None, (), None, None), version, server.now())
    assert await server.writes.patch_addon_status(stored, addon_status.changes(stored.status, wanted)) == "8"
    (request,) = server.requests
    *where, body = request
    assert where == ["addons", "c1", "patch", "managed-serviceaccount", "status"]
    assert body.keys() == {"metadata", "status"}
    assert body["metadata"] == {"resourceVersion": "7"}
    status = body["status"]
    assert status.keys() == {"conditions", "healthCheck", "namespace", "registrations", "supportedConfigs"}
    assert status["conditions"][0]["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    (registered,) = status["registrations"]
    assert registration.items() <= registered.items()
    subject = registered["subject"] if version == "v1alpha1" else registered["kubeClient"]["subject"]
    assert subject["user"].endswith(":cluster:c1:addon:managed-serviceaccount:agent:addon-agent")
    assert status["supportedConfigs"] == [
        {"group": "addon.open-cluster-management.io", "resource": "addondeploymentconfigs"}
    ]


async def test_the_fleets_status_carries_the_version_that_was_read(server: Server) -> None:
    await server.writes.patch_fleet_status(with_(fleet_addon(), resource_version="7"), {"a": 1})
    body = {"metadata": {"resourceVersion": "7"}, "status": {"a": 1}}
    assert server.requests == [["fleet", "", "patch", "managed-serviceaccount", "status", body]]


async def test_an_approval_is_one_of_the_request_as_it_was_read(server: Server) -> None:
    request = with_(candidate().request, resource_version="7")
    await server.writes.approve(request)
    (*where, body) = server.requests[0]
    assert where == ["requests", "", "patch", request.metadata.name, "approval"]
    assert body["metadata"] == {"resourceVersion": "7"}
    (condition,) = body["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Approved", "True")
    assert condition["reason"]
    assert condition["lastUpdateTime"] == condition["lastTransitionTime"] == "2026-01-01T00:00:00Z"
