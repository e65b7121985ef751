"""Is the certificate that is asked for our agent's on that cluster, and no more than that: the second list of `policy.approval`."""

from collections.abc import Callable
from typing import Final, TypeAlias

from attrs import frozen

from msa.api import names, subjects
from msa.policy import general_names
from msa.policy.doubts import Doubt, Reason, differs
from msa.policy.signing_request import (
    ALTERNATIVE_NAME,
    ED25519,
    EXTENSION_REQUEST,
    KEY_USAGE,
    P256,
    P384,
    RSA,
    Asked,
)

KEY_USAGES: Final = (bytes.fromhex("03020780"), bytes.fromhex("030205a0"))
"""The DER of digital signature alone, and with key encipherment."""

LEAST_RSA_BITS: Final = 2048

_DNS_NAME: Final = f"{names.ADDON}.addon.open-cluster-management.io"
OCM_DNS_NAME: Final = bytes((0x30, len(_DNS_NAME) + 2, 0x82, len(_DNS_NAME))) + _DNS_NAME.encode()
"""The DER of the one alternative name that there may be, a sequence of one dNSName. OCM's registration agent asks for it, whatever the
addon; nobody is anybody by it: an API server takes who a client is from the common name and the organisations."""


@frozen
class Opened:
    """What is asked for, and for which cluster."""

    cluster: str
    asked: Asked


Check: TypeAlias = Callable[[Opened], Doubt | None]


def doubt(opened: Opened) -> Doubt | None:
    """The first thing wrong with what is asked for, None for nothing."""
    return next((found for check in CHECKS if (found := check(opened)) is not None), None)


def _wrong_common_name(opened: Opened) -> Doubt | None:
    found, wanted = opened.asked.common_names, subjects.agent_user(opened.cluster)
    if found == (wanted,):
        return None
    return differs(
        Reason.COMMON_NAME, "subject's CN", ", ".join(found), f"{wanted}, once", "ask for that user"
    )


def _wrong_organisations(opened: Opened) -> Doubt | None:
    found, groups = opened.asked.organisations, subjects.agent_groups(opened.cluster)
    if sorted(found) in (sorted(groups), sorted((*groups, subjects.AUTHENTICATED))):
        return None
    wanted = f"{', '.join(groups)} and at most {subjects.AUTHENTICATED} besides, each once"
    return differs(Reason.ORGANISATIONS, "subject's O", ", ".join(found), wanted, "ask for these groups")


def _foreign_name_part(opened: Opened) -> Doubt | None:
    if not opened.asked.other_parts:
        return None
    found = ", ".join(opened.asked.other_parts)
    return differs(Reason.NAME_PARTS, "subject", found, "nothing but CN and O", "leave these parts out")


def _foreign_attribute(opened: Opened) -> Doubt | None:
    found, wanted = opened.asked.attributes, "at most one extension request, 1.2.840.113549.1.9.14"
    if found in ((), (EXTENSION_REQUEST,)):
        return None
    return differs(Reason.ATTRIBUTES, "attributes", ", ".join(found), wanted, "leave the others out")


def _alternative_names(opened: Opened) -> Doubt | None:
    found = [value for oid, value in opened.asked.extensions if oid == ALTERNATIVE_NAME]
    if found in ([], [OCM_DNS_NAME]):
        return None
    shown = ", ".join(general_names.shown(value) for value in found)
    wanted = f"at most the DNS name {_DNS_NAME}, which OCM puts there, once and nothing besides"
    return differs(Reason.ALTERNATIVE_NAMES, "alternative names", shown, wanted, "leave the others out")


def _foreign_extension(opened: Opened) -> Doubt | None:
    found = [oid for oid, _ in opened.asked.extensions if oid not in (KEY_USAGE, ALTERNATIVE_NAME)]
    if not found:
        return None
    wanted, remedy = "at most key usage, 2.5.29.15", "leave the others out"
    return differs(Reason.EXTENSIONS, "extensions", ", ".join(found), wanted, remedy)


def _wrong_key_usage(opened: Opened) -> Doubt | None:
    found = [value for oid, value in opened.asked.extensions if oid == KEY_USAGE]
    if not found or (len(found) == 1 and found[0] in KEY_USAGES):
        return None
    wanted = "digital signature and at most key encipherment besides (03020780 or 030205a0), once"
    hexadecimal = ", ".join(value.hex() for value in found)
    return differs(
        Reason.KEY_USAGE, "key usage extension", hexadecimal, wanted, "ask for that, or leave it out"
    )


def _key_not_allowed(opened: Opened) -> Doubt | None:
    key, bits = opened.asked.key, opened.asked.rsa_bits
    if key in (P256, P384, ED25519) or (key == RSA and bits >= LEAST_RSA_BITS):
        return None
    found = f"RSA of {bits} bits" if key == RSA else key
    wanted = f"RSA of {LEAST_RSA_BITS} bits or more, P-256, P-384 or Ed25519"
    return differs(Reason.KEY, "public key", found, wanted, "make a key of that kind")


def _signature_invalid(opened: Opened) -> Doubt | None:
    if opened.asked.signed:
        return None
    wanted, remedy = "one by the key that the certificate is for", "sign the request with its own key"
    return differs(Reason.SIGNATURE, "signature", "another", wanted, remedy)


CHECKS: tuple[Check, ...] = (
    _wrong_common_name,  # the user is our agent on that cluster
    _wrong_organisations,  # in its groups alone
    _foreign_name_part,  # and nothing else
    _foreign_attribute,  # nothing is asked for in a way that we do not look at
    _alternative_names,  # no name besides the subject, but the one that means nothing
    _foreign_extension,  # no power besides
    _wrong_key_usage,  # the key is for a client's use
    _key_not_allowed,  # the key cannot be guessed
    _signature_invalid,  # and is the asker's own
)
