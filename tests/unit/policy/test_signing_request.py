"""Requests read from their bytes: all that is in an honest one, and no crash whatever else is sent."""

from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from msa.policy import approval, signing_request
from msa.policy.der import Malformed, dotted, elements
from msa.policy.signing_request import Asked, NotPEM
from tests.support.candidates import DER, HONEST, ORGANISATIONS, PEM, USER, asked, candidate, encoded
from tests.support.signing_requests import (
    COMMON_NAME,
    ED25519,
    INTEGER,
    OID,
    ORGANISATIONAL_UNIT,
    OTHER_P256,
    P384,
    SEQUENCE,
    Key,
    armour,
    dns_names,
    key_usage,
    oid,
    part,
    pem,
    rdn,
    request,
    rsa_key,
    tlv,
)

UNTIMED: Final = settings(deadline=None)
"""The shared machine stops for longer than a deadline now and then."""

WITH_ALL: Final = pem(
    USER,
    ORGANISATIONS,
    more_rdns=[rdn(part(ORGANISATIONAL_UNIT, "unit"))],
    extensions=[key_usage(key_encipherment=True), dns_names("host")],
)
BODIES: Final = (
    DER,
    request(()),
    request((rdn(part(COMMON_NAME, USER)),), key=P384),
    request((rdn(part(COMMON_NAME, USER)),), key=ED25519),
)


def read_or_refused(text: str) -> Asked | None:
    """Nothing but the two refusals may come out of any bytes, and no warning (which pytest makes an error)."""
    try:
        return signing_request.read(text)
    except (NotPEM, Malformed):
        return None


def test_all_that_is_asked_for_is_read() -> None:
    asked_for = signing_request.read(encoded(WITH_ALL))
    assert asked_for.common_names == (USER,)
    assert sorted(asked_for.organisations) == sorted(ORGANISATIONS)
    assert asked_for.other_parts == ("2.5.4.11",)
    assert asked_for.attributes == ("1.2.840.113549.1.9.14",)
    assert asked_for.extensions == (
        ("2.5.29.15", bytes.fromhex("030205a0")),
        ("2.5.29.17", b"\x30\x06\x82\x04host"),
    )
    assert asked_for.signed


@pytest.mark.parametrize(
    ("key", "kind", "bits"),
    [(rsa_key(), "RSA", 2048), (OTHER_P256, "P-256", 0), (P384, "P-384", 0), (ED25519, "Ed25519", 0)],
)
def test_a_key_is_told_by_its_whole_algorithm(key: Key, kind: str, bits: int) -> None:
    asked_for = signing_request.read(asked(key=key))
    assert (asked_for.key, asked_for.rsa_bits, asked_for.signed) == (kind, bits, True)


