"""JSON that is nested deeper than a parser goes: API servers store what Python's stack does not bear, and anybody may write it."""

import re

_DEEPEST = 100
"""No object that we look into is half as deep."""

_RUN = re.compile(rb'(?:[^][{}"]++|"(?:[^"\\]++|\\.)*+"?)*+([\[{]++|[\]}]++|\Z)', re.DOTALL)
"""Brackets that open, or that close, side by side. Possessive, and it matches at the end too: no byte is looked at twice."""


def pruned(text: bytes) -> bytes:
    """The same JSON with null in place of whatever is nested too deeply; without recursion, in time linear to the text."""
    kept: list[bytes] = []
    depth = start = 0
    for run in _RUN.finditer(text):
        begin, end = run.span(1)
        opens = text[begin : begin + 1] in (b"[", b"{")
        then = depth + (end - begin if opens else begin - end)
        if depth <= _DEEPEST < then:
            kept += (text[start : begin + _DEEPEST - depth], b"null")
        elif then <= _DEEPEST < depth:
            start = begin + depth - _DEEPEST
        depth = then
    return b"".join((*kept, text[start:] if depth <= _DEEPEST else b""))
