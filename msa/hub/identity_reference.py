"""The object that Events about a ManagedServiceAccount are about."""

from msa.api import names
from msa.api.fleet_identity import FleetIdentity
from msa.runtime.recorder import ObjectReference


def regarding(identity: FleetIdentity) -> ObjectReference:
    metadata = identity.metadata
    api_version = f"{names.GROUP}/{names.STORAGE_VERSION}"
    return ObjectReference(api_version, names.KIND, metadata.namespace, metadata.name, metadata.uid)
