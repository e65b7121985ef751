"""`status.registrations` of a ManagedClusterAddOn, as v1alpha1 and v1beta1 spell it. Pure."""

from attrs import frozen

from hack.ocm.api import Body, Object
from msa.api import names

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"


@frozen
class Registered:
    """How the addon's agent shall register on the hub.

    Attributes:
        driver: csr, token, or "" while nobody has said.
    """

    user: str
    groups: tuple[str, ...]
    driver: str


def registered(addon: Object) -> Registered | None:
    """None while the addon's manager has not said."""
    for item in addon.status.get("registrations", ()):
        if item.get("signerName") == CLIENT_SIGNER:
            return _of(item.get("subject", {}), addon.status.get("kubeClientDriver", ""))
        if item.get("type") == "kubeClient":
            client = item.get("kubeClient", {})
            return _of(client.get("subject", {}), client.get("driver", ""))
    return None


def default_subject(cluster: str) -> Body:
    """Whom OCM makes of an agent that comes from an AddOnTemplate. Our own manager names the agent otherwise."""
    group = f"system:open-cluster-management:cluster:{cluster}:addon:{names.ADDON}"
    shared = f"system:open-cluster-management:addon:{names.ADDON}"
    return {"user": f"{group}:agent:{names.ADDON}-agent", "groups": [group, shared]}


def requested(addon: Object, subject: Body, version: str) -> list[Body]:
    """What the addon's manager says; with the driver token the subject is the cluster's to say."""
    found = registered(addon)
    driver = found.driver if found is not None else ""
    if found is not None and driver == "token":
        subject = {"user": found.user, "groups": list(found.groups)} if found.user else {}
    if version == "v1alpha1":
        return [{"signerName": CLIENT_SIGNER, "subject": subject}]
    client = {"subject": subject} | ({"driver": driver} if driver else {})
    return [{"type": "kubeClient", "kubeClient": client}]


def subjects(addon: Object) -> list[Body]:
    """Whom OCM grants the agent's rights: its user, and, where they are said, all its groups."""
    found = registered(addon)
    if found is None:
        return []
    named = [("User", found.user), *(("Group", group) for group in found.groups)]
    return [
        {"kind": kind, "apiGroup": "rbac.authorization.k8s.io", "name": name} for kind, name in named if name
    ]


def with_driver(addon: Object, driver: str, version: str) -> Body:
    """The changes of the status that say it."""
    if version == "v1alpha1":
        return {"kubeClientDriver": driver}
    return {"registrations": [_set(item, "driver", driver) for item in addon.status["registrations"]]}


def with_user(addon: Object, user: str, version: str) -> Body:
    """The changes of the status that make this user the subject, in no group."""
    stored = addon.status["registrations"]
    if version == "v1alpha1":
        return {
            "registrations": [
                item | {"subject": {"user": user}} if item["signerName"] == CLIENT_SIGNER else item
                for item in stored
            ]
        }
    return {"registrations": [_set(item, "subject", {"user": user}) for item in stored]}


def _set(item: Body, field: str, value: object) -> Body:
    if item.get("type") != "kubeClient":
        return item
    return item | {"kubeClient": item.get("kubeClient", {}) | {field: value}}


def _of(subject: Body, driver: str) -> Registered:
    return Registered(subject.get("user", ""), tuple(subject.get("groups", ())), driver)
