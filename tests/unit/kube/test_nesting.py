"""What is nested too deeply, and all that is not."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msa.kube.nesting import pruned
from msa.kube.resources import decode

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
