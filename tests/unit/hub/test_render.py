import json
from typing import Any

import msgspec
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from msa.api.addon import AddonStatus, ConfigReference, ConfigReferent, ManagedClusterAddOn, Toleration
from msa.api.meta import ObjectMeta
from msa.hub import render
from msa.hub.render import Manifest, PullSecret
from msa.policy.deployment import Workload

WORKLOAD = Workload(
    cluster="c1",
    namespace="agents",
    image="quay.io/open-cluster-management/managed-serviceaccount:v1",
)
FULL = evolve(
    WORKLOAD,
    node_selector={"kubernetes.io/os": "linux"},
    tolerations=(Toleration(key="infra", operator="Exists", toleration_seconds=0),),
    environment={"HTTPS_PROXY": "http://p", "NO_PROXY": ".svc"},
    resources={"limits": {"memory": "1Gi"}},
    monitor_labels={"release": "prometheus"},
    proxy_ca="-----BEGIN CERTIFICATE-----\n",
)
PULL_SECRET = PullSecret("kubernetes.io/dockerconfigjson", {".dockerconfigjson": "c2VjcmV0"})
ROLE = "open-cluster-management:managed-serviceaccount:addon-agent"
ADDON = ManagedClusterAddOn(ObjectMeta(name="managed-serviceaccount", namespace="c1", uid="uid-1"))
HASHES = "open-cluster-management.io/config-spec-hash"


def rendered(
    workload: Workload = WORKLOAD, *, ephemeral: bool = False, pull_secret: PullSecret | None = None
) -> dict[tuple[str, str], Manifest]:
    """The objects by kind and name."""
    objects = render.manifests(workload, ephemeral=ephemeral, pull_secret=pull_secret)
    return {(item["kind"], item["metadata"]["name"]): item for item in objects}


def pod(objects: dict[tuple[str, str], Manifest]) -> Any:
    return objects["Deployment", "managed-serviceaccount-addon-agent"]["spec"]["template"]["spec"]


def environment(objects: dict[tuple[str, str], Manifest]) -> dict[str, str | None]:
    return {entry["name"]: entry.get("value") for entry in pod(objects)["containers"][0]["env"]}


def shape(value: Any) -> Any:
    """The same without its texts."""
    match value:
        case dict():
            return {key: shape(inner) for key, inner in value.items()}
        case list():
            return [shape(inner) for inner in value]
    return type(value)


def deployment(objects: list[Manifest]) -> Manifest:
    return next(item for item in objects if item["kind"] == "Deployment")


def test_the_objects_are_those_of_the_contract() -> None:
    assert list(rendered()) == [
        ("Namespace", "agents"),
        ("ServiceAccount", "managed-serviceaccount"),
        ("Role", ROLE),
        ("RoleBinding", ROLE),
        ("ClusterRole", ROLE),
        ("ClusterRoleBinding", ROLE),
        ("Deployment", "managed-serviceaccount-addon-agent"),
        ("Service", "managed-serviceaccount-addon-agent-metrics"),
        ("NetworkPolicy", "managed-serviceaccount-addon-agent"),
    ]


def test_what_has_a_namespace_is_in_the_install_namespace() -> None:
    clusterwide = {"Namespace", "ClusterRole", "ClusterRoleBinding"}
    for (kind, _), item in rendered(FULL, pull_secret=PULL_SECRET).items():
        assert item["metadata"].get("namespace") == (None if kind in clusterwide else "agents")
        if "subjects" in item:
            account = {"kind": "ServiceAccount", "name": "managed-serviceaccount", "namespace": "agents"}
            assert item["subjects"] == [account]
            assert item["roleRef"]["name"] == ROLE


@pytest.mark.parametrize(("ephemeral", "text"), [(False, "false"), (True, "true")])
def test_the_agent_runs_with_the_arguments_of_the_contract(ephemeral: bool, text: str) -> None:
    (container,) = pod(rendered(ephemeral=ephemeral))["containers"]
    assert container["name"] == "addon-agent"
    assert container["image"] == WORKLOAD.image
    assert [*container["command"], *container["args"]] == [
        "/msa",
        "agent",
        "--cluster-name=c1",
        "--kubeconfig=/etc/hub/kubeconfig",
        "--leader-elect",
        "--lease-health-check=true",
        f"--feature-gates=EphemeralIdentity={text}",
    ]
    assert container["ports"] == [{"name": "metrics", "containerPort": 38080, "protocol": "TCP"}]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": 8000}


def test_the_hub_kubeconfig_is_mounted_where_the_agent_looks_for_it() -> None:
    found = pod(rendered())
    assert found["containers"][0]["volumeMounts"] == [
        {"name": "hub", "mountPath": "/etc/hub", "readOnly": True}
    ]
    assert found["volumes"] == [
        {"name": "hub", "secret": {"secretName": "managed-serviceaccount-hub-kubeconfig"}}
    ]


