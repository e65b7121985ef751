import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from hack.pki import Authority
from msa.kube.certificate import ends, explained
from msa.runtime.errors import ApiError, Forbidden, Unauthorized


@pytest.fixture
def certificate(tmp_path: Path) -> bytes:
    Authority.create(tmp_path, "ca").issue_client("one", "user", ("group",))
    return (tmp_path / "one.crt").read_bytes()


def test_the_end_is_that_of_the_first_certificate(certificate: bytes) -> None:
    wanted = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    assert ends(certificate) == wanted
    assert ends(b"text before\n" + certificate + certificate) == wanted


@pytest.mark.parametrize(
    "pem", [b"", b"none", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_has_no_end(pem: bytes) -> None:
    assert ends(pem) is None


@given(st.binary(max_size=200))
def test_whatever_stands_there_is_read_or_not(content: bytes) -> None:
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(content) + b"\n-----END CERTIFICATE-----\n"
    assert ends(pem) is None or ends(pem) > datetime(1950, 1, 1, tzinfo=UTC)  # type: ignore[operator]  # mypy does not see that it is the same


def test_a_damaged_certificate_does_no_harm(certificate: bytes) -> None:
    for at in range(40, 400):
        assert isinstance(ends(certificate[:at] + b"x" + certificate[at + 1 :]), datetime | None)


def test_a_refused_credential_names_the_date_on_which_its_certificate_expired() -> None:
    end = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    error = explained(Unauthorized("Unauthorized", code=401), end, end)
    assert (error.reason, error.message) == (
        "Unauthorized",
        "the client certificate expired at 2026-01-02T03:04:05Z",
    )


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (Unauthorized("Unauthorized"), None),
        (Unauthorized("Unauthorized"), datetime(2027, 1, 1, tzinfo=UTC)),
        (Forbidden("no"), datetime(2020, 1, 1, tzinfo=UTC)),
    ],
)
def test_other_refusals_stay_as_they_are(error: ApiError, end: datetime | None) -> None:
    assert explained(error, end, datetime(2026, 1, 1, tzinfo=UTC)) is error
