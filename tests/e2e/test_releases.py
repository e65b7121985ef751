"""The chart's life: from an older one to this, and away again."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from hack.charts import Release
from hack.generate import CHART
from hack.processes import wait_until
from msa.api import names
from tests.e2e.site import PATIENCE, Site
from tests.support.identities import account, condition, create, events, get, secret, token, wait_ready


@pytest.fixture
def older_chart(tmp_path: Path) -> Path:
    """This one, with an older version."""
    chart = tmp_path / names.ADDON
    shutil.copytree(CHART, chart)
    content = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**content, "version": "0.0.1", "appVersion": "0.0.1"}))
    return chart


def test_an_upgrade_touches_no_token(installed: Site, older_chart: Path) -> None:
    Release(installed.hub, older_chart).upgrade("--reset-values", *installed.chart_values())
    create(installed, "upgraded")
    wait_ready(installed, "upgraded", PATIENCE)
    before = secret(installed, "upgraded")
    mirrored = installed.mirror + installed.image[installed.image.rindex("/") : installed.image.rindex(":")]
    installed.release.upgrade(*installed.chart_values(), f"--set=image={mirrored}")
    installed.wait_manager()
    assert wait_until(lambda: mirrored in json.dumps(installed.agent()), PATIENCE)
    installed.wait_agent()
    create(installed, "after-the-upgrade")
    wait_ready(installed, "after-the-upgrade", PATIENCE)
    assert secret(installed, "upgraded") == before


def test_uninstalled_it_leaves_nothing_but_identities_and_their_kind(installed: Site) -> None:
    """Those are the users': the README tells how they go."""
    create(installed, "left")
    wait_ready(installed, "left")
    kept = token(installed, "left")
    installed.release.uninstall()
    assert condition(installed, "left")["reason"] == "AddonRemoved"
    assert "AddonRemoved" in {reason for _, reason, _ in events(installed, "left")}
    assert wait_until(lambda: installed.agent() is None, PATIENCE)
    assert wait_until(lambda: account(installed, "left") is None, PATIENCE)
    for kind, name in (
        ("rolebinding", names.AGENT_ROLE),
        ("manifestwork", names.DEPLOY_WORK),
        ("managedclusteraddon", names.ADDON),
    ):
        assert wait_until(
            lambda kind=kind, name=name: get(installed.hub, kind, installed.cluster_name, name) is None,  # type: ignore[misc]  # mypy cannot infer a default's type
            PATIENCE,
        ), f"{kind} {name} is left"
    assert wait_until(lambda: installed.manager_pods() == [], PATIENCE)
    assert token(installed, "left") == kept
