from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from msgspec.structs import replace

from msa.api.addon import AddonStatus, ConfigGroupResource, HealthCheck
from msa.api.meta import Condition, ObjectMeta
from msa.api.work import Work
from msa.policy import addon_status
from msa.policy.addon_status import Findings
from msa.policy.registration import Obstacle
from tests.support.builders import HOUR, START
from tests.support.fleet import addon, config, reference, with_

APPLIED = Condition("Applied", "True", "AppliedManifestWorkComplete", "", START, 4)
WORK = Work(ObjectMeta(name="w", generation=4), "digest", (APPLIED,), {}, ())
FOUND = Findings("agents", None, (), None, WORK)
FIRST = {"RegistrationApplied": "True", "ManifestApplied": "True"}

UP, LATE = "NewReplicaSetAvailable", "ProgressDeadlineExceeded"


def status(
    found: Findings = FOUND, before: AddonStatus | None = None, version: str = "v1beta1"
) -> AddonStatus:
    return addon_status.wanted(with_(addon(), status=before or AddonStatus()), found, version, START)


def conditions(found: Findings = FOUND, before: AddonStatus | None = None) -> dict[str, Condition]:
    return {item.type: item for item in status(found, before).conditions}


def working(**changes: Any) -> Findings:
    return evolve(FOUND, work=evolve(WORK, **changes))


def test_an_agent_that_is_registered_and_applied_is_said_to_be_so() -> None:
    found = status(evolve(FOUND, references=(reference(config()),)))
    assert {item.type: item.status for item in found.conditions} == FIRST
    assert found.namespace == "agents"
    assert found.health_check == HealthCheck("Lease")
    assert found.config_references == (reference(config()),)
    assert found.supported_configs == (
        ConfigGroupResource("addon.open-cluster-management.io", "addondeploymentconfigs"),
    )


def test_the_reasons_are_those_that_ocm_knows() -> None:
    found = conditions()
    assert found["RegistrationApplied"].reason == "SetPermissionApplied"
    assert found["ManifestApplied"].reason == "AddonManifestApplied"


def test_an_obstacle_to_registration_is_told_in_its_own_words() -> None:
    obstacle = Obstacle("SetPermissionFailed", "nobody", refused=True)
    found = conditions(evolve(FOUND, obstacle=obstacle))["RegistrationApplied"]
    assert (found.status, found.reason, found.message) == ("False", "SetPermissionFailed", "nobody")


def test_a_problem_with_the_manifests_is_told_before_how_the_old_ones_fare() -> None:
    found = conditions(evolve(working(feedback={"available": "True"}), problem="field: remedy"))
    assert found.keys() == FIRST.keys()
    applied = found["ManifestApplied"]
    assert (applied.status, applied.reason, applied.message) == (
        *("False", "InvalidConfiguration", "field: remedy"),
    )


@pytest.mark.parametrize(
    "found",
    [
        evolve(FOUND, work=None),
        working(conditions=()),
        working(conditions=(replace(APPLIED, observed_generation=3),)),
        working(conditions=(replace(APPLIED, type="Available"),)),
    ],
    ids=["not what was rendered", "nothing said", "said of an older one", "something else said"],
)
def test_before_the_clusters_side_has_spoken_of_this_work_what_was_said_before_stands(
    found: Findings,
) -> None:
    assert "ManifestApplied" not in conditions(found)
    before = status()
    assert status(found, before) == before


def test_a_problem_that_is_solved_stands_no_longer_though_the_clusters_side_has_not_spoken() -> None:
    wrong = status(evolve(FOUND, problem="wrong"))
    found = conditions(evolve(FOUND, work=None), wrong)["ManifestApplied"]
    assert (found.status, found.reason) == ("Unknown", "AddonManifestPending")
    pending = status(evolve(FOUND, work=None), wrong)
    assert status(evolve(FOUND, work=None), pending) == pending
    assert conditions(FOUND, pending)["ManifestApplied"].status == "True"


def test_so_is_what_the_other_work_could_not_apply() -> None:
    """It carries what identities hang on."""
    refused = replace(APPLIED, status="False")
    other = evolve(WORK, conditions=(refused,), failed=("ConfigMap c: no",))
    found = conditions(evolve(FOUND, identities_work=other))
    assert found["ManifestApplied"].status == "False"
    assert "ConfigMap c: no" in found["ManifestApplied"].message
    assert conditions(evolve(FOUND, identities_work=WORK))["ManifestApplied"].status == "True"


def test_what_could_not_be_applied_is_named_and_cut() -> None:
    refused = replace(APPLIED, status="False")
    found = conditions(working(conditions=(refused,), failed=("Deployment d: no", "Role r: no")))
    assert found["ManifestApplied"].status == "False"
    assert found["ManifestApplied"].reason == "AddonManifestAppliedFailed"
    assert found["ManifestApplied"].message.endswith("Deployment d: no; Role r: no")
    long = conditions(working(conditions=(refused,), failed=("x" * 5000,)))
    assert len(long["ManifestApplied"].message) < 1100


