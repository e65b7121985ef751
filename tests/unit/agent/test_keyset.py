"""Signatures, and what is read off tokens that anybody may have written."""

import contextlib
import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from msa.agent.ingest import CredentialIngest
from msa.agent.keyset import KeySet
from msa.api.core import Secret
from msa.api.jwt import Malformed, parse
from msa.api.meta import ObjectMeta

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())


def _url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _url(value.to_bytes((value.bit_length() + 7) // 8))


def _jwks() -> bytes:
    public, point = RSA.public_key().public_numbers(), EC.public_key().public_numbers()
    keys = [
        {"kty": "RSA", "kid": "rsa", "n": _number(public.n), "e": _number(public.e)},
        {
            "kty": "EC",
            "kid": "ec",
            "crv": "P-256",
            "x": _url(point.x.to_bytes(32)),
            "y": _url(point.y.to_bytes(32)),
        },
        {"kty": "oct", "kid": "secret", "k": "AAAA"},
    ]
    return json.dumps({"keys": keys}).encode()


def _token(kid: str, algorithm: str, **claims: Any) -> bytes:
    payload = {
        "sub": "system:serviceaccount:ns:one",
        "exp": 2000000000,
        "iat": 1900000000,
        "aud": ["a"],
        **claims,
    }
    signed = f"{_url(json.dumps({'alg': algorithm, 'kid': kid}).encode())}.{_url(json.dumps(payload).encode())}".encode()
    if kid == "ec":
        r, s = decode_dss_signature(EC.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32) + s.to_bytes(32)
    else:
        signature = RSA.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return signed + b"." + _url(signature).encode()


KEYS = KeySet.from_jwks(_jwks())


@pytest.mark.parametrize(("kid", "algorithm"), [("rsa", "RS256"), ("ec", "ES256")])
def test_a_signature_names_the_key_that_made_it(kid: str, algorithm: str) -> None:
    assert KEYS.signer(parse(_token(kid, algorithm))) in KEYS.thumbprints


@pytest.mark.parametrize(
    ("kid", "algorithm"),
    [("rsa", "none"), ("rsa", "HS256"), ("rsa", "ES256"), ("other", "RS256"), ("rsa", "RS512")],
)
def test_another_algorithm_or_key_signs_nothing(kid: str, algorithm: str) -> None:
    assert KEYS.signer(parse(_token(kid, algorithm))) == ""


def test_an_altered_payload_is_signed_by_nobody() -> None:
    header, _, signature = _token("rsa", "RS256").split(b".")
    _, payload, _ = _token("rsa", "RS256", sub="somebody else").split(b".")
    assert KEYS.signer(parse(b".".join((header, payload, signature)))) == ""


def test_keys_that_sign_no_tokens_are_passed_over() -> None:
    assert KEYS.key_ids == {"rsa", "ec"}


@pytest.mark.parametrize(
    "document", [b"", b"{}", b'{"keys":1}', b'{"keys":[1]}', b'{"keys":[{"kty":"RSA","n":"","e":""}]}']
)
def test_a_document_that_is_no_key_set_is_refused_or_empty(document: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert KeySet.from_jwks(document).thumbprints == frozenset()


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_no_bytes_crash_the_reading_of_a_token(token: bytes) -> None:
    with pytest.raises(Malformed):
        parse(token)


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_secret_crashes_the_ingest(token: str, ca: str) -> None:
    secret = Secret(ObjectMeta(name="one"), data={"token": token, "ca.crt": ca})
    assert CredentialIngest(lambda: KEYS)(secret).token is not None


def test_what_is_kept_of_a_secret_has_no_part_of_the_token() -> None:
    token = _token("rsa", "RS256")
    secret = Secret(ObjectMeta(name="one"), data={"token": b64encode(token).decode()})
    kept = repr(CredentialIngest(lambda: KEYS)(secret))
    assert not any(part.decode() in kept for part in token.split(b"."))
    assert "system:serviceaccount:ns:one" in kept


def test_a_payload_nested_beyond_all_reason_is_malformed_and_no_crash() -> None:
    header = _url(json.dumps({"alg": "RS256", "kid": "rsa"}).encode())
    with pytest.raises(Malformed):
        parse(f"{header}.{_url(b'[' * 20_000)}.c2ln".encode())


@pytest.mark.parametrize("junk", [b"!!!!", b"\r\n\r\n", b"####", b"===="])
def test_a_signature_with_junk_in_it_is_none_since_no_server_takes_it(junk: bytes) -> None:
    with pytest.raises(Malformed, match="signature"):
        parse(_token("rsa", "RS256") + junk)
