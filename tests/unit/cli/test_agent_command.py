from pathlib import Path

import pytest

from msa.agent import app
from msa.agent.settings import AgentSettings
from msa.cli.main import main


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[AgentSettings]:
    """Instead of running, the agent notes what it was started with."""
    settings: list[AgentSettings] = []

    async def note(given: AgentSettings) -> None:
        settings.append(given)

    monkeypatch.setattr(app, "run", note)
    return settings


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["agent", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    "arguments",
    [
        ["--cluster-name=c1", "--kubeconfig=/h", "--leader-elect", "--lease-health-check=true", "--feature-gates=EphemeralIdentity=true"],
        ["--cluster-name", "c1", "--kubeconfig", "/h", "--lease-health-check", "--leader-elect=true", "--feature-gates", "EphemeralIdentity=true,ClusterProfile=false"],
    ],
)  # fmt: skip
def test_both_ways_of_writing_a_flag_are_understood(
    started: list[AgentSettings], arguments: list[str]
) -> None:
    assert _run(*arguments) == 0
    (settings,) = started
    assert (settings.cluster_name, settings.hub_kubeconfig) == ("c1", Path("/h"))
    assert settings.leader_elect
    assert settings.lease_health_check
    assert settings.feature_gates.ephemeral_identity


def test_the_defaults_are_those_of_the_contract(
    started: list[AgentSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAMESPACE", "from-env")
    _run("--cluster-name=c1", "--leader-elect=false")
    (settings,) = started
    assert settings.hub_kubeconfig == Path("/etc/hub/kubeconfig")
    assert settings.install_namespace == "from-env"
    assert (settings.metrics_address, settings.health_address) == (":38080", ":8000")
    assert not settings.leader_elect
    assert settings.spoke_kubeconfig is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--cluster-name=c", "--nonsense"], "--nonsense"),
        ([], "--cluster-name"),
        (["--cluster-name=c", "--leader-elect=maybe"], "'maybe' is neither true nor false"),
        (["--cluster-name=c", "--feature-gates=Nonsense=true"], "unknown feature gate 'Nonsense'"),
        (
            [
                *("--cluster-name=c", "--metrics-bind-address=0", "--health-probe-bind-address=0"),
                "--kubeconfig=/does/not/exist",
            ],
            "kubeconfig /does/not/exist: No such file or directory",
        ),
    ],
)
def test_a_mistake_gives_one_line_and_an_exit_code(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(*arguments) != 0
    shown = capsys.readouterr().err
    assert says in shown
    assert shown.count("\n") == 1
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    "arguments", [["--cluster-name="], ["--cluster-name=C1"], ["--cluster-name=c1", "--namespace=a/b"]]
)
def test_a_name_that_no_namespace_can_have_is_refused_since_it_would_mean_all_of_them(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert _run(*arguments) != 0
    assert "no name of a namespace" in capsys.readouterr().err
