"""The reference pages say all that the programs can say, and nothing else."""

import ast
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from hack import generate
from hack.reference import reasons
from hack.reference.crd import crd
from hack.reference.events import told
from hack.reference.flags import flags
from hack.reference.metrics import fill_agent, fill_manager, metrics, series
from hack.reference.pages import PAGES, pages
from hack.reference.reasons import addon_outcomes, fan_out_outcomes, identity_outcomes, troubles
from hack.reference.text import page, table
from hack.reference.words import ADDON, FAN_OUT, TROUBLES, Entry, explained
from msa.cli import agent, manager
from msa.cli.main import cli
from msa.policy import status
from msa.policy.fanout_status import ALL_ACCOUNTS, ALL_TOKENS
from msa.policy.ignored_fields import FIELDS_IGNORED
from msa.policy.profiles import COPY_REFUSED

_ROOT = Path(__file__).parents[3]
_METRIC = re.compile(r"(msa|workqueue|controller_runtime|rest_client|leader_election|reflector)_[a-z_]+")


def test_the_pages_are_as_the_code_is_now() -> None:
    assert {path: path.read_text() for path in PAGES.iterdir()} == pages(generate.definition())


def test_a_page_that_is_stale_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hack.reference.pages.flags", lambda: "another flag")
    assert generate.main(["--check"]) == 1
    assert "docs/reference/flags.md is not what its source says" in capsys.readouterr().err


def test_a_reason_that_nobody_has_explained_is_an_error() -> None:
    with pytest.raises(ValueError, match="explains none of: NewReason"):
        explained({"InvalidSpec", "NewReason"}, {"InvalidSpec": TROUBLES["InvalidSpec"]})


def test_words_about_a_reason_that_is_gone_are_an_error() -> None:
    with pytest.raises(ValueError, match="what the code does not say: Gone"):
        explained({"InvalidSpec"}, {"InvalidSpec": TROUBLES["InvalidSpec"], "Gone": Entry("it was")})


def test_the_reasons_in_the_code_are_those_that_are_explained() -> None:
    assert troubles() == set(TROUBLES)
    assert {outcome.reason for outcome in addon_outcomes()} == set(ADDON)
    assert {outcome.reason for outcome in fan_out_outcomes()} == set(FAN_OUT)


def test_a_reason_made_from_a_servers_answer_is_found() -> None:
    assert {"ForbiddenOnHub", "ManagedClusterBusy", "TokenRequestRefused"} <= troubles()


def test_every_trouble_can_make_each_of_the_three_conditions_false() -> None:
    false = {(outcome.type, outcome.reason) for outcome in identity_outcomes() if outcome.status == "False"}
    assert false == {
        (type_, reason) for type_ in ("Ready", "TokenReported", "SecretCreated") for reason in troubles()
    }


@pytest.mark.parametrize(
    ("callee", "makers"),
    [
        (
            "Condition",
            {
                "msa.policy.status",
                "msa.policy.readiness",
                "msa.policy.availability",
                "msa.policy.notices",
                "msa.policy.addon_status",
                "msa.policy.fanout_status",
            },
        ),
        ("condition", {"msa.policy.status"}),
        ("Obstacle", {"msa.policy.registration"}),
        ("Trouble", {"msa.agent.failures", "msa.agent.reconciler", "msa.agent.tokens"}),
    ],
)
def test_conditions_are_made_only_where_the_reference_looks(callee: str, makers: set[str]) -> None:
    assert {call.module for call in reasons._all_calls() if call.callee == callee} == makers


def test_a_reason_that_cannot_be_read_from_the_code_is_an_error() -> None:
    node = ast.parse("Trouble(f'{side}Down', '')", mode="eval").body
    assert isinstance(node, ast.Call)
    call = reasons._Call("msa.agent.tokens", node)
    with pytest.raises(ValueError, match="tokens, line 1: not a string"):
        reasons._text(call, node.args[0])


def test_every_event_that_telemetry_names_is_told() -> None:
    sent = {
        reason.value
        for call in reasons._all_calls()
        if call.module.endswith(".telemetry") and call.callee in ("_tell", "_recorder.record")
        for reason in call.node.args[2:3]
        if isinstance(reason, ast.Constant)
    }
    assert sent >= {"TokenIssued", "Approved"}
    assert sent <= {event.reason for event in told()}


def test_an_event_has_one_type() -> None:
    events = set(told())
    assert len(events) == len({(event.kind, event.reason) for event in events})


