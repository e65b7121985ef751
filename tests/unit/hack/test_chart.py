"""The chart as it renders, without a hub. `make helm` provides helm; CI insists on it."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

import msa
from hack import binaries, charts
from hack.charts import BASES, GOLDEN, HelmError, helm, render
from hack.generate import CHART
from msa.api import names
from msa.hub import render as hub_render
from tests.support.helm import needs_helm

pytestmark = needs_helm

_OVERLAYS = CHART.parents[1] / "overlays"
_DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
_SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())


def _objects(text: str) -> dict[tuple[str, str], Any]:
    """By kind and name."""
    found = [item for item in yaml.safe_load_all(text) if item]
    return {(item["kind"], item["metadata"]["name"]): item for item in found}


def _leaves(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, part in schema.get("properties", {}).items():
        if part.get("deprecated"):
            continue
        yield f"{path}{name}", part
        yield from _leaves(part, f"{path}{name}.")


def test_helm_lint_has_nothing_to_say_against_the_chart() -> None:
    assert helm("lint", "--strict", "--quiet", str(CHART)).strip() == ""


def test_the_chart_renders_what_it_rendered_before() -> None:
    """`make manifests` renders it anew; what changed is then in the diff of the commit."""
    stale = {path.name for path, text in charts.wanted().items() if path.read_text() != text}
    assert stale == set()


def test_nothing_rendered_before_is_left_of_what_is_rendered_no_more() -> None:
    kept = {path for path in GOLDEN.rglob("*") if path.is_file()} | set(BASES.values())
    assert kept == set(charts.wanted())


def test_the_chart_has_the_version_of_the_programs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == msa.__version__


def test_every_value_is_in_the_schema_and_explained() -> None:
    described = dict(_leaves(_SCHEMA))
    assert [path for path, part in described.items() if not part.get("description", "").endswith(".")] == []
    given = {path for path in _paths(_DEFAULTS) if not path.startswith("resources.")}
    assert given == set(described)


def _paths(values: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{path}{name}"
        if isinstance(value, dict):
            yield from _paths(value, f"{path}{name}.")


def test_every_value_is_in_the_readme_with_its_default() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| `(.*?)` \|", (CHART / "README.md").read_text(), re.MULTILINE)
    leaves = {path for path in _paths(_DEFAULTS) if not isinstance(_value(path), dict) or not _value(path)}
    assert {name: yaml.safe_load(default) for name, default in rows} == {
        path: _value(path) for path in leaves if not path.startswith("resources.")
    } | {"resources": _DEFAULTS["resources"]}


def _value(path: str) -> Any:
    value: Any = _DEFAULTS
    for part in path.split("."):
        value = value[part]
    return value


def test_the_contracts_values_have_the_contracts_defaults() -> None:
    expected = {"replicas": 1, "agentInstallAll": True, "targetCluster": "", "hubDeployMode": "Deployment"}
    assert expected.items() <= _DEFAULTS.items()
    assert _DEFAULTS["image"] == names.IMAGE
    assert _DEFAULTS["featureGates"] == {"ephemeralIdentity": False, "clusterProfile": False}


def test_values_of_an_older_chart_are_enough() -> None:
    """As `helm upgrade --reuse-values` brings them; what is on by default is on."""
    unknown = ("resources", "crds", "admissionPolicy", "networkPolicy", "featureGates", "prometheus", "leave")
    objects = _objects(render(*(f"--set={name}=null" for name in unknown)))
    assert ("ValidatingAdmissionPolicy", "managed-serviceaccount-addon-agent") in objects
    assert ("NetworkPolicy", "managed-serviceaccount-addon-manager") in objects
    assert "ServiceMonitor" not in {kind for kind, _ in objects}


def test_a_hub_without_admission_policies_is_given_none() -> None:
    kinds = {kind for kind, _ in _objects(render(served=()))}
    assert not {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"} & kinds


@pytest.mark.parametrize(
    ("tag", "image"),
    [
        ("", f"{names.IMAGE}:{names.TAG_PREFIX}{msa.__version__}"),
        ("msa-v2", f"{names.IMAGE}:msa-v2"),
        (f"sha256:{'a' * 64}", f"{names.IMAGE}@sha256:{'a' * 64}"),
    ],
)
def test_manager_and_agents_have_one_image(tag: str, image: str) -> None:
    for mode in BASES:
        text = render(f"--set=hubDeployMode={mode}", f"--set-string=tag={tag}")
        (container,) = _objects(text)["Deployment", "managed-serviceaccount-addon-manager"]["spec"][
            "template"
        ]["spec"]["containers"]
        assert container["image"] == image
        assert f"--agent-image-name={image}" in container["args"]
        assert text.count(image) == 2 + (mode == "AddOnTemplate")


@pytest.mark.parametrize("tag", ["latest", "v0.10.0", "v0.1.0"])
def test_an_image_of_the_go_addon_is_refused_before_anything_is_installed(tag: str) -> None:
    """As a values file for the Go addon's chart names it."""
    with pytest.raises(HelmError, match=f"tag: {names.IMAGE}:{tag} is an image of the Go addon"):
        render(f"--set-string=tag={tag}")


