"""Texts of other clusters and tenants, before they come into a message, a condition, an Event or a log line."""

import re
from typing import Final

LONGEST: Final = 1024
"""Characters, as in the message of an Event."""

_UNPRINTABLE: Final = re.compile(
    r"[^ -~\u00a0-\uffff\U00010000-\U0010ffff]|[\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
"""Controls, and what changes lines or the direction of writing."""


def shown(text: str, most: int = LONGEST) -> str:
    """At most so many characters, with what cannot be seen escaped as Python does."""
    kept = text[:most]
    return kept if kept.isprintable() else _UNPRINTABLE.sub(_escaped, kept)[:most]


def _escaped(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]