def test_a_common_name_over_x509s_64_characters_is_read_without_a_warning(
    recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    assert len(USER) > 64
    assert signing_request.read(HONEST.request).common_names == (USER,)
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


def test_a_request_signed_with_another_key_is_not_signed() -> None:
    assert not signing_request.read(asked(signed_by=OTHER_P256)).signed


def test_a_private_key_sent_by_mistake_is_not_repeated() -> None:
    with pytest.raises(NotPEM, match="BEGIN PRIVATE KEY") as refusal:
        signing_request.read(encoded(armour(b"the key itself", "PRIVATE KEY")))
    assert encoded(b"the key itself") not in str(refusal.value)


@UNTIMED
@given(st.text() | st.binary().map(encoded))
@example("A" * 16_385)
@example("=")
@example("\ud800")
def test_any_text_is_read_or_refused(text: str) -> None:
    assert read_or_refused(text) is None


@UNTIMED
@given(st.binary(max_size=600))
@example(b"")
@example(b"\x30\x80")
@example(b"\x30\xff")
@example(b"\x30\x84\xff\xff\xff\xff")
def test_any_bytes_in_a_pem_block_are_read_or_refused(der: bytes) -> None:
    assert read_or_refused(encoded(armour(der))) is None


@settings(UNTIMED, max_examples=400)
@given(
    st.sampled_from(BODIES),
    st.lists(st.tuples(st.integers(min_value=0), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 3),
)
def test_a_request_with_changed_octets_is_read_or_refused_and_never_approved(
    der: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    changed = bytearray(der)
    for at, octet in changes:
        changed[at % len(changed)] = octet
    text = encoded(armour(bytes(changed)[: len(changed) - cut]))
    read_or_refused(text)
    if bytes(changed) != der:
        assert approval.doubt(candidate(request=text)) is not None


@UNTIMED
@given(st.integers(0, len(PEM) - 1), st.binary(min_size=0, max_size=3))
def test_a_pem_block_with_changed_octets_is_read_or_refused(at: int, octets: bytes) -> None:
    read_or_refused(encoded(PEM[:at] + octets + PEM[at + 1 :]))


@UNTIMED
@given(
    st.lists(
        st.tuples(st.sampled_from([0x02, 0x06, 0x0C, 0x30, 0x31, 0xA0]), st.binary(max_size=80)), max_size=4
    )
)
def test_a_signed_request_with_any_attributes_is_read_or_refused(attributes: list[tuple[int, bytes]]) -> None:
    der = request((rdn(part(COMMON_NAME, USER)),), [tlv(tag, content) for tag, content in attributes])
    read_or_refused(encoded(armour(der)))


@UNTIMED
@given(st.lists(st.tuples(st.binary(max_size=12), st.integers(0, 255), st.binary(max_size=40)), max_size=3))
def test_a_signed_request_with_any_extensions_is_read_or_refused(
    extensions: list[tuple[bytes, int, bytes]],
) -> None:
    items = [tlv(SEQUENCE, tlv(OID, kind), tlv(tag, content)) for kind, tag, content in extensions]
    read_or_refused(asked(extensions=items))


@UNTIMED
@given(st.lists(st.tuples(st.integers(0, 0x1E), st.binary(max_size=300))))
def test_elements_come_out_as_they_were_put_in(items: list[tuple[int, bytes]]) -> None:
    assert list(elements(b"".join(tlv(tag, content) for tag, content in items))) == items


@pytest.mark.parametrize(
    "der",
    [
        b"\x30",
        b"\x30\x01",
        b"\x30\x80\x00\x00",
        b"\x30\x81\x01\x00",
        b"\x30\x82\x00\x80" + bytes(128),
        b"\x1f\x81\x01\x00",
        b"\x3f\x00",
    ],
    ids=[
        "a tag alone",
        "content missing",
        "a size of no definite form",
        "a short size in the long form",
        "a size with a leading zero",
        "a tag of two octets",
        "a long tag that is a sequence",
    ],
)
def test_what_is_not_exactly_der_is_refused(der: bytes) -> None:
    with pytest.raises(Malformed):
        list(elements(der))


@UNTIMED
@given(
    st.tuples(st.integers(0, 1), st.integers(0, 39)) | st.tuples(st.just(2), st.integers(0, 10**6)),
    st.lists(st.integers(0, 2**64), max_size=4),
)
def test_an_object_identifier_comes_out_as_it_was_put_in(first: tuple[int, int], rest: list[int]) -> None:
    text = ".".join(str(number) for number in (*first, *rest))
    ((_, content),) = elements(oid(text))
    assert dotted(content) == text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        b"\x55\x80",
        b"\x55\x80\x01",
        b"\x55\x81",
        b"\x80\x01",
        b"\xff" * 3000 + b"\x7f",
        b"\x01" * 64,
    ],
)
def test_what_is_no_object_identifier_is_refused(content: bytes) -> None:
    with pytest.raises(Malformed):
        dotted(content)


def test_a_version_other_than_the_first_is_refused() -> None:
    later = DER.replace(tlv(INTEGER, b"\0"), tlv(INTEGER, b"\1"), 1)
    assert read_or_refused(encoded(armour(later))) is None