@pytest.mark.parametrize("ephemeral", [False, True])
def test_the_addon_template_deploys_the_agent_that_the_manager_deploys(ephemeral: bool) -> None:
    flags = [
        "--set=hubDeployMode=AddOnTemplate,tag=msa-v1",
        f"--set=featureGates.ephemeralIdentity={str(ephemeral).lower()}",
    ]
    template = _objects(render(*flags))["AddOnTemplate", "managed-serviceaccount-addon"]
    values = {"CLUSTER_NAME": "{{CLUSTER_NAME}}", "INSTALL_NAMESPACE": names.DEFAULT_INSTALL_NAMESPACE}
    values |= {"AGENT_IMAGE": f"{names.IMAGE}:msa-v1", "EPHEMERAL_IDENTITY": str(ephemeral).lower()}
    assert template["spec"]["agentSpec"]["workload"]["manifests"] == hub_render.agent_objects(values)


def test_the_addon_template_names_its_objects_in_full() -> None:
    """The API server checks them as objects, which OCM's variables are no part of yet."""
    template = _objects(render("--set=hubDeployMode=AddOnTemplate"))[
        "AddOnTemplate", "managed-serviceaccount-addon"
    ]
    manifests = template["spec"]["agentSpec"]["workload"]["manifests"]
    assert [item["metadata"] for item in manifests if "{{" in json.dumps(item["metadata"])] == []


