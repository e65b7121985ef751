"""What the reasons mean, in words for people: each reason that the code gives has its entry here, and no other has."""

from collections.abc import Iterable, Mapping

from attrs import frozen


@frozen
class Entry:
    """One reason explained.

    Attributes:
        remedy: what to do, "" for nothing.
    """

    meaning: str
    remedy: str = ""


def explained(found: Iterable[str], words: Mapping[str, Entry]) -> list[tuple[str, Entry]]:
    """The entries, in the order that they are written in.

    Args:
        found: the reasons in the code.
        words: the entries about them.

    Raises:
        ValueError: a reason has no entry, or an entry no reason.
    """
    reasons = set(map(str, found))
    if missing := reasons - set(words):
        raise ValueError(f"hack/reference/words.py explains none of: {', '.join(sorted(missing))}")
    if stale := set(words) - reasons:
        raise ValueError(
            f"hack/reference/words.py explains what the code does not say: {', '.join(sorted(stale))}"
        )
    return list(words.items())


_ITSELF = "nothing: the agent goes on by itself"

GOOD = {
    "TokenFresh": Entry("a good token lies in the Secret"),
    "TokenReported": Entry("the same"),
    "SecretCreated": Entry("the Secret is there; its token may be one that cannot be renewed, `Ready` tells"),
    "EphemeralIdentityGateOff": Entry(
        "`spec.ttlSecondsAfterCreation` has no effect: the feature gate EphemeralIdentity is off",
        "enable it with `featureGates.ephemeralIdentity=true`, or remove the field",
    ),
    "GrantedLessThanRequested": Entry(
        "the managed cluster grants less than 95 % of `spec.rotation.validity`; tokens are renewed by what was granted",
        "ask for no more, or raise `--service-account-max-token-expiration` there",
    ),
}
"""Of a ManagedServiceAccount, for conditions that are True."""

