import base64
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msa.cli.masking import MASK, mask

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl"
_PLAIN = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?")
"""What a token looks like, in the fewest words: quadratic, which does not matter for short texts."""


@given(st.lists(st.sampled_from(["eyJ", "a", "Zz9_-aaa", ".", " ", '"']), max_size=60).map("".join))
def test_it_masks_what_the_plain_pattern_does(text: str) -> None:
    assert mask(text) == _PLAIN.sub(MASK, text)


@given(st.text(), st.text())
def test_no_token_is_left_whatever_stands_around_it(before: str, after: str) -> None:
    assert "eyJzdWIi" not in mask(f"{before}{JWT}{after}")


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_a_token_in_base64_is_masked_wherever_it_stands_in_what_was_encoded(
    before: bytes, after: bytes
) -> None:
    encoded = base64.b64encode(before + b" " + JWT.encode() + b" " + after).decode()
    assert mask(f"token: {encoded}, more") == f"token: {MASK}, more"


def test_a_secret_s_data_and_its_url_safe_form_are_masked() -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert mask('{"token":"' + encode(JWT.encode()).decode() + '"}') == '{"token":"' + MASK + '"}'


@pytest.mark.parametrize(
    "header",
    [
        "Authorization: Bearer sesame",
        "authorization: bearer sesame",
        "AUTHORIZATION: BASIC sesame",
        "{'Authorization': 'Basic sesame'}",
        '{"authorization":"Bearer sesame"}',
        r'"{\"Authorization\":\"Basic sesame\"}"',
        "(b'Authorization', b'Bearer sesame')",
        "map[Authorization:[Bearer sesame]]",
        "Authorization=Basic sesame==",
        "proxy-authorization: Basic sesame",
        "sent with Bearer sesame-sesame-sesame-open",
    ],
)
def test_the_value_of_an_authorization_header_is_masked(header: str) -> None:
    assert "sesame" not in mask(header)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "the ServiceAccount cluster1/foo was deleted",
        "6f0b1d5e-9a52-4b6e-8a0c-5a3f3a1d2b4c",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "basic checks passed, the bearer of this waits",
        "managed-serviceaccount-addon-manager-7c9d6c8f8-abcde_0f7f6a0e4d3c4b2a9b8c7d6e5f4a3b2c",
    ],
)
def test_what_is_no_credential_stays(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "eyJ" * 100_000,
        "eyJaaaaaaaa." * 25_000,
        "." * 300_000,
        "ZXlK" * 75_000,
        "a" * 300_000,
        "bearer " * 43_000,
        "authorization: " * 20_000,
        "authorization" + " " * 300_000,
        "=" * 300_000,
    ],
    ids=lambda text: text[:12],
)
def test_300_kb_take_less_than_a_second(text: str) -> None:
    start = time.process_time()
    mask(text)
    assert time.process_time() - start < 1
