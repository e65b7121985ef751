"""Looks for tokens where none may be."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path

_JWT_SHAPE = re.compile(r"eyJ[\w-]{8,}\.[\w-]{4,}")


def leaks(log: Path, tokens: Iterable[str]) -> list[str]:
    """What is wrong with a log; nothing of a token is in the answer."""
    text = log.read_text()
    shaped = [f"{log.name}: something of JWT shape"] if _JWT_SHAPE.search(text) else []
    found = (
        f"{log.name}: {form} of token number {number}"
        for number, token in enumerate(tokens)
        for form, trace in _traces(token)
        if trace in text
    )
    return [*shaped, *found]


def _traces(token: str) -> Iterator[tuple[str, str]]:
    """What would give a token away, or let somebody try guesses at it."""
    _, payload, signature = token.split(".")
    yield "the payload", payload
    yield "the signature", signature
    yield "the base64 text", b64encode(token.encode()).decode()
    yield "the SHA-256", hashlib.sha256(token.encode()).hexdigest()