TROUBLES = {
    "InvalidSpec": Entry(
        "`spec.rotation.validity` stands for no life that a token can have",
        "write a Go duration from 10m to 1193046h28m16s, such as `24h`",
    ),
    "ReservedName": Entry(
        "the name is that of the agent's own ServiceAccount, which is never handed out", "choose another name"
    ),
    "ServiceAccountConflict": Entry(
        "a ServiceAccount of that name on the managed cluster is not the addon's, or belongs to another program as well: another owner, "
        "a program that applies it (server-side, or known by its label or annotation). No token is issued for it, and one that was is removed from the Secret",
        "choose another name for the ManagedServiceAccount, or do what the message says",
    ),
    "ServiceAccountTerminating": Entry(
        "the ServiceAccount on the managed cluster is being deleted and its finalizers keep it; no token is requested for it",
        "find who should remove the finalizers that the message names; a new ServiceAccount and token follow",
    ),
    "SecretConflict": Entry(
        "a Secret of that name on the hub is not the addon's",
        "delete or rename it, or have it taken over by the `kubectl label` that the message gives",
    ),
    "SecretContested": Entry(
        "another program keeps altering or deleting the Secret; repairs back off",
        "stop the field manager that the message names",
    ),
    "SecretAltered": Entry(
        "the hub stored the Secret otherwise than the agent wrote it; the status tells what is stored",
        "exempt these Secrets from the mutating admission webhook or policy that alters them",
    ),
    "TokenRequestRefused": Entry(
        "the managed cluster finds the TokenRequest invalid", "check `spec.audiences` and `spec.rotation`"
    ),
    "ServiceAccountRefused": Entry(
        "the managed cluster finds the ServiceAccount invalid",
        "see admission policies and webhooks of the install namespace there",
    ),
    "SecretRefused": Entry(
        "the hub finds the Secret invalid", "see admission policies and webhooks of this namespace on the hub"
    ),
    "ForbiddenOnManagedCluster": Entry(
        "the agent may not do there what it must",
        "see the Role `open-cluster-management:managed-serviceaccount:addon-agent` in the install namespace, quotas and admission policies",
    ),
    "ForbiddenOnHub": Entry(
        "the agent may not do on the hub what it must",
        "see the RoleBinding `managed-serviceaccount-addon-agent` in this namespace (the manager restores it), the ClusterRole of that name (the chart creates it), quotas and admission policies",
    ),
    "UnauthorizedOnManagedCluster": Entry(
        "the managed cluster does not take the agent's own token",
        "see the agent's pod: its ServiceAccount and the mounted token",
    ),
    "UnauthorizedOnHub": Entry(
        "the hub does not take the agent's certificate or token; as long as it takes none, only the agent's log can say so",
        "see the CertificateSigningRequests, and the Secret `managed-serviceaccount-hub-kubeconfig` beside the agent",
    ),
    "UnfitToken": Entry(
        "the managed cluster issued another token than was asked for, and it was not written",
        "see what replaces the ServiceAccount, or alters token requests, there",
    ),
    "ClockSkew": Entry(
        "a newly issued token is already due for rotation",
        "set the clocks of the agent's node and of the managed cluster's API server",
    ),
    "ManagedClusterNotReady": Entry(
        "what the agent asked for is not found there", "see that the agent's install namespace still exists"
    ),
    "ManagedClusterBusy": Entry("the API server there is throttling requests (429)", _ITSELF),
    "ManagedClusterUnreachable": Entry(
        "the API server there is unreachable; the current token stays in place", _ITSELF
    ),
    "HubBusy": Entry("the hub is throttling requests (429)", _ITSELF),
    "HubUnreachable": Entry("the hub is unreachable; the current token stays in place", _ITSELF),
    "AddonRemoved": Entry(
        "the addon is being removed from the managed cluster: ServiceAccount `managed-serviceaccount` and ConfigMap "
        "`managed-serviceaccount-identities` are both deleted there, and with them the ServiceAccounts of all identities",
        "nothing, where the addon is meant to leave; else see who deleted both: OCM creates them again, then all tokens are new",
    ),
}
"""Of a ManagedServiceAccount, for conditions that are False."""

MANAGER = {
    "AgentUnavailable": Entry(
        "the agent is not available, so it is not known whether the token can be used; it may still be valid",
        "see the ManagedClusterAddOn of this cluster: `kubectl describe managedclusteraddon -n CLUSTER managed-serviceaccount`",
    ),
    "TokenExpired": Entry(
        "the token has expired and was not renewed in time",
        "see `TokenReported`, and whether the agent is available",
    ),
    "AddonRemoved": Entry(
        "the addon is being removed from this cluster (by `helm uninstall`, say), or the cluster is detached: the token ends with it",
        "nothing; where the addon is wanted, see the install strategy of the ClusterManagementAddOn",
    ),
}
"""Of a ManagedServiceAccount, in Ready, written by the manager."""

FAN_OUT = {
    "AllClustersReady": Entry("every cluster where it belongs has a good token"),
    "RollingOut": Entry(
        "some clusters are not updated, or have no token yet; `status.fanOut` counts",
        "wait; `spec.rollout` says how many change at a time",
    ),
    "ClustersFailing": Entry(
        "some clusters report a failure, or could not be written to; `status.fanOut.failing` names them and why",
        "see the ManagedServiceAccount of that name in the cluster's namespace",
    ),
    "NoClusters": Entry(
        "none of the clusters that the namespace may use is selected",
        "add clusters to the set, or change the Placement",
    ),
    "AllServiceAccountsPresent": Entry("every cluster reports the ServiceAccount"),
    "ServiceAccountsMissing": Entry("some clusters do not; the message names some", "as for `Ready`"),
    "AllTokensReported": Entry("every cluster's namespace has a token"),
    "TokensMissing": Entry("some have not; the message names some", "as for `Ready`"),
    "NamespaceNotBound": Entry(
        "the namespace does not belong to a managed cluster, and no ManagedClusterSet is bound to it: there is nothing to do",
        "create it in a cluster's namespace, or bind a set: `clusteradm clusterset bind SET --namespace NAMESPACE`",
    ),
    "PlacementNotDecided": Entry(
        "there is no PlacementDecision of the Placement that `spec.placementRef` names; existing tokens stay in place",
        "create the Placement, or correct the name",
    ),
    "ClusterSetsUnknown": Entry(
        "the manager cannot read cluster sets, bindings or decisions; existing tokens stay in place",
        "install Open Cluster Management's CRDs, or give the manager its rights back with `helm upgrade`",
    ),
}