@pytest.mark.parametrize(
    ("folder", "flags"),
    [
        (CHART.parents[1] / "default", []),
        (_OVERLAYS / "addontemplate", ["--set=hubDeployMode=AddOnTemplate"]),
        (_OVERLAYS / "highly-available", ["--set=replicas=2"]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_kustomize_renders_what_the_chart_renders(folder: Any, flags: list[str]) -> None:
    kubectl = binaries.provide(binaries.Places.from_environment(os.environ), ("kubectl",))["kubectl"]
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=True)
    assert _objects(done.stdout) == _objects(render(*flags))


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("--set-json=replicas=1.5", "replicas"),
        ("--set=replicas=0", "replicas"),
        ("--set=hubDeployMode=x", "hubDeployMode"),
        ("--set=prometheus.enabled=1", "prometheus"),
        ('--set=image=a"b', "image"),
        ("--set=crds.x=1", "crds"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_its_name(flag: str, name: str) -> None:
    with pytest.raises(HelmError, match=name):
        render(flag)


_MANAGER = ("Deployment", "managed-serviceaccount-addon-manager")


def test_one_replica_ends_before_the_next_begins_and_several_take_turns() -> None:
    strategies = [
        _objects(render(f"--set=replicas={replicas}"))[_MANAGER]["spec"]["strategy"] for replicas in (1, 2)
    ]
    assert strategies == [{"type": "Recreate"}, {"type": "RollingUpdate"}]


def test_the_deployments_selector_is_that_of_the_go_addons_chart() -> None:
    """It cannot be changed, so either chart must be able to upgrade what the other installed."""
    objects = _objects(render("--set=replicas=2"))
    selector = {"open-cluster-management.io/addon": "managed-serviceaccount"}
    assert objects[_MANAGER]["spec"]["selector"]["matchLabels"] == selector
    template = _objects(render("--set=hubDeployMode=AddOnTemplate"))[
        "AddOnTemplate", "managed-serviceaccount-addon"
    ]
    (agent,) = [
        item
        for item in template["spec"]["agentSpec"]["workload"]["manifests"]
        if item["kind"] == "Deployment"
    ]
    assert agent["spec"]["selector"]["matchLabels"] == {"addon-agent": "managed-serviceaccount"}
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        spec = next(item["spec"] for (found, _), item in objects.items() if found == kind)
        chosen = spec["selector"] if kind != "NetworkPolicy" else spec["podSelector"]
        assert chosen.get("matchLabels", chosen) == selector


def test_the_target_clusters_agent_is_installed_where_the_go_addons_chart_installs_it() -> None:
    """Without a cluster to look at, too: GitOps renders the chart so."""
    addon = _objects(render("--set=agentInstallAll=false,targetCluster=c1"))[
        "ManagedClusterAddOn", names.ADDON
    ]
    assert addon["metadata"]["namespace"] == "c1"
    assert addon["spec"] == {"installNamespace": "open-cluster-management-managed-serviceaccount"}


def test_what_ocm_goes_by_stays_when_the_release_goes() -> None:
    objects = _objects(render("--set=targetCluster=c1"))
    for kind, name in (
        ("ManagedClusterSetBinding", "global"),
        ("Placement", "global"),
        ("ManagedClusterAddOn", names.ADDON),
    ):
        assert objects[kind, name]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


@pytest.mark.parametrize(("secret", "named"), [("", None), ("pull", [{"name": names.PULL_SECRET}])])
def test_a_templates_agent_names_a_pull_secret_only_where_one_is_configured(secret: str, named: Any) -> None:
    objects = _objects(render("--set=hubDeployMode=AddOnTemplate", f"--set=agentImagePullSecret={secret}"))
    manifests = objects["AddOnTemplate", "managed-serviceaccount-addon"]["spec"]["agentSpec"]["workload"][
        "manifests"
    ]
    (pod,) = [item["spec"]["template"]["spec"] for item in manifests if item["kind"] == "Deployment"]
    assert pod.get("imagePullSecrets") == named


def test_the_old_name_of_a_gate_is_taken_and_means_the_same() -> None:
    assert render("--set=featureGates.clusterProfileCredSyncer=true") == render(
        "--set=featureGates.clusterProfile=true"
    )


_ALERTS = ("--set=prometheus.enabled=true,prometheus.alerts=true",)


def _rules(*flags: str) -> str:
    return json.dumps(_objects(render(*_ALERTS, *flags))["PrometheusRule", "managed-serviceaccount"])


def test_where_runbooks_are_and_what_jobs_are_called_are_values() -> None:
    rules = _rules(
        "--set=prometheus.runbookURL=https://wiki.example/msa/,prometheus.jobs.manager=hub-msa,prometheus.jobs.agent=a.*"
    )
    assert "https://wiki.example/msa/MsaAgentAbsent.md" in rules
    assert "docs/runbooks" not in rules
    for matcher in ('job=~\\"hub-msa\\"', 'job=~\\"a.*\\"', 'job=~\\"hub-msa|a.*\\"'):
        assert matcher in rules
    assert "managed-serviceaccount-addon-manager.*" not in rules


def test_by_default_the_alerts_are_those_of_the_file() -> None:
    stored = yaml.safe_load((CHART / "files/alerts.yaml").read_text())
    both = ".*managed-serviceaccount-addon-manager.*|.*managed-serviceaccount-addon-agent.*"
    rules = json.loads(_rules().replace(both, ".*managed-serviceaccount-addon-(manager|agent).*"))
    assert rules["spec"] == stored


def _maps(part: Any) -> Iterator[dict[str, Any]]:
    """Every map in it."""
    if isinstance(part, dict):
        yield part
    for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _maps(value)


@pytest.mark.parametrize("mode", list(BASES))
def test_atomic_fields_leave_no_default_to_the_server(mode: str) -> None:
    """Who applies such a field server-side after another manager has a conflict: the stored one has more in it."""
    parts = list(_maps(list(yaml.safe_load_all(render(f"--set=hubDeployMode={mode}")))))
    assert [
        part["fieldRef"] for part in parts if "apiVersion" not in part.get("fieldRef", {"apiVersion": ""})
    ] == []
    ports = [port for part in parts for port in part.get("ports", ())]
    assert [port for port in ports if "protocol" not in port] == []
    matched = [part["matchConstraints"] for part in parts if "matchConstraints" in part]
    assert [
        part for part in matched if {"matchPolicy", "namespaceSelector", "objectSelector"} - part.keys()
    ] == []
    assert [rule for part in matched for rule in part["resourceRules"] if "scope" not in rule] == []
