"""What a Secret says to a consumer."""

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest

from msa.api import names
from msa.api.core import Secret
from msa.api.meta import ObjectMeta
from msa.client import content
from msa.client.content import Held

_LABELS = {names.LABEL_MANAGED: "true"}
_HEADER = "eyJhbGciOiJSUzI1NiJ9"
_PAYLOAD = "eyJzdWIiOiJhIiwiaWF0IjowLCJleHAiOjE3NjcyMjU2MDB9"  # exp: the first second of 2026
_CA = "-----BEGIN CERTIFICATE-----"
_TOKEN = f"{_HEADER}.{_PAYLOAD}.c2ln"


def _secret(data: dict[str, str] | None, labels: dict[str, str] | None = None) -> Secret:
    metadata = ObjectMeta(name="n", namespace="c", labels=_LABELS if labels is None else labels)
    encoded = {key: b64encode(value.encode()).decode() for key, value in (data or {}).items()}
    return Secret(metadata, data=encoded if data is not None else None)


def test_a_good_secret_gives_the_token_its_ca_and_what_the_token_says_of_its_end() -> None:
    read = content.read(_secret({"token": _TOKEN, "ca.crt": _CA}))
    assert isinstance(read.held, Held)
    assert read.held.token.reveal() == _TOKEN
    assert read.held.ca == _CA.encode()
    assert read.held.expires_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert _TOKEN not in repr(read)


def test_of_a_bundle_with_text_and_a_bad_certificate_the_good_ones_are_kept(ca: bytes) -> None:
    bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    read = content.read(_secret({"token": _TOKEN, "ca.crt": f"# für c1\n{bad}{ca.decode()}"}))
    assert isinstance(read.held, Held)
    assert read.held.ca == ca


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        (_secret({"token": _TOKEN}, labels={}), "it is not ours"),
        (_secret({"token": _TOKEN}, labels={names.LABEL_MANAGED: "false"}), "it is not ours"),
        (_secret(None), "holds no token: it does not have the three parts of a JWT"),
        (_secret({"ca.crt": "CA"}), "holds no token: it does not have the three parts of a JWT"),
        (_secret({"token": "secret-garbage"}), "holds no token: it does not have the three parts of a JWT"),
        (
            _secret({"token": f"{_HEADER}.e30.x"}),
            "holds no token: its payload is not what a service account token has",
        ),
        (_secret({"token": _TOKEN}), "holds no certificate in ca.crt"),
        (_secret({"token": _TOKEN, "ca.crt": ""}), "holds no certificate in ca.crt"),
        (_secret({"token": _TOKEN, "ca.crt": "garbage"}), "holds no certificate in ca.crt"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_quoted(secret: Secret, problem: str) -> None:
    read = content.read(secret)
    assert isinstance(read.held, str)
    assert read.held.endswith(problem)
    assert "garbage" not in read.held


@pytest.mark.parametrize("data", [{"token": "no base64"}, {"token": b64encode(b"\xff\xff.a.b").decode()}])
def test_bytes_that_are_no_text_are_a_problem_and_no_error(data: dict[str, Any]) -> None:
    read = content.read(Secret(ObjectMeta(labels=_LABELS), data=data))
    assert isinstance(read.held, str)
