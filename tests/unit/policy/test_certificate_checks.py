"""What is asked for: requests are forged here field by field, and each is left undecided by the check that is meant to find it."""

from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448

from msa.policy import approval, certificate_checks
from msa.policy.approval import Candidate
from msa.policy.doubts import Reason
from tests.support.candidates import (
    DER,
    EVERYONE,
    FLEET,
    GROUP,
    HONEST,
    ORGANISATIONS,
    TENTH_GROUP,
    TENTH_USER,
    USER,
    asked,
    candidate,
    encoded,
    named,
    organisations,
)
from tests.support.signing_requests import (
    ALTERNATIVE_NAME,
    BMP,
    CHALLENGE_PASSWORD,
    COMMON_NAME,
    ED25519,
    IA5,
    KEY_USAGE,
    ORGANISATION,
    ORGANISATIONAL_UNIT,
    OTHER_P256,
    PRINTABLE,
    SEQUENCE,
    UTF8,
    armour,
    attribute,
    dns_names,
    extension,
    extension_request,
    key_usage,
    part,
    rdn,
    request,
    rsa_key,
    tlv,
)

OURS: Final = "system:open-cluster-management:c1"
MAY_SIGN: Final = key_usage(key_encipherment=False)
OCM_NAME: Final = "managed-serviceaccount.addon.open-cluster-management.io"
SERVER_NAME: Final = dns_names("kubernetes.default.svc")
SERVER_AUTH: Final = extension("2.5.29.37", tlv(SEQUENCE, bytes.fromhex("06082b06010505070301")))
CLIENT_AUTH: Final = extension("2.5.29.37", tlv(SEQUENCE, bytes.fromhex("06082b06010505070302")))
AUTHORITY: Final = extension("2.5.29.19", tlv(SEQUENCE, b"\x01\x01\xff"), critical=True)
PASSWORD: Final = attribute(CHALLENGE_PASSWORD, tlv(UTF8, b"secret"))


def for_user(user: str) -> tuple[Reason, Candidate]:
    return Reason.COMMON_NAME, candidate(request=asked(user))


def for_groups(*groups: str) -> tuple[Reason, Candidate]:
    return Reason.ORGANISATIONS, candidate(request=asked(groups=groups))


def with_part(*parts: bytes) -> tuple[Reason, Candidate]:
    return Reason.NAME_PARTS, candidate(request=asked(more_rdns=[rdn(*parts)]))


SUBJECTS = {
    "for our agent on c10": for_user(TENTH_USER),
    "for our agent on c10, groups and all": (
        Reason.COMMON_NAME,
        candidate(request=asked(TENTH_USER, (TENTH_GROUP, FLEET))),
    ),
    "for our agent in other letters": for_user(USER.replace("cluster:c1", "cluster:C1")),
    "for our agent with a space after": for_user(f"{USER} "),
    "for our agent with a NUL after": for_user(f"{USER}\0"),
    "for our agent with a letter that looks alike": for_user(USER.replace("c1", "\u04411")),
    "for the beginning of our agent's name": for_user(USER[:-1]),
    "for another agent of our addon": for_user(f"{GROUP}:agent:other"),
    "for another addon's agent": for_user(USER.replace("managed-serviceaccount", "work-manager")),
    "for the cluster's registration agent": for_user(HONEST.username),
    "for a ServiceAccount": for_user("system:serviceaccount:c1:managed-serviceaccount-agent"),
    "for an administrator": for_user("system:admin"),
    "for a user without a name": for_user(""),
    "for no user": (Reason.COMMON_NAME, candidate(request=named(organisations(*ORGANISATIONS)))),
    "for nothing": (Reason.COMMON_NAME, candidate(request=named())),
    "for our agent twice": (
        Reason.COMMON_NAME,
        candidate(request=asked(more_rdns=[rdn(part(COMMON_NAME, USER))])),
    ),
    "for our agent, and another user after it": (
        Reason.COMMON_NAME,
        candidate(request=asked(more_rdns=[rdn(part(COMMON_NAME, "system:admin"))])),
    ),
    "for our agent, and another user before it": (
        Reason.COMMON_NAME,
        candidate(request=asked("system:admin", more_rdns=[rdn(part(COMMON_NAME, USER))])),
    ),
    "for our agent in 16-bit letters": (
        Reason.COMMON_NAME,
        candidate(
            request=named(
                organisations(*ORGANISATIONS), rdn(part(COMMON_NAME, USER.encode("utf-16-be"), BMP))
            )
        ),
    ),
    "for our agent in a string of another type": (
        Reason.COMMON_NAME,
        candidate(request=named(organisations(*ORGANISATIONS), rdn(part(COMMON_NAME, USER, IA5)))),
    ),
    "for our agent in c10's group": for_groups(TENTH_GROUP, FLEET),
    "for our agent in c10's group besides": for_groups(*ORGANISATIONS, TENTH_GROUP),
    "for our agent among the administrators": for_groups(*ORGANISATIONS, "system:masters"),
    "for our agent among the administrators, who are authenticated": for_groups(
        *ORGANISATIONS, EVERYONE, "system:masters"
    ),
    "for our agent among the administrators, in a part of its own": (
        Reason.ORGANISATIONS,
        candidate(request=asked(more_rdns=[organisations("system:masters")])),
    ),
    "for our agent in its cluster's agents' group": for_groups(*ORGANISATIONS, OURS),
    "for our agent in the addon's group alone": for_groups(FLEET),
    "for our agent in its own group alone": for_groups(GROUP),
    "for our agent in the groups of all": for_groups(GROUP, EVERYONE),
    "for our agent in no group": (
        Reason.ORGANISATIONS,
        candidate(request=named(rdn(part(COMMON_NAME, USER)))),
    ),
    "for our agent twice in one group": (
        Reason.ORGANISATIONS,
        candidate(request=asked(more_rdns=[organisations(GROUP)])),
    ),
    "for our agent twice authenticated": (
        Reason.ORGANISATIONS,
        candidate(request=asked(groups=(*ORGANISATIONS, EVERYONE), more_rdns=[organisations(EVERYONE)])),
    ),
    "for our agent in a group of another type": (
        Reason.ORGANISATIONS,
        candidate(
            request=named(
                rdn(part(ORGANISATION, GROUP, IA5)), organisations(FLEET), rdn(part(COMMON_NAME, USER))
            )
        ),
    ),
    "with an organisational unit": with_part(part(ORGANISATIONAL_UNIT, "system:masters")),
    "with a serial number": with_part(part("2.5.4.5", "1", PRINTABLE)),
    "with a country": with_part(part("2.5.4.6", "GB", PRINTABLE)),
    "with an e-mail address": with_part(part("1.2.840.113549.1.9.1", "a@example.com", IA5)),
    "with a UID": with_part(part("0.9.2342.19200300.100.1.1", "system:admin")),
}

