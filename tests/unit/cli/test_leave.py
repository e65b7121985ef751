"""`msa leave` as the chart's hook runs it: whatever is wrong with the hub, helm must not fail for it."""

from datetime import timedelta
from pathlib import Path

import pytest

from msa.cli.main import main
from msa.hub import leave_app
from msa.hub.leave import Say
from msa.hub.settings import LeaveSettings
from msa.kube.credentials import CredentialError
from msa.runtime.errors import Forbidden
from msa.runtime.supervisor import StartError


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["leave", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(autouse=True)
def no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """`execute` ends the process without the interpreter's help."""

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr("msa.cli.execute._leave", leave)


def test_its_flags_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[LeaveSettings] = []

    async def note(settings: LeaveSettings, _say: Say) -> None:
        given.append(settings)

    monkeypatch.setattr(leave_app, "run", note)
    monkeypatch.setenv("NAMESPACE", "addons")
    assert _run("--timeout=1m30s", "--kubeconfig=/h") == 0
    assert given == [LeaveSettings("addons", Path("/h"), timedelta(seconds=90))]


@pytest.mark.parametrize(
    "error",
    [Forbidden("no", code=403), CredentialError("no kubeconfig"), StartError("no OCM")],
    ids=["refused", "no credential", "another hub"],
)
def test_what_the_hub_answers_is_said_and_no_failure(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(_settings: LeaveSettings, _say: Say) -> None:
        raise error

    monkeypatch.setattr(leave_app, "run", fail)
    assert _run() == 0
    assert capsys.readouterr().out == f"gave up: {error}\n"


@pytest.mark.parametrize("value", ["soon", "0s", "-1s"])
def test_a_time_to_wait_is_a_duration_above_zero(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(f"--timeout={value}") != 0
    assert "--timeout" in capsys.readouterr().err
