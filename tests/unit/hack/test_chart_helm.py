"""Where helm comes from."""

import shutil
from pathlib import Path

import pytest

from hack.binaries import HELM, KUBERNETES, Places, Unavailable, provide


def _put(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)
    return folder / name


def test_helm_has_a_cache_of_its_own_version(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    helm, kubernetes = Places.of_helm(environment), Places.from_environment(environment)
    assert f"helm-{HELM}" in helm.cache.name
    assert f"kubernetes-{KUBERNETES}" in kubernetes.cache.name
    assert provide(helm, ()) == {}
    binary = _put(helm.cache, "helm")
    assert provide(helm, ("helm",)) == {"helm": binary}


def test_peoples_own_helm_comes_first(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path), "KUBEBUILDER_ASSETS": str(tmp_path / "own")}
    places = Places.of_helm(environment)
    _put(places.cache, "helm")
    own = _put(tmp_path / "own", "helm")
    assert provide(places, ("helm",)) == {"helm": own}


def test_helm_is_not_looked_for_in_an_archive_that_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(Unavailable, match=rf"helm \(helm-{HELM}.*install Go 1\.26 or later"):
        provide(Places.of_helm({"XDG_CACHE_HOME": str(tmp_path)}), ("helm",))
    assert "envtest" not in capsys.readouterr().err