CONTENTS = {
    "with a challenge password": (Reason.ATTRIBUTES, candidate(request=asked(attributes=[PASSWORD]))),
    "with a challenge password besides extensions": (
        Reason.ATTRIBUTES,
        candidate(request=asked(extensions=[MAY_SIGN], attributes=[PASSWORD])),
    ),
    "with an attribute that nobody knows": (
        Reason.ATTRIBUTES,
        candidate(request=asked(attributes=[attribute("1.3.6.1.4.1.99999.1", tlv(UTF8, b"x"))])),
    ),
    "with a second list of extensions behind a harmless one": (
        Reason.ATTRIBUTES,
        candidate(request=asked(extensions=[MAY_SIGN], attributes=[extension_request(SERVER_NAME)])),
    ),
    "with the name of a server": (
        Reason.ALTERNATIVE_NAMES,
        candidate(request=asked(extensions=[SERVER_NAME])),
    ),
    "with the name that OCM puts there, twice": (
        Reason.ALTERNATIVE_NAMES,
        candidate(request=asked(extensions=[dns_names(OCM_NAME, OCM_NAME)])),
    ),
    "with the name that OCM puts there, in two extensions": (
        Reason.ALTERNATIVE_NAMES,
        candidate(request=asked(extensions=[dns_names(OCM_NAME), dns_names(OCM_NAME)])),
    ),
    "with the name that OCM puts there and the name of a server": (
        Reason.ALTERNATIVE_NAMES,
        candidate(request=asked(extensions=[dns_names(OCM_NAME, "kubernetes.default.svc")])),
    ),
    "with the name that OCM puts there for another addon": (
        Reason.ALTERNATIVE_NAMES,
        candidate(request=asked(extensions=[dns_names("work-manager.addon.open-cluster-management.io")])),
    ),
    "with the name that OCM puts there as an e-mail address": (
        Reason.ALTERNATIVE_NAMES,
        candidate(
            request=asked(
                extensions=[extension(ALTERNATIVE_NAME, tlv(SEQUENCE, tlv(0x81, OCM_NAME.encode())))]
            )
        ),
    ),
    "with the name of a server besides key usage": (
        Reason.ALTERNATIVE_NAMES,
        candidate(request=asked(extensions=[MAY_SIGN, SERVER_NAME])),
    ),
    "with the name of a host, critical": (
        Reason.ALTERNATIVE_NAMES,
        candidate(
            request=asked(
                extensions=[extension(ALTERNATIVE_NAME, tlv(SEQUENCE, tlv(0x82, b"host")), critical=True)]
            )
        ),
    ),
    "with an address": (
        Reason.ALTERNATIVE_NAMES,
        candidate(
            request=asked(extensions=[extension(ALTERNATIVE_NAME, tlv(SEQUENCE, tlv(0x87, b"\x0a\0\0\1")))])
        ),
    ),
    "with an e-mail address as alternative name": (
        Reason.ALTERNATIVE_NAMES,
        candidate(
            request=asked(
                extensions=[extension(ALTERNATIVE_NAME, tlv(SEQUENCE, tlv(0x81, b"a@example.com")))]
            )
        ),
    ),
    "with a URI": (
        Reason.ALTERNATIVE_NAMES,
        candidate(
            request=asked(
                extensions=[extension(ALTERNATIVE_NAME, tlv(SEQUENCE, tlv(0x86, b"spiffe://c1/ns")))]
            )
        ),
    ),
    "with alternative names, none of them given": (
        Reason.ALTERNATIVE_NAMES,
        candidate(request=asked(extensions=[extension(ALTERNATIVE_NAME, tlv(SEQUENCE))])),
    ),
    "as a certificate authority": (Reason.EXTENSIONS, candidate(request=asked(extensions=[AUTHORITY]))),
    "with the extended usage of a server": (
        Reason.EXTENSIONS,
        candidate(request=asked(extensions=[MAY_SIGN, SERVER_AUTH])),
    ),
    "with the extended usage of a client": (
        Reason.EXTENSIONS,
        candidate(request=asked(extensions=[CLIENT_AUTH])),
    ),
    "with an extension that nobody knows": (
        Reason.EXTENSIONS,
        candidate(request=asked(extensions=[extension("1.3.6.1.4.1.99999.2", b"x")])),
    ),
    "to sign certificates with the key": (
        Reason.KEY_USAGE,
        candidate(request=asked(extensions=[extension(KEY_USAGE, bytes.fromhex("03020284"), critical=True)])),
    ),
    "to encipher with the key alone": (
        Reason.KEY_USAGE,
        candidate(request=asked(extensions=[extension(KEY_USAGE, bytes.fromhex("03020520"), critical=True)])),
    ),
    "to use the key for nothing": (
        Reason.KEY_USAGE,
        candidate(request=asked(extensions=[extension(KEY_USAGE, bytes.fromhex("030100"), critical=True)])),
    ),
    "with two key usages": (
        Reason.KEY_USAGE,
        candidate(request=asked(extensions=[MAY_SIGN, key_usage(key_encipherment=True)])),
    ),
    "with an RSA key of 1024 bits": (Reason.KEY, candidate(request=asked(key=rsa_key(1024)))),
    "with an RSA key of 2040 bits": (Reason.KEY, candidate(request=asked(key=rsa_key(2040)))),
    "with a P-521 key": (Reason.KEY, candidate(request=asked(key=ec.generate_private_key(ec.SECP521R1())))),
    "with a secp256k1 key": (
        Reason.KEY,
        candidate(request=asked(key=ec.generate_private_key(ec.SECP256K1()))),
    ),
    "with an Ed448 key": (Reason.KEY, candidate(request=asked(key=ed448.Ed448PrivateKey.generate()))),
    "signed with another key": (Reason.SIGNATURE, candidate(request=asked(signed_by=OTHER_P256))),
    "signed with a key of another kind": (Reason.SIGNATURE, candidate(request=asked(signed_by=ED25519))),
    "signed with the first bit of the signature changed": (
        Reason.SIGNATURE,
        candidate(request=encoded(armour(DER[:-1] + bytes((DER[-1] ^ 0x80,))))),
    ),
    "signed for c2, whose name was changed to c1 after that": (
        Reason.SIGNATURE,
        candidate(
            request=encoded(
                armour(
                    request(
                        (
                            organisations(GROUP.replace("c1", "c2"), FLEET),
                            rdn(part(COMMON_NAME, USER.replace("c1", "c2"))),
                        )
                    ).replace(b"cluster:c2", b"cluster:c1")
                )
            )
        ),
    ),
}

