"""Alternative names as people read them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msa.policy import approval
from msa.policy.doubts import Reason
from msa.policy.general_names import shown
from tests.support.candidates import ORGANISATIONS, USER, asked, candidate
from tests.support.signing_requests import SEQUENCE, dns_names, extension, key_usage, tlv


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (tlv(0x82, b"kubernetes.default.svc"), "DNS:kubernetes.default.svc"),
        (tlv(0x82, b"a") + tlv(0x87, bytes((10, 0, 0, 1))), "DNS:a, IP:10.0.0.1"),
        (tlv(0x87, bytes(15) + b"\x01"), "IP:::1"),
        (tlv(0x81, b"a@b") + tlv(0x86, b"spiffe://x"), "email:a@b, URI:spiffe://x"),
        (tlv(0x87, b"\x01\x02") + tlv(0xA0, b"\xff"), "IP:#0102, [0]:ff"),
        (tlv(0x82, b"\xff"), "DNS:#ff"),
        (tlv(0x82, b"a") * 30, ", ".join(["DNS:a"] * 20) + " and 10 more"),
    ],
)
def test_names_are_shown_by_kind(names: bytes, text: str) -> None:
    assert shown(tlv(SEQUENCE, names)) == text


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x02\x01\x00", b"\x30\x00"])
def test_what_is_not_names_is_shown_in_hexadecimal_digits(der: bytes) -> None:
    assert shown(der) == f"#{der.hex()}"


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(der: bytes) -> None:
    assert shown(der)


def test_the_doubt_in_alternative_names_says_them_readably() -> None:
    doubt = approval.doubt(candidate(request=asked(extensions=[dns_names("kubernetes.default.svc")])))
    assert doubt is not None
    assert doubt.reason is Reason.ALTERNATIVE_NAMES
    assert "found 'DNS:kubernetes.default.svc', wanted" in doubt.message


@pytest.mark.parametrize(
    "more",
    [
        {"extensions": [key_usage(key_encipherment=False)] * 600},
        {"extensions": [extension(f"1.2.3.{number}", b"") for number in range(600)]},
        {"groups": tuple(f"g{number}" for number in range(500))},
        {"extensions": [extension("2.5.29.17", tlv(SEQUENCE, tlv(0x82, b"a") * 2500))]},
    ],
    ids=["key usages", "extensions", "groups", "alternative names"],
)
def test_a_request_full_of_something_is_judged_in_milliseconds(more: dict[str, object]) -> None:
    groups = more.pop("groups", ORGANISATIONS)
    full = candidate(request=asked(USER, groups, **more))  # type: ignore[arg-type]  # a table's cells
    start = time.thread_time()
    doubt = approval.doubt(full)
    assert time.thread_time() - start < 0.5
    assert doubt is not None
    assert len(doubt.message) < 2000


@pytest.mark.parametrize("depth", [10, 1000, 2500])
def test_a_request_nested_deeply_is_judged_in_milliseconds(depth: int) -> None:
    nested = b""
    for _ in range(depth):
        nested = tlv(SEQUENCE, nested)
    start = time.thread_time()
    doubt = approval.doubt(candidate(request=asked(extensions=[nested])))
    assert time.thread_time() - start < 0.5
    assert doubt is not None


@pytest.mark.parametrize("text", ["A" * 1_400_000, "oversized:1400000", "\x00" * 1_400_000])
def test_a_request_of_1_4_mb_is_refused_by_its_length(text: str) -> None:
    start = time.thread_time()
    doubt = approval.doubt(candidate(request=text))
    assert time.thread_time() - start < 0.2
    assert doubt is not None
    assert "1400000 characters, where 16384 are enough" in doubt.message


def test_usages_and_groups_by_the_thousand_are_judged_in_milliseconds() -> None:
    start = time.thread_time()
    for wanted in ({"usages": ("client auth",) * 100_000}, {"groups": tuple(str(n) for n in range(100_000))}):
        doubt = approval.doubt(candidate(**wanted))
        assert doubt is not None
        assert len(doubt.message) < 1000
    assert time.thread_time() - start < 0.5
