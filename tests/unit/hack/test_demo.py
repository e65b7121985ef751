"""The demo keeps to itself."""

import io
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hack import demo, demo_stage
from hack.demo_stage import AnotherDemoError, alone


def test_a_second_demo_in_the_same_clone_is_refused_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_stage, "HOME", tmp_path / "clusters")
    with alone():
        with (
            pytest.raises(
                AnotherDemoError, match=r"^another demo is running in this clone: stop it"
            ) as refused,
            alone(),
        ):
            pass
        assert "\n" not in str(refused.value)
    with alone():
        pass


def test_the_refusal_of_a_second_demo_shows_no_logs_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo_stage, "HOME", tmp_path / "clusters")
    monkeypatch.setattr(demo, "_stop_once", lambda: None)
    log = tmp_path / "clusters/demo-hub/manager.log"
    log.parent.mkdir(parents=True)
    log.write_text("a line of the first demo\n")
    with alone(), pytest.raises(AnotherDemoError):
        demo.main([])
    assert "a line of the first demo" not in "".join(capsys.readouterr())


def test_what_the_demo_offers_to_delete_is_there() -> None:
    """The agent's rights on the hub are a RoleBinding of the chart's ClusterRole: there is no Role."""
    assert "kubectl delete rolebinding -n cluster1 managed-serviceaccount-addon-agent" in _offered()


def _offered() -> str:
    path = Path("build/clusters/demo-hub/x")
    managed = SimpleNamespace(kubeconfig=path)
    hub = SimpleNamespace(kubeconfig=path, binaries={"kubectl": path})
    process = SimpleNamespace(log=path)
    scene = SimpleNamespace(
        hub=hub,
        members=[SimpleNamespace(managed=managed)],
        manager=SimpleNamespace(process=process),
    )
    with redirect_stdout(io.StringIO()) as printed, pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "exports", lambda _hub: None)
        demo.stay(cast("Any", scene), parent=-1)
    return printed.getvalue()
