"""What is sent for ClusterProfiles: request bodies as plain values."""

from typing import Any

from msa.api import names
from msa.api.clusterprofile import GROUP, KIND, VERSION, ClusterProfile
from msa.api.core import Secret
from msa.api.meta import ObjectMeta
from msa.hub.bodies import Body
from msa.policy.profiles import MARKS, SECRET_TYPE, labels


def new_copy(profile: ClusterProfile, name: str, source: Secret) -> Body:
    """A copy that does not exist yet, with the source's content as it was just read."""
    said = {mark: text for mark in MARKS if (text := source.metadata.annotation(mark))}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": SECRET_TYPE,
        "metadata": {
            "name": name,
            "namespace": profile.metadata.namespace,
            "labels": labels(name),
            "annotations": said,
            "ownerReferences": [_controller(profile.metadata)],
        },
        "data": _data(source),
    }


def copy_patch(stored: ObjectMeta, keys: frozenset[str], source: Secret) -> Body:
    """A merge patch of a stored copy: our marks and the source's two entries, entries of others away.

    Args:
        stored: the copy's metadata.
        keys: the names of its data entries.
        source: as it was just read.
    """
    strangers = dict.fromkeys(sorted(keys - names.SECRET_KEYS))
    return {
        "metadata": {
            "resourceVersion": stored.resource_version,
            "labels": labels(stored.name),
            "annotations": {mark: source.metadata.annotation(mark) or None for mark in MARKS},
        },
        "data": {**strangers, **_data(source)},
    }


def _data(source: Secret) -> dict[str, str]:
    stored = source.data or {}
    return {key: stored[key] for key in sorted(names.SECRET_KEYS)}


def _controller(profile: ObjectMeta) -> dict[str, Any]:
    """It does not block the profile's deletion: to say so, some hubs ask for rights on the profile's finalizers."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "name": profile.name,
        "uid": profile.uid,
        "controller": True,
    }
