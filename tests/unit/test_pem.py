import ssl
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hack.pki import Authority
from msa import pem

_BAD = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return _made(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return _made(tmp_path_factory.mktemp("two"))


def _made(folder: Path) -> bytes:
    Authority.create(folder, folder.name)
    return (folder / "ca.crt").read_bytes()


def _der(certificate: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.decode())


@pytest.mark.parametrize(
    "surround",
    [
        lambda one, two: one + two,
        lambda one, two: "# Főtanúsítvány\n".encode() + one + b"\n" + two,
        lambda one, two: "# Autorité\n".encode("latin-1") + one + b"\xff\x00\n" + two,
        lambda one, two: one + _BAD + two,
        lambda one, two: one + b"-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n" + two,
        lambda one, two: one + b"-----BEGIN CERTIFICATE-----\nAAAA\n" + two,
        lambda one, two: one + b"-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----\n" + two,
        lambda one, two: (one + two).replace(b"\n", b"\r\n"),
        lambda one, two: (one + two).replace(b"-----\n", b"-----  \n"),
        lambda one, two: (
            one + b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" + two.rstrip()
        ),
    ],
    ids=["alone", "UTF-8", "Latin-1", "bad DER", "bad base64", "no end", "empty", "CRLF", "blanks", "others"],
)
def test_the_good_certificates_of_a_bundle_are_found_whatever_stands_between_them(
    one: bytes, two: bytes, surround: object
) -> None:
    assert callable(surround)
    bundle = surround(one, two)
    assert pem.certificates(bundle) == (_der(one), _der(two))
    again = pem.cleaned(bundle)
    ssl.create_default_context(cadata=again.decode("ascii"))
    assert pem.certificates(again) == (_der(one), _der(two))


def test_what_every_reader_takes_stays_byte_for_byte(one: bytes, two: bytes) -> None:
    for bundle in (one, one + two, b"# a comment\n" + one, one.rstrip()):
        assert pem.cleaned(bundle) == bundle
    assert pem.cleaned("# ő\n".encode() + one + two) == one + two


@pytest.mark.parametrize("bundle", [b"", b"front", _BAD, b"-----BEGIN CERTIFICATE-----", b"\xff"])
def test_where_there_is_no_certificate_nothing_is_left(bundle: bytes) -> None:
    assert pem.certificates(bundle) == ()
    assert pem.cleaned(bundle) == b""


@given(st.binary(), st.binary())
def test_no_bytes_around_a_bad_block_raise(before: bytes, after: bytes) -> None:
    assert pem.certificates(before + b"\n" + _BAD + after) == ()


@pytest.mark.parametrize(
    "part",
    [b"-----BEGIN CERTIFICATE-----\n", b"-----BEGIN CERTIFICATE-----\nA\n\n", b"\n", b"A", _BAD],
)
def test_a_bundle_of_a_megabyte_costs_no_more_than_its_length(part: bytes) -> None:
    """What others may write: ConfigMaps and Secrets go up to a megabyte."""
    begun = process_time()
    pem.certificates(b"-----BEGIN CERTIFICATE-----\n" + part * (1_000_000 // len(part)))
    assert process_time() - begun < 5
