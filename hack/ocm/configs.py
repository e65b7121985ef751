"""Which configurations OCM says are in use. Pure.

OCM's addon-manager decides who uses what and copies hashes on; the hashes themselves are written by the addon's own manager, and while
there is none, none is copied. v1alpha1 and v1beta1 spell the same in two ways.
"""

from collections.abc import Iterable, Sequence

from attrs import frozen

from hack.ocm.api import Body


@frozen
class Named:
    """One object of configuration."""

    group: str
    resource: str
    namespace: str
    name: str

    @classmethod
    def of(cls, kind: Body, referent: Body) -> "Named":
        return cls(
            kind.get("group", ""), kind["resource"], referent.get("namespace", ""), referent.get("name", "")
        )

    @property
    def kind(self) -> tuple[str, str]:
        return self.group, self.resource

    def reference(self, spec_hash: str = "") -> Body:
        desired = {"name": self.name, "namespace": self.namespace, "specHash": spec_hash}
        filled = {key: value for key, value in desired.items() if value}
        return {"group": self.group, "resource": self.resource, "desiredConfig": filled}


def fleet_status(spec: Body, status: Body, version: str) -> Body:
    """The fields of a ClusterManagementAddOn's status that are OCM's, with the hashes that stand there already."""
    defaults = default_configs(spec)
    strategy = spec.get("installStrategy", {})
    placements = strategy.get("placements", ()) if strategy.get("type") == "Placements" else ()
    spelling = "defaultconfigReferences" if version == "v1alpha1" else "defaultConfigReferences"
    return {
        spelling: _referenced(defaults, status.get(spelling, ())),
        "installProgressions": [
            _progression(placement, defaults, status.get("installProgressions", ()))
            for placement in placements
        ],
    }


def cluster_references(spec: Body, status: Body, fleet: Body, version: str) -> list[Body]:
    """`status.configReferences` of one ManagedClusterAddOn: its own configurations, for each kind of them, before the fleet's."""
    stored = status.get("configReferences", ())
    own = [Named.of(config, config) for config in spec.get("configs", ())]
    kinds = {config.kind for config in own}
    chosen = [
        *_referenced(own, stored),
        *(item for item in _of_fleet(fleet) if (item.get("group", ""), item["resource"]) not in kinds),
    ]
    chosen.sort(key=lambda item: (item.get("group", ""), item["resource"]))
    return [_kept(item, stored, version) for item in chosen]


def default_configs(spec: Body) -> list[Named]:
    """In v1alpha1 they stand in the supported kinds."""
    supported = [
        (kind, kind["defaultConfig"]) for kind in spec.get("supportedConfigs", ()) if "defaultConfig" in kind
    ]
    listed = [(config, config) for config in spec.get("defaultConfigs", ())]
    return [Named.of(kind, referent) for kind, referent in (*supported, *listed)]


def _progression(placement: Body, defaults: Sequence[Named], stored: Iterable[Body]) -> Body:
    own = [Named.of(config, config) for config in placement.get("configs", ())]
    kinds = {config.kind for config in own}
    chosen = [*own, *(config for config in defaults if config.kind not in kinds)]
    where = {"namespace": placement["namespace"], "name": placement["name"]}
    before: Body = next((item for item in stored if where.items() <= item.items()), {})
    references = _referenced(chosen, before.get("configReferences", ()))
    return before | where | {"configReferences": references}


def _of_fleet(fleet: Body) -> Iterable[Body]:
    """What the last placement says, which wins; without any, the defaults."""
    if progressions := fleet.get("installProgressions"):
        return list(progressions[-1].get("configReferences", ()))
    return list(fleet.get("defaultConfigReferences") or fleet.get("defaultconfigReferences") or ())


def _referenced(chosen: Iterable[Named], stored: Iterable[Body]) -> list[Body]:
    hashes = {
        Named.of(item, item["desiredConfig"]): item["desiredConfig"].get("specHash", "")
        for item in stored
        if "desiredConfig" in item
    }
    return [config.reference(hashes.get(config, "")) for config in chosen]


def _kept(reference: Body, stored: Iterable[Body], version: str) -> Body:
    """With what others wrote into the same entry; v1alpha1 names the object twice."""
    named = Named.of(reference, reference["desiredConfig"])
    before: Body = next(
        (item for item in stored if Named.of(item, item.get("desiredConfig", {})) == named), {}
    )
    twice = {"name": named.name, "namespace": named.namespace} if version == "v1alpha1" else {}
    return before | {key: value for key, value in twice.items() if value} | reference