ADDON = {
    "SetPermissionApplied": Entry("the agent has its rights in the cluster's namespace and may register"),
    "PermissionConfigPending": Entry(
        "with the registration driver `token`, the cluster's side has not said yet who the agent is",
        "wait; if it stays, see the registration agent on the managed cluster",
    ),
    "SetPermissionFailed": Entry(
        "the status names another user than the agent may be: nobody is given its rights",
        "remove that entry from `status.registrations`, and see who wrote it",
    ),
    "AddonManifestApplied": Entry("the agent's objects are on the managed cluster"),
    "AddonManifestAppliedFailed": Entry(
        "the work agent could not apply some of them; the message names them",
        "remove what is in the way there, or give the work agent the right that it lacks",
    ),
    "InvalidConfiguration": Entry(
        "an AddOnDeploymentConfig, an annotation or the pull Secret cannot be used; an agent that runs is left as it is",
        "do what the message says: it names object, field and remedy",
    ),
    "AddonManifestPending": Entry(
        "the configuration is right again; the cluster has not applied it yet", "wait"
    ),
    "AgentNotAvailable": Entry(
        "the agent's Deployment does not run on the managed cluster; the message says what the Deployment says",
        "see its pods: `kubectl describe pods -l addon-agent=managed-serviceaccount` in the install namespace there",
    ),
    "AgentRuns": Entry("the agent's Deployment is available"),
}
"""Of a ManagedClusterAddOn."""

IDENTITY_EVENTS = {
    "TokenIssued": Entry("a token was issued and written; the message says why"),
    "Repaired": Entry(
        "something of ours that had been altered is as it should be again; the message says what"
    ),
    "Adopted": Entry(
        "another agent wrote the Secret, or its label asks for adoption: this agent keeps it from now on, with its token where that is good"
    ),
    "TTLIgnored": Entry(
        "`spec.ttlSecondsAfterCreation` has no effect: the feature gate EphemeralIdentity is off"
    ),
    "LifetimeShortened": Entry("from now on the managed cluster grants shorter lives than asked for"),
}

ADDON_EVENTS = {
    "DeletionsHeld": Entry(
        "most ManagedServiceAccounts of the cluster are missing on the hub and their deletion was not seen: the agent keeps their "
        "ServiceAccounts for 15 minutes. See the [runbook](../runbooks/MsaDeletionsHeld.md)"
    ),
}

RENEWALS = {
    "SecretMissing": Entry("there was no Secret: the first token, or the Secret was deleted"),
    "TokenMissing": Entry("the Secret had no `token`"),
    "TokenMalformed": Entry("its `token` could not be read"),
    "WrongServiceAccount": Entry("its token was another ServiceAccount's"),
    "ServiceAccountReplaced": Entry(
        "the ServiceAccount was deleted and made again since: its old tokens are void"
    ),
    "SpecChanged": Entry("the spec asks for another life or other audiences now"),
    "WrongAudience": Entry("the token was for others than the spec says"),
    "UnknownSigningKey": Entry("the managed cluster does not take the token: its signing key was replaced"),
    "TokenRefused": Entry(
        "the managed cluster does not accept tokens of that issuer and those audiences any more: its API server was reconfigured"
    ),
    "TokenExpired": Entry("it was not renewed in time: the agent or an API server was away"),
    "TokenDue": Entry("it was time, between 0.7 and 0.8 of its life"),
    "CAChanged": Entry(
        "`ca.crt` was not the managed cluster's CA, which was replaced, or another program altered it"
    ),
    "ForeignData": Entry("the Secret had other entries than `token` and `ca.crt`, which were removed"),
    "MarksLost": Entry("the Secret's label, annotations or ownerReference were missing or wrong"),
    "TokenRevoked": Entry(
        "the ServiceAccount belongs to another program as well: its token was removed from the Secret"
    ),
    "Adopted": Entry(
        "another agent, such as the Go addon's, wrote the Secret, or its label asks for adoption (not with `Repaired`)"
    ),
    "ServiceAccountRelabelled": Entry("the ServiceAccount on the managed cluster had lost its label"),
}
"""Why a Secret, or the ServiceAccount, was written again."""