@pytest.mark.parametrize(
    ("feedback", "expected", "says"),
    [
        ({}, None, ""),
        ({"ready": 1}, None, ""),
        ({"available": "Unknown"}, None, ""),
        ({"available": "True", "ready": 1}, "False", ""),
        ({"available": "False", "problem": "no quota", "progress": "p", "rollout": UP}, "True", "no quota"),
        ({"available": "False", "progress": "too slow", "rollout": LATE}, "True", "too slow"),
        ({"available": "False", "rollout": LATE}, "True", "does not say why"),
        ({"available": "False", "problem": "starting", "rollout": "ReplicaSetUpdated"}, None, ""),
        ({"available": "False", "problem": "starting"}, None, ""),
    ],
)
def test_an_agent_that_does_not_come_up_is_degraded_with_what_the_clusters_side_says_of_it(
    feedback: dict[str, int | str], expected: str | None, says: str
) -> None:
    found = conditions(working(feedback=feedback)).get("Degraded")
    assert (found.status if found else None) == expected
    assert says in (found.message if found else "")


def test_conditions_and_fields_of_others_stay_and_ours_keep_their_time_while_their_status_does() -> None:
    others = (Condition("Available", "True", "R", "m", START - HOUR, 7), Condition("ClockSynced", "True"))
    ours = Condition("ManifestApplied", "True", "Before", "before", START - HOUR)
    stood = Condition("RegistrationApplied", "False", "Before", "before", START - HOUR)
    before = AddonStatus(conditions=(*others, ours, stood), kube_client_driver="csr")
    found = status(before=before)
    assert found.conditions[:2] == others
    assert found.kube_client_driver == "csr"
    assert conditions(before=before)["ManifestApplied"].last_transition_time == START - HOUR
    assert conditions(before=before)["RegistrationApplied"].last_transition_time == START


@pytest.mark.parametrize("version", ["v1alpha1", "v1beta1"])
def test_what_is_stored_as_wanted_is_not_written_again(version: str) -> None:
    found = evolve(working(feedback={"available": "True"}), references=(reference(config()),))
    stored = status(found, version=version)
    later = START + timedelta(days=1)
    again = addon_status.wanted(with_(addon(), status=stored), found, version, later)
    assert addon_status.changes(stored, again) == {}


def test_changes_are_the_fields_that_differ_by_their_names_on_the_wire() -> None:
    before, after = AddonStatus(namespace="a"), AddonStatus(namespace="b", health_check=HealthCheck("Lease"))
    assert addon_status.changes(before, after) == {"namespace": "b", "healthCheck": HealthCheck("Lease")}


GOOD = {**FIRST, "Available": "True"}


@pytest.mark.parametrize(
    ("stands", "state"),
    [
        ({}, "registering"),
        ({**GOOD, "RegistrationApplied": "False"}, "registering"),
        ({"RegistrationApplied": "True"}, "deploying"),
        ({**GOOD, "ManifestApplied": "Unknown"}, "deploying"),
        ({**GOOD, "ManifestApplied": "False"}, "failing"),
        ({**GOOD, "Degraded": "True"}, "degraded"),
        ({**GOOD, "Degraded": "False"}, "available"),
        (GOOD, "available"),
        ({**GOOD, "Available": "False"}, "unavailable"),
        ({**GOOD, "Available": "Unknown"}, "unknown"),
        (FIRST, "unknown"),
    ],
)
def test_the_state_of_a_cluster_is_the_first_thing_that_is_not_as_it_should_be(
    stands: dict[str, str], state: str
) -> None:
    found = AddonStatus(conditions=tuple(Condition(name, value) for name, value in stands.items()))
    assert addon_status.state(with_(addon(), status=found)) == state


@pytest.mark.parametrize(
    ("available", "state"), [("True", "misconfigured"), ("", "misconfigured"), ("False", "unavailable")]
)
def test_a_wrong_configuration_is_no_agent_that_does_not_work(available: str, state: str) -> None:
    wrong = Condition("ManifestApplied", "False", "InvalidConfiguration")
    others = [Condition("RegistrationApplied", "True"), Condition("Available", available)]
    found = AddonStatus(conditions=(*others, wrong))
    assert addon_status.state(with_(addon(), status=found)) == state


def test_an_addon_that_is_being_deleted_is_in_no_other_state() -> None:
    assert addon_status.state(with_(addon(), deletion_timestamp=START)) == "removing"


def test_a_message_with_strangers_texts_in_it_is_cut_and_escaped() -> None:
    found = conditions(evolve(FOUND, problem="bad\x1b[2J" + "x" * 60_000))["ManifestApplied"]
    assert len(found.message) == 1024
    assert found.message.startswith("bad\\x1b[2J")
