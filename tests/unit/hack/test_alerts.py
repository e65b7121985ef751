"""Prometheus's own check and tests of the alerts, and their pages."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.prometheus import tool

_ROOT = Path(__file__).parents[3]
_RULES = _ROOT / "manifests/monitoring/alerts.yaml"
_RUNBOOKS = _ROOT / "docs/runbooks"
_PAGES = sorted(_RUNBOOKS.glob("*.md"))
_LONGEST_PAGE = 60


def _rules() -> list[Any]:
    return [rule for group in yaml.safe_load(_RULES.read_text())["groups"] for rule in group["rules"]]


def _promtool(*arguments: str) -> None:
    done = subprocess.run([tool("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_has_nothing_to_say_against_the_rules() -> None:
    _promtool("check", "rules", "--lint-fatal", str(_RULES))


@pytest.mark.parametrize("file", sorted((_ROOT / "tests/alerts").glob("*.yaml")), ids=lambda file: file.stem)
def test_each_alert_fires_when_it_must_and_only_then(file: Path) -> None:
    _promtool("test", "rules", str(file))


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: rule["alert"])
def test_an_alert_is_tested_and_says_how_bad_it_is_and_where_help_is(rule: Any) -> None:
    tests = "".join(file.read_text() for file in (_ROOT / "tests/alerts").glob("*.yaml"))
    assert f'"{rule["alert"]}"' in tests
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"


def test_each_alert_has_a_page_and_each_page_an_alert() -> None:
    assert {page.stem for page in _PAGES} == {rule["alert"] for rule in _rules()}


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
def test_a_page_is_short_and_says_what_it_is_whom_it_hurts_how_to_look_and_what_to_do(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert len(lines) <= _LONGEST_PAGE
    assert [line for line in lines if line.startswith("#")] == [
        f"# {page.stem}",
        *("## Meaning", "## Impact", "## Diagnosis", "## Mitigation"),
    ]