REQUEST_EVENTS = {
    "Approved": Entry("every field is what the agent on that cluster may ask for"),
    "AlreadyDecided": Entry(
        "it is already decided, or has its certificate: it is ignored, and no Event is emitted"
    ),
    "WrongSigner": Entry("it asks another signer than `kubernetes.io/kube-apiserver-client`"),
    "WrongAddonLabel": Entry(
        "its label names another addon: such a request is ignored, and no Event is emitted"
    ),
    "ClusterUnknown": Entry("its label names no ManagedCluster", "import the cluster"),
    "ClusterNotAccepted": Entry(
        "the hub has not accepted the cluster", "accept it: `spec.hubAcceptsClient` of the ManagedCluster"
    ),
    "ClusterDeleting": Entry("the cluster is being detached", "import it anew once it is gone"),
    "AddonMissing": Entry("the addon is not wanted on that cluster", "install it there"),
    "AddonDeleting": Entry("the addon is being removed there", "install it anew once it is gone"),
    "WrongRequester": Entry("neither that cluster's registration agent nor its addon agent made it"),
    "WrongUsages": Entry("`spec.usages` is not what a client needs"),
    "ExpirationOutOfBounds": Entry("`spec.expirationSeconds` is under 10 minutes or over a year"),
    "NotOnePEMBlock": Entry("`spec.request` is not exactly one PEM block"),
    "RequestMalformed": Entry("`spec.request` is no certificate request"),
    "WrongCommonName": Entry("the certificate would be another user's"),
    "WrongOrganizations": Entry("the certificate would be in other groups"),
    "ForeignNamePart": Entry("the subject has parts besides CN and O"),
    "ForeignAttribute": Entry("the request has attributes besides one list of extensions"),
    "SubjectAltName": Entry("alternative names are asked for, other than the one that OCM puts there"),
    "ForeignExtension": Entry("it requests extensions that the agent does not need"),
    "WrongKeyUsage": Entry("the key usage is not a client's"),
    "KeyNotAllowed": Entry(
        "the key is weak or of an unusual kind", "RSA of 2048 bits or more, P-256, P-384 or Ed25519"
    ),
    "SignatureInvalid": Entry("the request is not signed by its own key"),
    "TooManyRequests": Entry(
        "the cluster has more undecided requests than are judged, and newer ones",
        "delete the undecided requests",
    ),
}
"""On a CertificateSigningRequest."""

PROFILE_EVENTS = {
    "ProfileSecretConflict": Entry("something else has the name that a copy would have; it is left alone"),
    "ProfileInForeignCluster": Entry(
        "the profile is in another managed cluster's own namespace, whose agent would have the token"
    ),
    "ProfileNamespaceNotBound": Entry(
        "no ManagedClusterSet with the cluster is bound to the profile's namespace, so whoever created it there gets no credential"
    ),
    "ProfileClusterSetsUnknown": Entry("the manager cannot read ManagedClusterSets or their bindings"),
    "ProfileSecretNameTooLong": Entry("the copy's name would be longer than a label's value may be"),
}
