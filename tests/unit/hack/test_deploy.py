"""What `make deploy` gives kustomize, and what it says when the manager does not come up."""

import os
from typing import Any

import pytest
import yaml

from hack import binaries
from hack.deploy import Deployer, DeployError, confirmed, kustomization, troubles


@pytest.mark.parametrize(
    ("image", "chosen"),
    [
        ("r.example.com/msa:v1", {"newName": "r.example.com/msa", "newTag": "v1"}),
        ("localhost:5000/msa", {"newName": "localhost:5000/msa", "newTag": "latest"}),
        ("localhost:5000/a/msa:v1", {"newName": "localhost:5000/a/msa", "newTag": "v1"}),
        ("r.example.com/msa@sha256:0f", {"newName": "r.example.com/msa", "digest": "sha256:0f"}),
        ("msa:v1", {"newName": "msa", "newTag": "v1"}),
        ("foo:y", {"newName": "foo", "newTag": "y"}),
        ("localhost:5000/msa:v1@sha256:0f", {"newName": "localhost:5000/msa", "digest": "sha256:0f"}),
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


_NO_PROGRAM = 'exec: "/msa": stat /msa: no such file or directory'


@pytest.mark.parametrize(
    "status",
    [
        {"state": {"waiting": {"reason": "RunContainerError", "message": _NO_PROGRAM}}},
        {
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"reason": "StartError", "message": _NO_PROGRAM}},
        },
    ],
    ids=["at first", "later"],
)
def test_an_image_without_our_program_is_called_that(status: dict[str, Any]) -> None:
    said = troubles({"metadata": {"name": "p"}, "status": {"containerStatuses": [status]}})
    assert said[-1].startswith("pod p: the image has no /msa")
    assert any("no such file or directory" in text for text in said)


@pytest.mark.parametrize("tag", ["y", "N", "on", "1e3", "0x1f", "1.10", "2026-11-30", "null"])
def test_a_tag_stays_text_on_its_way_through_kustomize(tag: str) -> None:
    """Written as YAML without quotes, `y` is a boolean to kustomize."""
    manager = _deployed(f"foo:{tag}")
    assert manager["image"] == f"foo:{tag}"
    assert f"--agent-image-name=foo:{tag}" in manager["args"]


def _deployed(image: str) -> Any:
    places = binaries.Places.from_environment(os.environ)
    kubectl = binaries.provide(places, ("kubectl",))["kubectl"]
    objects = yaml.safe_load_all(Deployer((str(kubectl),)).rendered(image))
    (deployment,) = [item for item in objects if item["kind"] == "Deployment"]
    return deployment["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize(("answer", "goes_on"), [("y", True), ("Yes ", True), ("", False), ("n", False)])
def test_what_is_deleted_and_where_is_said_before_it_is_asked_for(
    answer: str, goes_on: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert confirmed("the CRD", "prod at https://hub:6443", {}, lambda _question: answer) is goes_on
    assert "This deletes the CRD.\nThe hub is prod at https://hub:6443." in capsys.readouterr().out


def test_yes_in_the_environment_answers() -> None:
    def never(question: str) -> str:
        raise AssertionError(question)

    assert confirmed("the CRD", "prod", {"YES": "1"}, never)


def test_where_nobody_can_answer_nothing_is_deleted() -> None:
    def nobody(_question: str) -> str:
        raise EOFError

    with pytest.raises(DeployError, match="set YES=1"):
        confirmed("the CRD", "prod", {}, nobody)
