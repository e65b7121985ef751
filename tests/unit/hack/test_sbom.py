"""The bill of materials: what it takes over from uv's export, what it adds, and that it is the same each time."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hack.image import sbom

_ROOT = Path(__file__).parents[3]


def _export(time: str = "2026-01-01T00:00:00Z", serial: str = "urn:uuid:1") -> dict[str, Any]:
    distribution = {"type": "distribution", "hashes": [{"alg": "SHA-256", "content": "0f"}]}
    component = {"name": "attrs", "version": "26.1.0", "purl": "pkg:pypi/attrs@26.1.0"}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "serialNumber": serial,
        "metadata": {
            "timestamp": time,
            "tools": [{"name": "uv"}],
            "component": {"type": "library", "name": "managed-serviceaccount"},
        },
        "components": [component | {"externalReferences": [distribution]}],
        "dependencies": [{"ref": "attrs"}],
    }


def _unlicensed(_name: str) -> list[dict[str, Any]]:
    return []


def test_it_says_what_it_is() -> None:
    bill = sbom.made(_export(), _unlicensed)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"])
    assert bill["metadata"]["component"]["type"] == "application"
    assert bill["metadata"]["component"]["version"]


def test_two_exports_of_one_lock_make_the_same_bill() -> None:
    first = sbom.made(_export(), _unlicensed)
    assert first == sbom.made(_export(time="2027-01-01T00:00:00Z", serial="urn:uuid:2"), _unlicensed)


def test_another_content_has_another_serial_number() -> None:
    changed = _export()
    changed["components"][0]["version"] = "26.2.0"
    first, second = sbom.made(_export(), _unlicensed), sbom.made(changed, _unlicensed)
    assert first["serialNumber"] != second["serialNumber"]


def test_a_component_keeps_what_uv_says_and_gets_its_licence() -> None:
    mit = [{"expression": "MIT", "acknowledgement": "declared"}]
    (component,) = sbom.made(_export(), {"attrs": mit}.__getitem__)["components"]
    assert component == _export()["components"][0] | {"licenses": mit}


def test_a_component_without_a_known_licence_has_no_such_field() -> None:
    assert sbom.made(_export(), _unlicensed)["components"] == _export()["components"]


@pytest.mark.parametrize(
    ("metadata", "licences"),
    [
        ("License-Expression: MIT OR Apache-2.0", [{"expression": "MIT OR Apache-2.0"}]),
        ("License: Apache 2.0", [{"license": {"name": "Apache 2.0"}}]),
        (f"License: {'Permission is hereby granted ' * 9}", []),
        ("Summary: nothing said", []),
    ],
)
def test_a_licence_is_told_as_the_package_declares_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: str, licences: list[dict[str, Any]]
) -> None:
    folder = tmp_path / "invented-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: invented\nVersion: 1\n{metadata}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert [_without_acknowledgement(found) for found in sbom.installed("invented")] == licences


def _without_acknowledgement(licence: dict[str, Any]) -> dict[str, Any]:
    inner = licence.get("license", licence)
    assert inner.pop("acknowledgement") == "declared"
    return licence


def test_a_package_that_is_not_installed_declares_nothing() -> None:
    assert sbom.installed("never-installed-anywhere") == []


def test_the_lock_gives_what_runs_with_hashes_and_nothing_that_only_tests() -> None:
    components = {component["name"]: component for component in sbom.exported()["components"]}
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    wanted = {re.split("[>=<]", line)[0] for line in project["project"]["dependencies"]}
    assert wanted <= components.keys()
    assert not {"pytest", "mypy", "ruff"} & components.keys()
    for component in components.values():
        assert component["purl"].startswith("pkg:pypi/")
        assert all(found["hashes"] for found in component["externalReferences"])
