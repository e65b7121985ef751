"""docs/client.md shows the examples, which integration tests run, as they are."""

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_EXAMPLES = sorted((_ROOT / "examples").glob("*.py"))
_SHOWN = re.compile(
    r"^\[examples/(\w+)\.py\]\(\.\./examples/\1\.py\):\n\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE
)


@pytest.fixture(scope="module")
def shown() -> dict[str, str]:
    return dict(_SHOWN.findall((_ROOT / "docs/client.md").read_text()))


@pytest.mark.parametrize("example", _EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_shown_as_it_runs(example: Path, shown: dict[str, str]) -> None:
    assert shown[example.stem] == example.read_text()


def test_no_other_code_is_shown(shown: dict[str, str]) -> None:
    text = (_ROOT / "docs/client.md").read_text()
    assert text.count("```python") == len(shown) == len(_EXAMPLES)


@pytest.mark.parametrize("example", _EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_run_by_the_integration_tests(example: Path) -> None:
    assert f'"{example.stem}"' in (_ROOT / "tests/integration/test_client.py").read_text()
