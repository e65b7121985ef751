"""Why a CertificateSigningRequest is left undecided."""

from enum import StrEnum
from typing import Final

from attrs import frozen

_SHOWN: Final = 200


class Reason(StrEnum):
    """Which check failed."""

    ALREADY_DECIDED = "AlreadyDecided"
    SIGNER = "WrongSigner"
    ADDON_LABEL = "WrongAddonLabel"
    CLUSTER_UNKNOWN = "ClusterUnknown"
    CLUSTER_NOT_ACCEPTED = "ClusterNotAccepted"
    CLUSTER_DELETING = "ClusterDeleting"
    ADDON_MISSING = "AddonMissing"
    ADDON_DELETING = "AddonDeleting"
    REQUESTER = "WrongRequester"
    USAGES = "WrongUsages"
    EXPIRATION = "ExpirationOutOfBounds"
    NOT_PEM = "NotOnePEMBlock"
    MALFORMED = "RequestMalformed"
    COMMON_NAME = "WrongCommonName"
    ORGANISATIONS = "WrongOrganizations"
    NAME_PARTS = "ForeignNamePart"
    ATTRIBUTES = "ForeignAttribute"
    ALTERNATIVE_NAMES = "SubjectAltName"
    EXTENSIONS = "ForeignExtension"
    KEY_USAGE = "WrongKeyUsage"
    KEY = "KeyNotAllowed"
    SIGNATURE = "SignatureInvalid"
    TOO_MANY = "TooManyRequests"


@frozen
class Doubt:
    """Why the request is not approved.

    Attributes:
        message: the field, what was found there, what is wanted, and what can be done.
    """

    reason: Reason
    message: str


def differs(reason: Reason, field: str, found: str, wanted: str, remedy: str) -> Doubt:
    """What was found is a stranger's text: it is cut, and in ASCII, so that no control characters and no look-alikes get through."""
    return Doubt(reason, f"{field}: found {ascii(found[:_SHOWN])[:_SHOWN]}, wanted {wanted}: {remedy}")