def test_the_pod_keeps_to_the_restricted_security_standard() -> None:
    found = pod(rendered(FULL))
    assert found["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    for container in found["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(found)


def test_what_a_config_says_of_the_pod_is_in_the_pod() -> None:
    found = pod(objects := rendered(FULL))
    assert found["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert found["tolerations"] == [{"key": "infra", "operator": "Exists", "tolerationSeconds": 0}]
    assert found["containers"][0]["resources"] == {"limits": {"memory": "1Gi"}}
    assert environment(objects) == {
        "NAMESPACE": None,
        "HTTPS_PROXY": "http://p",
        "NO_PROXY": ".svc",
        "CA_BUNDLE_FILE_PATH": "/managed/proxy-ca/ca-bundle.crt",
    }


def test_without_a_config_the_pod_has_our_resources_and_no_placement() -> None:
    found = pod(objects := rendered())
    assert set(found["containers"][0]["resources"]) == {"requests", "limits"}
    assert not {"nodeSelector", "tolerations"} & set(found)
    assert environment(objects) == {"NAMESPACE": None}


def test_the_proxys_certificates_are_mounted_from_a_config_map() -> None:
    objects = rendered(FULL)
    stored = objects["ConfigMap", "managed-serviceaccount-proxy-ca"]
    assert stored["data"] == {"ca-bundle.crt": FULL.proxy_ca}
    assert pod(objects)["volumes"][1] == {
        "name": "proxy-ca-bundle",
        "configMap": {"name": "managed-serviceaccount-proxy-ca"},
    }
    mount = {"name": "proxy-ca-bundle", "mountPath": "/managed/proxy-ca"}
    assert pod(objects)["containers"][0]["volumeMounts"][1] == mount


def test_the_pull_secret_is_copied_only_if_there_is_one() -> None:
    name = "open-cluster-management-image-pull-credentials"
    assert ("Secret", name) not in rendered()
    copied = rendered(pull_secret=PULL_SECRET)["Secret", name]
    assert copied["type"] == "kubernetes.io/dockerconfigjson"
    assert copied["data"] == PULL_SECRET.data
    assert pod(rendered(pull_secret=PULL_SECRET))["imagePullSecrets"] == [{"name": name}]
    assert "imagePullSecrets" not in pod(rendered()), "the kubelet warns of a Secret that does not exist"


def test_the_pull_secret_cannot_be_printed() -> None:
    assert "c2VjcmV0" not in f"{PULL_SECRET!r} {PULL_SECRET}"


def test_a_service_monitor_finds_the_metrics_service() -> None:
    objects = rendered(FULL)
    monitor = objects["ServiceMonitor", "managed-serviceaccount-addon-agent"]
    service = objects["Service", "managed-serviceaccount-addon-agent-metrics"]
    assert monitor["metadata"]["labels"] == {"release": "prometheus"}
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


@pytest.mark.parametrize(("labels", "made"), [(None, False), ({}, True)])
def test_a_service_monitor_is_made_if_asked_for_though_it_has_no_labels(
    labels: dict[str, str] | None, made: bool
) -> None:
    objects = rendered(evolve(WORKLOAD, monitor_labels=labels))
    assert (("ServiceMonitor", "managed-serviceaccount-addon-agent") in objects) is made


def test_the_service_and_the_deployment_select_the_agents_pods() -> None:
    objects = rendered()
    deployment = objects["Deployment", "managed-serviceaccount-addon-agent"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    service = objects["Service", "managed-serviceaccount-addon-agent-metrics"]["spec"]
    assert service["selector"] == labels
    assert service["ports"] == [
        {"name": "metrics", "port": 38080, "protocol": "TCP", "targetPort": "metrics"}
    ]


@pytest.mark.parametrize("ephemeral", [False, True])
def test_an_addon_template_yields_the_same_objects_as_a_manifest_work(ephemeral: bool) -> None:
    """OCM fills in an AddOnTemplate's variables in the text of its JSON."""
    left_to_ocm = {name: f"{{{{{name}}}}}" for name in ("CLUSTER_NAME", "INSTALL_NAMESPACE")}
    ours = {"AGENT_IMAGE": WORKLOAD.image, "EPHEMERAL_IDENTITY": "true" if ephemeral else "false"}
    text = json.dumps(render.agent_objects(left_to_ocm | ours))
    assert "{{CLUSTER_NAME}}" in text
    assert "{{INSTALL_NAMESPACE}}" in text
    by_ocm = json.loads(text.replace("{{CLUSTER_NAME}}", "c1").replace("{{INSTALL_NAMESPACE}}", "agents"))
    assert by_ocm == render.manifests(WORKLOAD, ephemeral=ephemeral, pull_secret=None)


def test_nothing_is_left_unsubstituted() -> None:
    assert "{{" not in json.dumps(render.manifests(FULL, ephemeral=True, pull_secret=PULL_SECRET))


def test_an_unknown_variable_of_the_template_is_a_bug() -> None:
    with pytest.raises(KeyError, match="AGENT_IMAGE"):
        render.agent_objects({"CLUSTER_NAME": "c1", "INSTALL_NAMESPACE": "n", "EPHEMERAL_IDENTITY": "true"})


ODD = [
    'x"\nprivileged: true',
    "x\n---\nkind: Secret",
    "{{AGENT_IMAGE}} {{INSTALL_NAMESPACE}}",
    "*alias",
    "!!python/object/apply:os.system [id]",
    "# comment",
    "\\",
    "null",
]


@settings(deadline=None)  # the shared machine stops for longer than that now and then
@given(*[st.sampled_from(ODD) | st.text(st.characters(codec="utf-8"))] * 3)
def test_odd_characters_cannot_alter_the_structure(cluster: str, namespace: str, image: str) -> None:
    objects = render.manifests(Workload(cluster, namespace, image), ephemeral=True, pull_secret=None)
    assert shape(objects) == shape(render.manifests(WORKLOAD, ephemeral=True, pull_secret=None))
    (container,) = deployment(objects)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image
    assert container["args"][1] == f"--cluster-name={cluster}"
    assert objects[0]["metadata"]["name"] == namespace
    assert json.loads(msgspec.json.encode(objects)) == objects


def test_what_one_cluster_is_given_does_not_show_at_the_next() -> None:
    before = render.manifests(WORKLOAD, ephemeral=False, pull_secret=None)
    render.manifests(FULL, ephemeral=True, pull_secret=PULL_SECRET)
    assert render.manifests(WORKLOAD, ephemeral=False, pull_secret=None) == before


def work(objects: list[Manifest] | None = None, addon: ManagedClusterAddOn = ADDON) -> Manifest:
    return render.manifest_work(
        addon, objects or render.manifests(WORKLOAD, ephemeral=False, pull_secret=None)
    )


def test_the_work_has_name_label_and_owner_of_the_contract() -> None:
    metadata = work()["metadata"]
    assert metadata["name"] == "addon-managed-serviceaccount-deploy-0"
    assert metadata["namespace"] == "c1"
    assert metadata["labels"] == {"open-cluster-management.io/addon-name": "managed-serviceaccount"}
    assert metadata["annotations"] == {HASHES: "{}"}, (
        "so that a configuration taken away is taken away there too"
    )
    assert metadata["ownerReferences"] == [
        {
            "apiVersion": "addon.open-cluster-management.io/v1alpha1",
            "kind": "ManagedClusterAddOn",
            "name": "managed-serviceaccount",
            "uid": "uid-1",
        }
    ]


def test_the_work_says_which_configs_it_was_rendered_from() -> None:
    reference = ConfigReference(
        "addon.open-cluster-management.io",
        "addondeploymentconfigs",
        desired_config=ConfigReferent("slim", "hub", "h1"),
    )
    status = AddonStatus(config_references=(reference,))
    found = work(addon=ManagedClusterAddOn(ADDON.metadata, status=status))["metadata"]["annotations"]
    assert json.loads(found[HASHES]) == {
        "addondeploymentconfigs.addon.open-cluster-management.io/hub/slim": "h1"
    }


def test_the_work_leaves_the_namespace_when_it_goes_since_others_live_there() -> None:
    option = work()["spec"]["deleteOption"]
    assert option["propagationPolicy"] == "SelectivelyOrphan"
    assert option["selectivelyOrphans"]["orphaningRules"] == [
        {"group": "", "resource": "namespaces", "name": "agents", "namespace": ""}
    ]


def test_the_work_has_reported_why_the_agent_does_not_come_up() -> None:
    (configured,) = work()["spec"]["manifestConfigs"]
    assert configured["resourceIdentifier"] == {
        "group": "apps",
        "resource": "deployments",
        "name": "managed-serviceaccount-addon-agent",
        "namespace": "agents",
    }
    (rule,) = configured["feedbackRules"]
    assert rule["type"] == "JSONPaths"
    assert {path["name"] for path in rule["jsonPaths"]} == {
        "ready",
        "available",
        "problem",
        "progress",
        "rollout",
    }


def test_the_digest_is_that_of_the_meaning() -> None:
    """Neither the order of keys nor a default that a newer API server has written in makes another spec of it."""
    spec = work()["spec"]
    stored = json.loads(json.dumps(spec, sort_keys=True))
    stored["manifestConfigs"][0]["feedbackScrapeType"] = "Poll"
    assert render.spec_digest(stored) == render.spec_digest(spec)


@pytest.mark.parametrize("change", ["image", "scrape", "policy", "order", "nothing left"])
def test_the_digest_tells_a_spec_that_somebody_changed(change: str) -> None:
    stored = json.loads(json.dumps(spec := work()["spec"]))
    objects = stored["workload"]["manifests"]
    match change:
        case "image":
            deployment(objects)["spec"]["template"]["spec"]["containers"][0]["image"] += "2"
        case "scrape":
            stored["manifestConfigs"][0]["feedbackScrapeType"] = "Watch"
        case "policy":
            stored["deleteOption"]["propagationPolicy"] = "Orphan"
        case "order":
            objects.reverse()
        case _:
            stored.clear()
    assert render.spec_digest(stored) != render.spec_digest(spec)
