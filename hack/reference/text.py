"""The few forms of Markdown that the reference pages are made of."""

import textwrap
from collections.abc import Iterable, Sequence

_WIDTH = 140


def page(title: str, source: str, *parts: str) -> str:
    """A whole page; the first line says how it is made."""
    header = f"<!-- Made by `make generate` from {source}. Do not edit. -->"
    return "\n\n".join((header, f"# {title}", *(part for part in parts if part))) + "\n"


def section(title: str, *parts: str) -> str:
    return "\n\n".join((f"## {title}", *parts))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join((_row(head), f"|{'---|' * len(head)}", *(_row(cells) for cells in rows)))


def paragraph(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def codes(texts: Iterable[str]) -> str:
    return ", ".join(code(text) for text in texts)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(_cell(text) for text in cells)} |"


def _cell(text: str) -> str:
    """In one line; a bar would end it, in code too."""
    return " ".join(text.split()).replace("|", r"\|")
