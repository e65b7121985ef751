"""The API as the API server sees it."""

import json
from typing import Any

import msgspec
import pytest
import yaml

from hack.addon import MANIFESTS
from hack.clusters import Cluster
from hack.generate import CRD
from msa.api import names
from msa.api.fleet_identity import FleetIdentity

BAD_VALIDITY = "must be a Go duration from 10m to 1193046h28m16s"


def _create(hub: Cluster, spec: Any, version: str = "v1beta1") -> str:
    """What kubectl says of an object with this spec; nothing is stored."""
    body = {
        "apiVersion": f"{names.GROUP}/{version}",
        "kind": names.KIND,
        "metadata": {"name": "x", "namespace": "default"},
        "spec": spec,
    }
    return hub.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(body), check=False)


@pytest.mark.parametrize("version", ["v1beta1", "v1alpha1"])
@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"rotation": {}},
        {"rotation": {"enabled": False, "validity": "10m"}},
        {"rotation": {"validity": "8640h0m0s"}},
        {"rotation": {"validity": "1193046h28m16s"}},
        {"rotation": {"validity": "1.5h"}},
        {"audiences": ["a", "b" * 256]},
        {"ttlSecondsAfterCreation": 1},
    ],
)
def test_what_is_valid_is_taken_in_both_versions(hub: Cluster, spec: Any, version: str) -> None:
    assert "created (server dry run)" in _create(hub, spec, version)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        *(
            ({"rotation": {"validity": text}}, BAD_VALIDITY)
            for text in ("9m59s", "1193046h28m17s", "garbage", "", "1d", "-1h", "10")
        ),
        ({"rotation": {"validity": "9" * 40 + "h"}}, BAD_VALIDITY),
        ({"audiences": ["a", "a"]}, "Duplicate value"),
        ({"audiences": [""]}, "should be at least 1 chars"),
        ({"audiences": ["b" * 257]}, "may not be more than 256"),
        ({"audiences": [str(number) for number in range(17)]}, "must have at most 16 items"),
        ({"ttlSecondsAfterCreation": 0}, "greater than or equal to 1"),
        ({"rotation": {"validity": 3600}}, "validity"),
    ],
)
def test_what_is_not_is_refused_with_the_field_and_the_reason(hub: Cluster, spec: Any, says: str) -> None:
    assert says in _create(hub, spec)


@pytest.mark.parametrize("sample", ["my-sample.yaml", "v1alpha1/my-sample.yaml"])
def test_an_object_made_in_one_version_reads_the_same_in_the_other(hub: Cluster, sample: str) -> None:
    hub.kubectl("create", "-n", "default", "-f", str(MANIFESTS / "samples" / sample))
    try:
        old, new = (
            json.loads(
                hub.kubectl(
                    "get",
                    "-n",
                    "default",
                    f"{names.PLURAL}.{version}.{names.GROUP}",
                    "my-sample",
                    "-o",
                    "json",
                )
            )
            for version in ("v1alpha1", "v1beta1")
        )
        assert old["spec"] == new["spec"] == {"rotation": {"enabled": True, "validity": "8640h0m0s"}}
    finally:
        hub.kubectl("delete", "msa", "-n", "default", "my-sample")


def test_every_field_is_explained(hub: Cluster) -> None:
    text = hub.kubectl(
        "explain", "msa", "--recursive", "--api-version=authentication.open-cluster-management.io/v1beta1"
    )
    assert "nextRefreshTimestamp" in text
    assert "<no description>" not in text.replace("metadata", "")
    assert "a Go duration" in hub.kubectl("explain", "managedserviceaccounts.spec.rotation.validity")


def test_short_name_category_and_columns_are_there(hub: Cluster) -> None:
    listed = hub.kubectl("api-resources", "--categories=ocm", "--no-headers")
    assert listed.split()[:2] == [names.PLURAL, "msa"]


def _properties(schema: dict[str, Any]) -> set[str]:
    return set(schema.get("properties", {}))


def test_the_wire_types_and_the_schema_have_the_same_fields() -> None:
    schema = yaml.safe_load(CRD.read_text())["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]
    types = {field.encode_name: field.type for field in msgspec.structs.fields(FleetIdentity)}
    for part in ("spec", "status"):
        assert {field.encode_name for field in msgspec.structs.fields(types[part])} == _properties(
            schema[part]
        )
