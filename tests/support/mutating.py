"""Policies of a cluster's administrator that alter what is written: MutatingAdmissionPolicy, which does what mutating webhooks do."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import frozen

from hack.kubectl import Kubectl
from hack.processes import wait_until
from msa.api import names

_API = "admissionregistration.k8s.io/v1"
_KINDS = ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")
_PATIENCE = 30.0


@frozen
class Alteration:
    """What is done to each object of that name that is written.

    Attributes:
        resource: in the plural, with its subresource.
        patch: a list of JSONPatch, in CEL.
        group: the resource's.
        version: the resource's.
    """

    name: str
    resource: str
    patch: str
    group: str = ""
    version: str = "v1"

    def policy(self, namespace: str) -> dict[str, object]:
        rule = {
            "apiGroups": [self.group],
            "apiVersions": [self.version],
            "operations": ["CREATE", "UPDATE"],
            "resources": [self.resource],
        }
        return {
            "reinvocationPolicy": "Never",
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [rule],
            },
            "matchConditions": [
                {"name": "name", "expression": f"has(request.name) && request.name == '{self.name}'"}
            ],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": self.patch}}],
        }


def added(path: str, value: str) -> str:
    """A patch.

    Args:
        path: of JSONPatch, escaped.
        value: in CEL.
    """
    return f'[JSONPatch{{op: "add", path: "{path}", value: {value}}}]'


def without_our_label() -> str:
    return f'[JSONPatch{{op: "remove", path: "/metadata/labels/" + jsonpatch.escapeKey("{names.LABEL_MANAGED}")}}]'


@contextmanager
def altering(
    cluster: Kubectl, namespace: str, *alterations: Alteration, served: Callable[[], bool]
) -> Iterator[None]:
    """While the block lasts, these are done in the namespace.

    Args:
        cluster: where.
        namespace: the only one that it is about.
        alterations: what is done.
        served: whether the last of them is by now: policies count a moment after they were made, all together.
    """
    stems = {f"{namespace}-{one.resource.partition('/')[0]}-{one.name}": one for one in alterations}
    bodies = [
        {"apiVersion": _API, "kind": kind, "metadata": {"name": stem}, "spec": spec}
        for stem, one in stems.items()
        for kind, spec in zip(_KINDS, (one.policy(namespace), {"policyName": stem}), strict=True)
    ]
    cluster.kubectl(
        "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies})
    )
    try:
        assert wait_until(served, _PATIENCE, 0.1), "the policies do nothing"
        yield
    finally:
        for kind in _KINDS:
            cluster.kubectl("delete", kind, *stems)