FORGERIES = SUBJECTS | CONTENTS


@pytest.mark.parametrize(("reason", "forged"), FORGERIES.values(), ids=list(FORGERIES))
def test_a_forged_request_stays_undecided_by_the_check_that_is_meant_to_find_it(
    reason: Reason, forged: Candidate
) -> None:
    found = approval.doubt(forged)
    assert found is not None
    assert found.reason is reason


@pytest.mark.parametrize("forged", [forged for _, forged in FORGERIES.values()], ids=list(FORGERIES))
def test_a_doubt_says_what_was_found_and_what_is_wanted_in_plain_letters(forged: Candidate) -> None:
    found = approval.doubt(forged)
    assert found is not None
    assert found.message.isascii()
    assert found.message.isprintable()
    assert ": found " in found.message
    assert ", wanted " in found.message
    assert len(found.message) <= 1024, "an Event's message holds no more"


@pytest.mark.parametrize("check", certificate_checks.CHECKS)
def test_each_check_alone_keeps_some_forgery_out(
    check: certificate_checks.Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = tuple(other for other in certificate_checks.CHECKS if other is not check)
    monkeypatch.setattr(certificate_checks, "CHECKS", others)
    assert None in {approval.doubt(forged) for _, forged in FORGERIES.values()}


def test_what_a_stranger_wrote_does_not_flood_the_event() -> None:
    found = approval.doubt(candidate(request=asked("x" * 5000)))
    assert found is not None
    assert "x" * 150 in found.message
    assert "x" * 201 not in found.message
