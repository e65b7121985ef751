"""What Prometheus itself says of our metrics. `make promtool` provides its promtool; CI insists on it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hack.addon import Addon
from tests.support.identities import create, wait_ready

_FROM_MAKE = Path(__file__).parents[2] / "build/prometheus/usr/bin/promtool"


def test_promtool_has_nothing_to_say_against_a_scrape(addon: Addon) -> None:
    promtool = shutil.which("promtool") or shutil.which(_FROM_MAKE)
    if promtool is None and not os.environ.get("CI_RUN"):
        pytest.skip("no promtool here: make promtool")
    assert promtool is not None, "CI runs make promtool first"
    create(addon, "scraped")
    wait_ready(addon, "scraped")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=addon.metrics(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