def test_every_metric_that_the_code_names_is_in_a_registry() -> None:
    named = {
        node.value
        for path in sorted((_ROOT / "msa").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _METRIC.fullmatch(node.value)
    }
    assert named == {one.name for one in (*series(fill_agent), *series(fill_manager))}


def test_a_metric_is_told_once_and_by_the_program_that_has_it() -> None:
    _, by_agent, by_manager, both = metrics().split("\n## ")
    assert "`msa_ready`" in by_agent
    assert "`msa_addon_clusters`" in by_manager
    assert "`workqueue_depth` | gauge | `name`" in both
    found = re.findall(r"^\| `(\w+)`", by_agent + by_manager + both, re.MULTILINE)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("command", [agent.command, manager.command, cli])
def test_every_flag_is_told_with_its_own_words(command: click.Command) -> None:
    (part,) = (part for part in flags().split("\n## ") if part.startswith(f"`{_typed(command)}`"))
    rows = {row.split("`")[1]: row for row in part.splitlines() if row.startswith("| `-")}
    for option in command.params:
        assert isinstance(option, click.Option)
        assert " ".join((option.help or "").split()) in rows[option.opts[0]]
        assert all(f"`{name}`" in rows[option.opts[0]] for name in _variables(option))


def _typed(command: click.Command) -> str:
    return "msa" if command is cli else f"msa {command.name}"


def _variables(option: click.Option) -> list[str]:
    return [option.envvar] if isinstance(option.envvar, str) else []


def test_a_flag_is_told_with_what_it_takes_and_its_default() -> None:
    text = flags()
    assert "| `--workers` | 1 to 256 | `32` |" in text
    assert "| `--cluster-name` | name | required |" in text
    assert "| `--leader-elect` | `true`, `false` | `false` |" in text
    assert "| `--namespace` | name | the pod's namespace | `NAMESPACE` |" in text
    assert "| `--deploy-mode` | `Deployment`, `AddOnTemplate` | `Deployment` |" in text


def test_every_field_of_the_crd_is_told() -> None:
    text = crd(generate.definition())
    for field in ("spec.rotation.validity", "status.conditions[].reason", "status.tokenSecretRef.name"):
        assert f"| `{field}` |" in text


def test_what_the_api_server_checks_is_told_in_words() -> None:
    text = crd(_definition({
        "type": "object",
        "required": ["names"],
        "properties": {
            "names": {
                "type": "array",
                "maxItems": 3,
                "x-kubernetes-list-type": "set",
                "items": {"type": "string", "pattern": "^a|b$"},
            },
            "on": {"type": "boolean", "default": False, "x-kubernetes-validations": [{"message": "must be so"}]},
        },
    }))  # fmt: skip
    assert (
        r"| `spec.names` | given; at most 3 items; without repetitions; each item matching `^a\|b$` |" in text
    )
    assert "| `spec.on` | so |" in text
    assert "| `spec.on` | boolean |  | `false` |" in text


def _definition(spec: dict[str, Any]) -> dict[str, Any]:
    """The real one, with this spec."""
    made = generate.definition()
    for version in made["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"]["properties"]["spec"] = spec
    return made


def test_a_bar_or_a_line_feed_in_a_cell_does_not_end_it() -> None:
    assert table(("a", "b"), [("x|y", "one\ntwo")]) == "| a | b |\n|---|---|\n| x\\|y | one two |"


def test_a_page_says_how_it_is_made() -> None:
    assert page("T", "there", "p") == (
        "<!-- Made by `make generate` from there. Do not edit. -->\n\n# T\n\np\n"
    )


def test_troubleshooting_tells_of_every_reason_for_which_an_identity_is_not_ready() -> None:
    rows = _rows("A ManagedServiceAccount is not Ready")
    assert {reason for row in rows for reason in re.findall(r"`(\w+)`", row)} == troubles()


def test_troubleshooting_quotes_what_the_programs_really_say() -> None:
    said = " ".join(
        node.value
        for path in sorted((_ROOT / "msa").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    kubelets = ('secret "managed-serviceaccount-hub-kubeconfig" not found', "ImagePullBackOff")
    quoted = {text for row in _rows("The agent does not start") for text in re.findall(r"`([^`]+)`", row)}
    assert len(quoted) > len(kubelets)
    assert [text for text in sorted(quoted - set(kubelets)) if text not in said] == []


def _rows(title: str) -> list[str]:
    """The first cells of the table in the section of that title."""
    (part,) = (
        part
        for part in (_ROOT / "docs/troubleshooting.md").read_text().split("\n## ")
        if part.startswith(title)
    )
    return [line.split("|")[1] for line in part.splitlines() if line.startswith("|")][2:]


def test_kubectl_explain_names_every_type_of_condition() -> None:
    schema = yaml.safe_load(Path("manifests/crd/schema.yaml").read_text(encoding="utf-8"))
    explained = schema["properties"]["status"]["properties"]["conditions"]["description"]
    types = {*status.OURS, FIELDS_IGNORED, COPY_REFUSED, ALL_ACCOUNTS, ALL_TOKENS}
    assert sorted(name for name in types if name not in explained) == []
