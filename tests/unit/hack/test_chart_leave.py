"""The hook of `helm uninstall` as the chart renders it. That it works is shown on a hub: tests/integration/test_uninstall.py."""

from typing import Any

import pytest
import yaml

from hack.charts import BASES, HelmError, render
from tests.support.helm import needs_helm

pytestmark = needs_helm

_POLICIES = "before-hook-creation,hook-succeeded,hook-failed"


def _rendered(*flags: str) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(render(*flags, hooks=True)) if item]


def _hooks(*flags: str) -> list[dict[str, Any]]:
    return [
        item
        for item in _rendered(*flags)
        if item["metadata"].get("annotations", {}).get("helm.sh/hook") == "pre-delete"
    ]


def _one(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (item for item in objects if item["kind"] == kind)
    return found


def _pod(workload: dict[str, Any]) -> Any:
    return workload["spec"]["template"]["spec"]


def test_a_program_that_renders_the_chart_without_the_hub_is_given_no_job_that_deletes_the_addon() -> None:
    """Piped into `kubectl apply`, or by a GitOps tool, it would run at once, and all tokens of the fleet would be dead."""
    assert _hooks() == []
    assert not [item for item in _rendered() if item["kind"] == "Job"]


def test_it_can_be_left_out() -> None:
    assert _hooks("--set=leave.when=Never") == []


@pytest.mark.parametrize("mode", list(BASES))
def test_all_of_it_is_deleted_however_it_ends_and_the_job_comes_last(mode: str) -> None:
    hooks = _hooks("--set=leave.when=Always", f"--set=hubDeployMode={mode}")
    marks = [(item["kind"], item["metadata"]["annotations"]) for item in hooks]
    assert {kind for kind, _ in marks} == {
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "NetworkPolicy",
        "Job",
    }
    assert {mark["helm.sh/hook-delete-policy"] for _, mark in marks} == {_POLICIES}
    assert [kind for kind, mark in marks if int(mark["helm.sh/hook-weight"]) >= 0] == ["Job"]


def test_its_pod_is_like_the_managers() -> None:
    flags = ("--set=leave.when=Always", "--set=agentImagePullSecret=pull,resources.limits.memory=1Gi")
    objects = _rendered(*flags)
    job, manager = (_pod(_one(objects, kind)) for kind in ("Job", "Deployment"))
    assert job["imagePullSecrets"] == manager["imagePullSecrets"] == [{"name": "pull"}]
    assert job["securityContext"] == manager["securityContext"]
    own, its = job["containers"][0], manager["containers"][0]
    for field in ("image", "imagePullPolicy", "command", "env", "resources", "securityContext"):
        assert own[field] == its[field], field


def test_neither_the_service_nor_the_deployment_selects_its_pod_and_a_policy_closes_it() -> None:
    objects = _rendered("--set=leave.when=Always")
    labels = _one(objects, "Job")["spec"]["template"]["metadata"]["labels"]
    for selector in (
        _one(objects, "Service")["spec"]["selector"],
        _one(objects, "Deployment")["spec"]["selector"]["matchLabels"],
    ):
        assert not selector.items() <= labels.items()
    (policy,) = (
        item
        for item in objects
        if item["kind"] == "NetworkPolicy" and item["metadata"]["name"].endswith("-leave")
    )
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert "ingress" not in policy["spec"]
    assert "NetworkPolicy" not in {
        item["kind"] for item in _hooks("--set=leave.when=Always,networkPolicy.enabled=false")
    }


@pytest.mark.parametrize(
    ("flags", "seconds"),
    [((), 60), (("--set=leave.timeoutSeconds=null",), 60), (("--set=leave.timeoutSeconds=5",), 5)],
)
def test_it_is_tried_once_and_has_a_minute_more_than_it_waits(flags: tuple[str, ...], seconds: int) -> None:
    spec = _one(_hooks("--set=leave.when=Always", *flags), "Job")["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, seconds + 60)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["template"]["spec"]["containers"][0]["args"] == ["leave", f"--timeout={seconds}s"]


def test_it_ends_before_helm_itself_gives_up() -> None:
    """After 5 minutes, by default."""
    with pytest.raises(HelmError, match="timeoutSeconds"):
        render("--set=leave.timeoutSeconds=201")
