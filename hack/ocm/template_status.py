"""The ManifestWork of an addon that comes from an AddOnTemplate, and what its status says of the addon. Pure."""

from typing import Final

import msgspec

from hack.ocm.api import Body, Object
from hack.ocm.conditions import condition, stands
from hack.ocm.configs import Named
from hack.ocm.template_objects import deployments
from msa.api import names

_ORPHAN: Final = "addon.open-cluster-management.io/deletion-orphan"


def work_spec(objects: list[Body]) -> Body:
    """With the status of Deployments asked for, and what is to be left behind."""
    orphaned = [item for item in objects if _ORPHAN in item["metadata"].get("annotations", {})]
    rules = [_identifier(item, f"{item['kind'].lower()}s") for item in orphaned]
    option = {"propagationPolicy": "SelectivelyOrphan", "selectivelyOrphans": {"orphaningRules": rules}}
    asked = [_identifier(item, "deployments") for item in deployments(objects)]
    return {
        "workload": {"manifests": objects},
        "manifestConfigs": [
            {"resourceIdentifier": item, "feedbackRules": [{"type": "WellKnownStatus"}]} for item in asked
        ],
        **({"deleteOption": option} if rules else {}),
    }


def _identifier(item: Body, resource: str) -> Body:
    group = item["apiVersion"].rpartition("/")[0]
    metadata = item["metadata"]
    where = {"name": metadata["name"], "namespace": metadata.get("namespace", "")}
    return {"group": group, "resource": resource, **where}


def hashes(addon: Object) -> str:
    """Of the configurations that the work was made from, as its annotation holds them."""
    found = {}
    for item in addon.status["configReferences"]:
        named = Named.of(item, item["desiredConfig"])
        key = f"{named.resource}.{named.group}/{named.namespace}/{named.name}"
        found[key] = item["desiredConfig"].get("specHash", "")
    return msgspec.json.encode(found, order="sorted").decode()


def health(work: Body) -> list[Body]:
    """The conditions ManifestApplied and Available; nothing while the cluster has not reported."""
    status = work.get("status", {})
    conditions = status.get("conditions", [])
    if stands(conditions, "Applied", "False"):
        message = "failed to apply the manifests of addon"
        return [condition("ManifestApplied", "False", "AddonManifestAppliedFailed", message)]
    if not stands(conditions, "Applied"):
        return []
    message = "manifests of addon are applied successfully"
    applied = condition("ManifestApplied", "True", "AddonManifestApplied", message)
    return [applied, _available(status["resourceStatus"]["manifests"])]


def _available(manifests: list[Body]) -> Body:
    probed = [item for item in manifests if item["statusFeedback"].get("values")]
    if not probed:
        return condition("Available", "Unknown", "NoProbeResult", "Probe results are not returned")
    for item in probed:
        found = {value["name"]: value["fieldValue"]["integer"] for value in item["statusFeedback"]["values"]}
        if found.get("Replicas", 0) and not found.get("ReadyReplicas", 0):
            message = f"Probe addon unavailable with err {item['resourceMeta']['name']} is not ready"
            return condition("Available", "False", "ProbeUnavailable", message)
    return condition("Available", "True", "ProbeAvailable", f"{names.ADDON} add-on is available.")
