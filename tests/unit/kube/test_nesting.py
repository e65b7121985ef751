"""What is nested too deeply, and all that is not."""

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msa.kube.decoding import decode
from msa.kube.nesting import pruned
from msa.runtime.errors import Decode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(JSON, st.booleans())
def test_what_is_not_deep_stays_as_it_is(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert pruned(text) == text


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"]}\\\\\\"":'])
def test_what_is_too_deep_is_null_and_the_rest_stays(opening: str) -> None:
    closing = "]" if opening == "[" else "}" if opening.startswith("{") else "}]"
    deep = opening * 5000 + "1" + closing * 5000
    text = f'{{"before":[1,2],"deep":{deep},"after":{{"x":"y"}}}}'.encode()
    found = json.loads(pruned(text))
    assert (found["before"], found["after"]) == ([1, 2], {"x": "y"})


def test_lines_are_pruned_each_for_itself() -> None:
    deep = "[" * 500 + "]" * 500
    lines = f'{{"a":{deep},"b":1}}\n{{"b":2}}\n'.encode()
    assert [json.loads(line)["b"] for line in pruned(lines).splitlines()] == [1, 2]


def test_an_answer_that_is_too_deep_is_read_as_far_as_it_goes() -> None:
    class Named(msgspec.Struct):
        name: str
        spec: msgspec.Raw

    deep = "[" * 20_000 + "]" * 20_000
    found = decode(f'{{"spec":{deep},"name":"one"}}'.encode(), Named)
    assert found.name == "one"


@pytest.mark.parametrize(
    "text",
    [
        b'\\"' * 750_000,
        b'"' * 1_500_001,
        b'"' + b"\\" * 1_500_000,
        b"," * 1_500_000,
        b'"a' * 750_001,
        b"[" * 1_500_000,
        b'{"a":' * 250_000 + b"1" + b"}" * 250_000,
    ],
    ids=["escaped quotes", "quotes", "backslashes", "no brackets", "strings", "unclosed", "nested"],
)
def test_pruning_takes_time_in_proportion_to_the_text(text: bytes) -> None:
    """As much as etcd stores, once in a second; what was quadratic took a minute for a fifth of it."""
    start = time.process_time()
    pruned(text)
    assert time.process_time() - start < 2


def test_what_breaks_off_in_the_deep_stays_broken_and_comes_to_an_end() -> None:
    deep = b"[" * 5000
    with pytest.raises(Decode):
        decode(b'{"a":' + deep + b"]" * 5000 + b',"b":' + deep, dict)


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\a1', max_size=400).map(str.encode))
def test_bytes_that_are_not_json_are_pruned_without_an_error(text: bytes) -> None:
    assert pruned(text) == text or text.count(b"[") + text.count(b"{") > 100
