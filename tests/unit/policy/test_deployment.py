import json
from base64 import b64encode, encodebytes
from typing import Any

import msgspec
import pytest

from msa.api.addon import (
    DeploymentConfig,
    DeploymentConfigSpec,
    Toleration,
)
from msa.api.cluster import ManagedCluster
from msa.api.meta import ObjectMeta
from msa.policy import deployment
from msa.policy.deployment import Misconfigured, Workload

IMAGE = "quay.io/open-cluster-management/managed-serviceaccount:v1"
REGISTRIES = "open-cluster-management.io/image-registries"
_BAD = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
WHERE = "AddOnDeploymentConfig open-cluster-management-addon/slim"


def config(spec: dict[str, Any]) -> DeploymentConfig:
    """As the API server sends its spec."""
    read = msgspec.json.decode(msgspec.json.encode(spec), type=DeploymentConfigSpec)
    return DeploymentConfig(ObjectMeta(name="slim", namespace="open-cluster-management-addon"), read, "h1")


def cluster(registries: str | None = None) -> ManagedCluster:
    return ManagedCluster(
        ObjectMeta(name="c1", annotations=None if registries is None else {REGISTRIES: registries})
    )


def workload(
    spec: dict[str, Any] | None = None, *, registries: str | None = None, namespace: str = "ns"
) -> Workload:
    chosen = config(spec) if spec is not None else None
    return deployment.workload(cluster(registries), namespace, chosen, IMAGE)


def mirrors(*pairs: tuple[str, str]) -> str:
    return json.dumps({"registries": [{"source": source, "mirror": mirror} for source, mirror in pairs]})


def variables(**values: str) -> dict[str, Any]:
    return {"customizedVariables": [{"name": name, "value": value} for name, value in values.items()]}


@pytest.mark.parametrize("spec", [None, {}, {"agentInstallNamespace": "elsewhere"}])
def test_without_a_wish_the_agent_is_deployed_with_our_defaults(spec: dict[str, Any] | None) -> None:
    assert workload(spec) == Workload(cluster="c1", namespace="ns", image=IMAGE)


