"""What `make deploy` gives kustomize, and what it says when the manager does not come up."""

from typing import Any

import pytest

from hack.deploy import kustomization, troubles


@pytest.mark.parametrize(
    ("image", "chosen"),
    [
        ("r.example.com/msa:v1", {"newName": "r.example.com/msa", "newTag": "v1"}),
        ("localhost:5000/msa", {"newName": "localhost:5000/msa", "newTag": "latest"}),
        ("localhost:5000/a/msa:v1", {"newName": "localhost:5000/a/msa", "newTag": "v1"}),
        ("r.example.com/msa@sha256:0f", {"newName": "r.example.com/msa", "digest": "sha256:0f"}),
        ("msa:v1", {"newName": "msa", "newTag": "v1"}),
    ],
)
def test_an_image_is_told_apart_into_name_and_version(image: str, chosen: dict[str, str]) -> None:
    (found,) = kustomization(image)["images"]
    assert found == {"name": "quay.io/open-cluster-management/managed-serviceaccount", **chosen}


_PULL = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
_UNREADY = {"type": "Ready", "status": "False", "reason": "ContainersNotReady"}
_UNSCHEDULED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (
            {"containerStatuses": [{"state": {"waiting": _PULL}}], "conditions": [_UNREADY]},
            "ImagePullBackOff Back-off pulling image",
        ),
        ({"conditions": [_UNSCHEDULED]}, "Unschedulable 0/3 nodes"),
        ({}, "no node has taken it yet"),
    ],
)
def test_a_pod_says_itself_why_it_is_not_ready(status: dict[str, Any], says: str) -> None:
    assert troubles({"metadata": {"name": "p"}, "status": status}) == [f"pod p: {says}"]


def test_a_ready_pod_has_nothing_to_say() -> None:
    ready = {"type": "Ready", "status": "True"}
    assert troubles({"metadata": {"name": "p"}, "status": {"conditions": [ready]}}) == []
