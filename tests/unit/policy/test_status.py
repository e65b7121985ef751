from datetime import datetime, timedelta

import pytest
from attrs import evolve
from msgspec.structs import replace

from msa.api.core import Marks
from msa.api.managedserviceaccount import ManagedServiceAccount, ServiceAccountRef, Status, TokenSecretRef
from msa.api.meta import Condition
from msa.api.token import TokenFacts
from msa.policy.rotation import Request, refresh_time
from msa.policy.status import Holding, Trouble, newly, wanted
from tests.support.builders import HOUR, START, account, claims, credential, identity

NOW = START + HOUR + timedelta(microseconds=700)
WHOLE = START + HOUR
VALID = "valid until 2026-01-02T00:00:00Z; next rotation about 2026-01-01T18:37Z"
LATER = NOW + HOUR
DAY = Request((), 86400)
YEAR = Request((), 365 * 86400)
DOWN = Trouble("ManagedClusterUnreachable", "the managed cluster does not answer")
CONTESTED = Trouble("SecretContested", "the Secret is altered again and again")

ALL = Holding(account(), credential())
NO_SECRET = Holding(account(), None)
NOTHING = Holding(None, None)
NO_TOKEN = Holding(account(), evolve(credential(), token=None))
GARBAGE = Holding(account(), evolve(credential(), token=TokenFacts(malformed="garbage")))


def _with(*conditions: Condition) -> ManagedServiceAccount:
    return replace(identity(), status=Status(conditions))


def _condition(status: Status, type_: str) -> Condition | None:
    return next((condition for condition in status.conditions if condition.type == type_), None)


def _verdicts(status: Status) -> dict[str, tuple[str, str, str]]:
    return {item.type: (item.status, item.reason, item.message) for item in status.conditions}


def test_where_all_is_well_the_status_says_so_in_full() -> None:
    assert wanted(identity(), ALL, DAY, None, NOW) == Status(
        conditions=(
            Condition("Ready", "True", "TokenFresh", VALID, WHOLE, 1),
            Condition("TokenReported", "True", "TokenReported", "", WHOLE, 1),
            Condition("SecretCreated", "True", "SecretCreated", "", WHOLE, 1),
        ),
        observed_generation=1,
        expiration_timestamp=START + 24 * HOUR,
        token_secret_ref=TokenSecretRef("one", START),
        service_account_ref=ServiceAccountRef("install", "one", "sa-uid"),
        audiences=("https://kubernetes.default.svc",),
        granted_validity="24h0m0s",
        next_refresh_timestamp=refresh_time(claims(), "msa-uid").replace(microsecond=0),
    )


@pytest.mark.parametrize("trouble", [DOWN, CONTESTED, Trouble("ClockSkew", "set the clocks")])
@pytest.mark.parametrize(
    ("holding", "has_secret"),
    [
        pytest.param(NOTHING, False, id="nothing"),
        pytest.param(NO_SECRET, False, id="no Secret"),
        pytest.param(Holding(None, credential()), True, id="no account"),
        pytest.param(NO_TOKEN, True, id="no token"),
        pytest.param(GARBAGE, True, id="garbage"),
        pytest.param(ALL, True, id="a good token"),
    ],
)
def test_a_trouble_is_the_reason_of_every_condition_that_does_not_hold(
    holding: Holding, trouble: Trouble, *, has_secret: bool
) -> None:
    wrong = ("False", trouble.reason, trouble.message)
    assert _verdicts(wanted(identity(), holding, DAY, trouble, NOW)) == {
        "Ready": wrong,
        "TokenReported": wrong,
        "SecretCreated": ("True", "SecretCreated", "") if has_secret else wrong,
    }


def test_a_trouble_hides_nothing_of_the_token_that_is_still_in_use() -> None:
    well, ill = (wanted(identity(), ALL, DAY, trouble, NOW) for trouble in (None, DOWN))
    assert replace(ill, conditions=()) == replace(well, conditions=())
    assert ill.conditions != well.conditions


