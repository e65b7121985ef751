"""Generated files: written by `make generate`, proved current by `make verify`.

python -m hack.generate           write them
python -m hack.generate --check   fail if one is not what its source says
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from hack import dashboard
from hack.reference.pages import pages
from msa.api import names
from msa.hub import render

_ROOT = Path(__file__).parents[1]
_SCHEMA = _ROOT / "manifests/crd/schema.yaml"
CRD = _ROOT / f"manifests/crd/bases/{names.GROUP}_{names.PLURAL}.yaml"
CHART = _ROOT / "manifests/charts/managed-serviceaccount"
_HELM_OWNS = {
    "labels": {"app.kubernetes.io/managed-by": "Helm"},
    "annotations": {
        "helm.sh/resource-policy": "keep",
        "meta.helm.sh/release-name": names.ADDON,
        "meta.helm.sh/release-namespace": names.HUB_NAMESPACE,
    },
}
"""Marks by which a release of the usual name may take the CRD over in an upgrade (the chart's templates/crd.yaml), and never deletes it."""


def main(arguments: list[str]) -> int:
    wanted = {
        CRD: crd(definition()),
        CHART / "crds" / CRD.name: crd(helms(definition())),
        CHART / "files/agent.yaml": agent(),
        CHART / "files/alerts.yaml": alerts(),
        dashboard.DASHBOARD: dashboard.text(),
        **pages(definition()),
    }
    if arguments == ["--check"]:
        stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
        for path in stale:
            print(
                f"{path.relative_to(_ROOT)} is not what its source says: run `make generate` and commit",
                file=sys.stderr,
            )
        return 1 if stale else 0
    for path, text in wanted.items():
        path.write_text(text)
    return 0


def agent() -> str:
    """The agent's objects for the chart's AddOnTemplate: OCM fills in the cluster, the chart the rest.

    The namespace is the default one: the API server takes no variable for it, and OCM puts a configuration's own in its place.
    """
    left = {name: f"{{{{{name}}}}}" for name in ("CLUSTER_NAME", "AGENT_IMAGE", "EPHEMERAL_IDENTITY")}
    objects = render.agent_objects({**left, "INSTALL_NAMESPACE": names.DEFAULT_INSTALL_NAMESPACE})
    return _header("msa/hub/templates/agent.yaml") + _dumped(objects)


def alerts() -> str:
    source = "manifests/monitoring/alerts.yaml"
    return _header(source) + (_ROOT / source).read_text()


def crd(content: dict[str, Any]) -> str:
    return _header("manifests/crd/schema.yaml") + _dumped(content)


def helms(content: dict[str, Any]) -> dict[str, Any]:
    """The same, marked as helm's."""
    return {**content, "metadata": {**content["metadata"], **_HELM_OWNS}}


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition, both versions of one schema."""
    schema = yaml.safe_load(_SCHEMA.read_text())
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.KIND.lower(),
                "shortNames": ["msa"],
                "categories": ["ocm"],
            },
            "scope": "Namespaced",
            "conversion": {"strategy": "None"},
            "versions": [
                {
                    **_version("v1alpha1", schema),
                    "deprecated": True,
                    "deprecationWarning": f"{names.GROUP}/v1alpha1 is deprecated: use {names.GROUP}/v1beta1, which has the same fields",
                },
                {**_version(names.STORAGE_VERSION, schema), "storage": True},
            ],
        },
    }


def _header(source: str) -> str:
    return f"# Made by `make generate` from {source}. Do not edit.\n"


def _dumped(content: Any) -> str:
    return yaml.dump(content, Dumper=_Plain, sort_keys=False, width=120)


def _version(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "served": True,
        "storage": False,
        "additionalPrinterColumns": [
            _column(
                "Ready",
                '.status.conditions[?(@.type=="Ready")].status',
                "Whether a good token lies in the Secret.",
            ),
            _column("Expires", ".status.expirationTimestamp", "When the token expires."),
            _column(
                "Refreshed",
                ".status.tokenSecretRef.lastRefreshTimestamp",
                "How long ago it was replaced.",
                kind="date",
            ),
            _column("Audiences", ".status.audiences", "Who the token is for.", wide=True),
            _column(
                "Reason",
                '.status.conditions[?(@.type=="Ready")].reason',
                "Why it is ready or not.",
                wide=True,
            ),
            _column(
                "Age", ".metadata.creationTimestamp", "How long ago this object was created.", kind="date"
            ),
        ],
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }


def _column(
    name: str, path: str, description: str, *, kind: str = "string", wide: bool = False
) -> dict[str, Any]:
    column = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return {**column, "priority": 1} if wide else column


class _Plain(yaml.SafeDumper):
    """Repeats what is used twice: people and kubectl read no YAML anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