def test_node_selector_and_tolerations_are_the_configs() -> None:
    found = workload(
        {
            "nodePlacement": {
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "tolerations": [
                    {"key": "infra", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
                    {"operator": "Exists"},
                ],
            }
        }
    )
    assert found.node_selector == {"kubernetes.io/os": "linux"}
    assert found.tolerations == (
        Toleration(key="infra", operator="Exists", effect="NoExecute", toleration_seconds=0),
        Toleration(operator="Exists"),
    )


@pytest.mark.parametrize(
    ("spec", "registries", "expected"),
    [
        (None, None, IMAGE),
        (None, "", IMAGE),
        (
            None,
            mirrors(("quay.io/open-cluster-management", "quay.io/ocm")),
            "quay.io/ocm/managed-serviceaccount:v1",
        ),
        (
            {"registries": [{"source": "quay.io/open-cluster-management", "mirror": "config.example"}]},
            mirrors(("quay.io/open-cluster-management", "annotation.example")),
            "config.example/managed-serviceaccount:v1",
        ),
        (
            {"registries": [{"source": "docker.io", "mirror": "config.example"}]},
            mirrors(("quay.io/open-cluster-management", "annotation.example:5000")),
            "annotation.example:5000/managed-serviceaccount:v1",
        ),
        (
            {"registries": [{"source": "quay.io/open-cluster-management", "mirror": "config.example"}]},
            "no JSON",
            "config.example/managed-serviceaccount:v1",
        ),
        (
            {"registries": [{"mirror": "[fd00::1]:5000/a_b"}]},
            None,
            "[fd00::1]:5000/a_b/managed-serviceaccount:v1",
        ),
        (None, mirrors((IMAGE, "a/b@sha256:0f")), "a/b@sha256:0f"),
    ],
    ids=[
        "the default, where nobody asks for another",
        "the default, where the annotation is empty",
        "the annotation's mirror",
        "the config's mirror before the annotation's",
        "the annotation's mirror where the config's do not match",
        "the config's mirror though the annotation is wrong",
        "a registry by its IPv6 address",
        "an image by its digest",
    ],
)
def test_the_image_is_the_configs_then_the_annotations_then_the_default(
    spec: dict[str, Any] | None, registries: str | None, expected: str
) -> None:
    assert workload(spec, registries=registries).image == expected


@pytest.mark.parametrize(
    ("proxy", "expected"),
    [
        ({}, {}),
        ({"httpProxy": "http://p"}, {"HTTP_PROXY": "http://p"}),
        ({"httpsProxy": "http://p"}, {"HTTPS_PROXY": "http://p"}),
        ({"noProxy": ".svc"}, {}),
        (
            {"httpProxy": "http://p", "httpsProxy": "http://q", "noProxy": ".svc,10.0.0.0/8"},
            {"HTTP_PROXY": "http://p", "HTTPS_PROXY": "http://q", "NO_PROXY": ".svc,10.0.0.0/8"},
        ),
    ],
    ids=["none", "for HTTP", "for HTTPS", "exceptions alone mean none", "with exceptions"],
)
def test_the_proxy_goes_to_the_agents_environment(proxy: dict[str, str], expected: dict[str, str]) -> None:
    assert workload({"proxyConfig": proxy}).environment == expected


def test_of_the_proxys_bundle_the_certificates_are_taken_that_can_be_read(ca: bytes) -> None:
    encoded = encodebytes(b"# \xe9\n" + _BAD + ca).decode()
    assert workload({"proxyConfig": {"caBundle": encoded}}).proxy_ca == ca.decode()


OURS = "deployments:managed-serviceaccount-addon-agent:addon-agent"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([], None),
        ([OURS], 0),
        (["*:*:*"], 0),
        (["deployments:*:addon-agent"], 0),
        (["*:*:other"], None),
        (["deployments:other:*"], None),
        (["daemonsets:*:*"], None),
        (["deployments:managed-serviceaccount-addon-agent:addon"], None),
        (["deployments:managed-serviceaccount.addon.agent:addon-agent"], None),
        (["*:*:*", OURS], 1),
        ([OURS, "*:*:*"], 1),
        ([OURS, "*:*:other"], 0),
        ([OURS, "deployments:other:*", "*:*:addon-agent", "jobs:*:*"], 2),
    ],
)
def test_of_several_resource_requirements_the_last_that_is_about_our_container_wins(
    wanted: list[str], expected: int | None
) -> None:
    entries = [
        {"containerID": container, "resources": {"limits": {"memory": f"{number}Gi"}}}
        for number, container in enumerate(wanted)
    ]
    found = workload({"resourceRequirements": entries}).resources
    assert found == (None if expected is None else {"limits": {"memory": f"{expected}Gi"}})


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, None),
        (variables(other="true"), None),
        (variables(prometheusEnabled="false", prometheusServiceMonitorLabels='{"a":"b"}'), None),
        (variables(prometheusServiceMonitorLabels='{"a":"b"}'), None),
        (variables(prometheusEnabled=""), None),
        (variables(prometheusEnabled="0"), None),
        (variables(prometheusEnabled="true"), {}),
        (variables(prometheusEnabled="T"), {}),
        (variables(prometheusEnabled="1", prometheusServiceMonitorLabels=""), {}),
        (variables(prometheusEnabled="True", prometheusServiceMonitorLabels='{"a":"b"}'), {"a": "b"}),
    ],
)
def test_a_service_monitor_is_made_only_if_asked_for(
    spec: dict[str, Any], expected: dict[str, str] | None
) -> None:
    assert workload(spec).monitor_labels == expected