@pytest.mark.parametrize(
    "holding",
    [
        pytest.param(NO_SECRET, id="no Secret"),
        pytest.param(NO_TOKEN, id="no token"),
        pytest.param(GARBAGE, id="garbage"),
    ],
)
def test_what_was_reported_of_a_token_that_is_gone_is_withdrawn(holding: Holding) -> None:
    before = replace(identity(), status=wanted(identity(), ALL, DAY, None, NOW))
    after = wanted(before, holding, DAY, CONTESTED, LATER)
    assert replace(after, conditions=()) == Status(
        observed_generation=1, service_account_ref=ServiceAccountRef("install", "one", "sa-uid")
    )


def test_an_account_that_is_gone_is_not_referred_to() -> None:
    before = replace(identity(), status=wanted(identity(), ALL, DAY, None, NOW))
    after = wanted(before, Holding(None, credential()), DAY, DOWN, LATER)
    assert after.service_account_ref is None
    assert after.token_secret_ref is not None


@pytest.mark.parametrize("moment", [START + 2 * HOUR, None])
def test_a_secret_that_does_not_say_when_it_was_written_is_as_old_as_its_token(
    moment: datetime | None,
) -> None:
    stored = credential(marks=Marks("", claims().expires_at, moment))
    reference = wanted(identity(), Holding(account(), stored), DAY, None, NOW).token_secret_ref
    assert reference == TokenSecretRef("one", moment or START)


def test_a_token_expires_when_it_says_itself_whatever_the_annotation_says() -> None:
    stored = credential(marks=Marks("", START + 1000 * HOUR, START))
    found = wanted(identity(), Holding(account(), stored), DAY, None, NOW)
    assert found.expiration_timestamp == START + 24 * HOUR


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        pytest.param(YEAR, True, id="a year"),
        pytest.param(DAY, False, id="as granted"),
        pytest.param(Request((), 3600), False, id="less than granted"),
        pytest.param(None, False, id="invalid spec"),
    ],
)
@pytest.mark.parametrize("trouble", [None, DOWN])
@pytest.mark.parametrize("before", [True, False])
def test_a_shortened_life_is_told_for_as_long_as_it_is_one(
    request_: Request | None, trouble: Trouble | None, *, told: bool, before: bool
) -> None:
    stored = Condition("LifetimeShortened", "True", "GrantedLessThanRequested", "stale", START, 1)
    given = _with(stored) if before else identity()
    held = credential(requested=request_.render()) if request_ is not None else credential()
    found = _condition(wanted(given, Holding(account(), held), request_, trouble, NOW), "LifetimeShortened")
    assert (found is not None) is told
    if found is not None:
        assert (found.status, found.reason) == ("True", "GrantedLessThanRequested")
        assert found.last_transition_time == (START if before else WHOLE)
        assert "24h0m0s of the requested 31536000 s" in found.message
        assert "spec.rotation.validity" in found.message


@pytest.mark.parametrize(
    ("requested", "told"),
    [
        pytest.param(DAY.render(), False, id="before the spec asked for more"),
        pytest.param("", True, id="by an agent that did not note it"),
    ],
)
def test_the_cluster_is_not_blamed_for_a_token_that_was_asked_for_less(requested: str, *, told: bool) -> None:
    """The spec was edited and the new token could not be had yet."""
    held = Holding(account(), credential(requested=requested))
    assert ("LifetimeShortened" in _verdicts(wanted(identity(), held, YEAR, DOWN, NOW))) is told


@pytest.mark.parametrize("holding", [NO_SECRET, NO_TOKEN, GARBAGE])
def test_where_there_is_no_token_no_life_was_shortened(holding: Holding) -> None:
    assert "LifetimeShortened" not in _verdicts(wanted(identity(), holding, YEAR, CONTESTED, NOW))


