"""What documents and examples tell people to run."""

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_TEXTS = sorted(
    [
        *_ROOT.glob("*.md"),
        *_ROOT.glob("docs/**/*.md"),
        *_ROOT.glob("examples/*"),
        *_ROOT.glob("manifests/**/*.md"),
    ]
)
_OURS = re.compile(
    r"(?:pip3? install|uv add|uv pip install|pipx (?:run|install))[^\n`]*[ \"'](?:managed[-_]serviceaccount|msa)(?=[\s\"'`\[=<>]|$)"
)


@pytest.mark.parametrize("file", _TEXTS, ids=lambda file: str(file.relative_to(_ROOT)))
def test_nobody_is_told_to_install_our_package_by_name_from_an_index_where_it_is_not(file: Path) -> None:
    """Whoever publishes that name there would run code on every reader's machine."""
    text = file.read_text()
    assert _OURS.findall(text) == []
    assert "# /// script" not in text, "such a block names packages of an index"


@pytest.mark.parametrize("file", sorted(_ROOT.glob("examples/*.py")), ids=lambda file: file.name)
def test_an_example_says_what_it_needs_and_stands_in_the_documents_as_it_is(file: Path) -> None:
    text = file.read_text()
    assert text.startswith("# Needs, in a clone of this repository: pip install .")
    assert text.strip() in (_ROOT / "docs/client.md").read_text()