LABELS_VARIABLE = "spec.customizedVariables[prometheusServiceMonitorLabels]"
WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "Prometheus neither on nor off": (
        variables(prometheusEnabled="yes"),
        "spec.customizedVariables[prometheusEnabled]: 'yes'",
        "write one of them",
    ),
    "monitor labels that are no JSON": (
        variables(prometheusServiceMonitorLabels="release=x"),
        LABELS_VARIABLE,
        '{"release":"prometheus"}',
    ),
    "monitor labels in a list": (
        variables(prometheusServiceMonitorLabels='["a"]'),
        LABELS_VARIABLE,
        '{"release":"prometheus"}',
    ),
    "a monitor label that is a number": (
        variables(prometheusEnabled="true", prometheusServiceMonitorLabels='{"a":1}'),
        LABELS_VARIABLE,
        '{"release":"prometheus"}',
    ),
    "a container of two parts": (
        {"resourceRequirements": [{"containerID": "*:*", "resources": {}}]},
        "spec.resourceRequirements[].containerID: '*:*'",
        f"write {OURS} or *:*:*",
    ),
    "a container of four parts": (
        {"resourceRequirements": [{"containerID": "*:*:*:*", "resources": {}}, {"containerID": OURS}]},
        "spec.resourceRequirements[].containerID: '*:*:*:*'",
        f"write {OURS} or *:*:*",
    ),
    "certificates that are no base64": (
        {"proxyConfig": {"caBundle": "----"}},
        "spec.proxyConfig.caBundle",
        "write base64 of PEM",
    ),
    "certificates that are no text": (
        {"proxyConfig": {"caBundle": "/////w=="}},
        "spec.proxyConfig.caBundle",
        "write base64 of PEM",
    ),
    "certificates of which none can be read": (
        {"proxyConfig": {"caBundle": b64encode(_BAD).decode()}},
        "spec.proxyConfig.caBundle",
        "write base64 of PEM",
    ),
    "a private key for certificates": (
        {"proxyConfig": {"caBundle": b64encode(b"-----BEGIN PRIVATE KEY-----").decode()}},
        "spec.proxyConfig.caBundle",
        "write base64 of PEM",
    ),
    "a mirror with a scheme": (
        {"registries": [{"source": "quay.io", "mirror": "https://mirror.example"}]},
        "spec.registries: it makes the image 'https://mirror.example/open-",
        "write mirrors such as registry.example.com/ocm",
    ),
    "no mirror for a source": (
        {"registries": [{"source": "quay.io", "mirror": ""}]},
        "spec.registries",
        "write mirrors such as",
    ),
    "a mirror with a space": (
        {"registries": [{"source": "quay.io", "mirror": "mirror.example "}]},
        "spec.registries",
        "write mirrors such as",
    ),
    "a mirror with a line feed": (
        {"registries": [{"source": "quay.io", "mirror": "a\n  privileged: true"}]},
        "spec.registries",
        "write mirrors such as",
    ),
}


@pytest.mark.parametrize(("spec", "field", "remedy"), WRONG.values(), ids=list(WRONG))
def test_a_wrong_value_is_named_with_its_config_its_field_and_the_remedy(
    spec: dict[str, Any], field: str, remedy: str
) -> None:
    with pytest.raises(Misconfigured) as error:
        workload(spec)
    assert str(error.value).startswith(f"{WHERE}: {field}")
    assert remedy in str(error.value)


@pytest.mark.parametrize(
    "registries",
    ["no JSON", "[]", '{"registries":[{"mirror":1}]}', mirrors(("quay.io", "")), mirrors(("", "a b"))],
)
def test_a_wrong_annotation_is_named_with_its_cluster_and_the_remedy(registries: str) -> None:
    with pytest.raises(Misconfigured) as error:
        workload(registries=registries)
    assert str(error.value).startswith(f"ManagedCluster c1: annotation {REGISTRIES}: ")
    assert "write " in str(error.value)


@pytest.mark.parametrize(
    "namespace", ["", "Upper", "a.b", "-a", "a-", "a b", "a\n", "a" * 64, "{{CLUSTER_NAME}}", "ä"]
)
def test_a_namespace_that_none_can_be_is_named_with_its_annotation(namespace: str) -> None:
    with pytest.raises(
        Misconfigured, match="ManagedClusterAddOn c1/managed-serviceaccount: annotation"
    ) as error:
        workload(namespace=namespace)
    assert str(error.value).isascii()


@pytest.mark.parametrize("namespace", ["a", "0", "a-b", "a" * 63, "open-cluster-management-agent-addon"])
def test_any_name_of_a_namespace_is_taken(namespace: str) -> None:
    assert workload(namespace=namespace).namespace == namespace