def test_an_invalid_spec_is_reported_and_the_token_it_had_stays_reported() -> None:
    invalid = Trouble("InvalidSpec", "spec.rotation.validity: write a Go duration")
    found = wanted(identity(validity="1 day"), ALL, None, invalid, NOW)
    assert _verdicts(found)["Ready"] == (
        "False",
        "InvalidSpec",
        "spec.rotation.validity: write a Go duration",
    )
    assert found.granted_validity == "24h0m0s"
    assert found.expiration_timestamp == START + 24 * HOUR


@pytest.mark.parametrize("holding", [NOTHING, NO_SECRET, NO_TOKEN, ALL])
@pytest.mark.parametrize("request_", [DAY, YEAR, None])
@pytest.mark.parametrize("trouble", [None, DOWN])
def test_what_was_reported_once_is_not_written_again(
    holding: Holding, request_: Request | None, trouble: Trouble | None
) -> None:
    foreign = Condition("Audited", "True", "Yes", "", START, 1)
    first = wanted(_with(foreign), holding, request_, trouble, NOW)
    assert wanted(replace(identity(), status=first), holding, request_, trouble, LATER) == first


@pytest.mark.parametrize(
    ("old", "trouble", "moved"),
    [
        pytest.param(("False", "ManagedClusterUnreachable"), DOWN, False, id="nothing changed"),
        pytest.param(("False", "SecretContested"), DOWN, False, id="another reason"),
        pytest.param(("True", "TokenFresh"), DOWN, True, id="something came up"),
        pytest.param(("True", "TokenFresh"), None, False, id="all is well still"),
        pytest.param(("False", "SecretContested"), None, True, id="all is well again"),
        pytest.param(("Unknown", "Unknown"), None, True, id="nobody knew"),
    ],
)
def test_a_transition_time_moves_only_when_the_conditions_status_does(
    old: tuple[str, str], trouble: Trouble | None, *, moved: bool
) -> None:
    found = _condition(wanted(_with(Condition("Ready", *old, "", START, 1)), ALL, DAY, trouble, NOW), "Ready")
    assert found is not None
    assert found.reason == (trouble.reason if trouble is not None else "TokenFresh")
    assert found.last_transition_time == (WHOLE if moved else START)


def test_a_new_generation_is_reported_and_moves_no_transition_time() -> None:
    first = wanted(identity(), ALL, DAY, None, NOW)
    metadata = replace(identity().metadata, generation=2)
    second = wanted(replace(identity(), metadata=metadata, status=first), ALL, DAY, None, LATER)
    assert second.observed_generation == 2
    assert second.conditions == tuple(
        replace(condition, observed_generation=2) for condition in first.conditions
    )


def test_a_ttl_that_the_agent_does_not_heed_is_reported_for_as_long_as_it_is_there() -> None:
    metadata, spec = identity().metadata, replace(identity().spec, ttl_seconds_after_creation=60)
    limited = ManagedServiceAccount(metadata, spec)
    first = wanted(limited, ALL, DAY, None, NOW, ephemeral=False)
    found = _verdicts(first)["TTLIgnored"]
    assert found[:2] == ("True", "EphemeralIdentityGateOff")
    assert "spec.ttlSecondsAfterCreation has no effect" in found[2]
    assert newly("TTLIgnored", Status(), first) == found[2]
    assert newly("TTLIgnored", first, first) is None
    assert "TTLIgnored" not in _verdicts(wanted(limited, ALL, DAY, None, NOW, ephemeral=True))
    assert "TTLIgnored" not in _verdicts(
        wanted(replace(identity(), status=first), ALL, DAY, None, NOW, ephemeral=False)
    )


@pytest.mark.parametrize("trouble", [None, DOWN])
def test_conditions_of_others_stay_as_they_are(trouble: Trouble | None) -> None:
    others = (
        Condition("Audited", "True", "Yes", "by hand", START, 7),
        Condition("LifetimeShortenedByUs", "Unknown", "", "", None, 0),
    )
    found = wanted(_with(*others), ALL, DAY, trouble, NOW)
    assert tuple(condition for condition in found.conditions if condition in others) == others
    assert len(found.conditions) == 5
