"""Tests that render the chart run where helm is; CI insists on it."""

import os

import pytest

from hack import binaries


def _missing() -> bool:
    places = binaries.Places.of_helm(os.environ)
    folders = [folder for folder in (places.assets, places.cache) if folder is not None]
    return not os.environ.get("CI_RUN") and not any((folder / "helm").exists() for folder in folders)


needs_helm = pytest.mark.skipif(_missing(), reason="no helm here: make helm")
