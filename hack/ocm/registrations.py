"""`status.registrations` of a ManagedClusterAddOn, as v1alpha1 and v1beta1 spell it. Pure."""

from attrs import frozen

from hack.ocm.api import Body, Object

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
