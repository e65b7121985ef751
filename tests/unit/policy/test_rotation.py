from datetime import datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from msa.api.core import Marks
from msa.api.managedserviceaccount import Rotation, Spec
from msa.api.token import TokenFacts
from msa.policy.patience import limited_wait, retry_delay
from msa.policy.rotation import (
    InvalidSpec,
    Reason,
    Reissue,
    Repair,
    Request,
    Snapshot,
    jitter,
    refresh_time,
    refreshed_at,
    shortened,
    violation,
)
from tests.support.builders import HOUR, START, claims, credential, identity, snapshot, with_metadata

SOON = START + HOUR
OTHER = claims(account_uid="older")


_OURS = Marks(Request((), 86400).render(), START + 24 * HOUR, START)
_OTHERWISE = evolve(_OURS, requested=Request((), 3600).render())


@pytest.mark.parametrize(
    ("given_", "now", "reason", "kind"),
    [
        pytest.param(snapshot(None), SOON, Reason.SECRET_MISSING, Reissue, id="no Secret"),
        pytest.param(
            snapshot(evolve(credential(), token=None)), SOON, Reason.TOKEN_MISSING, Reissue, id="no token"
        ),
        pytest.param(
            snapshot(evolve(credential(), token=TokenFacts(malformed="garbage"))),
            SOON,
            Reason.TOKEN_MALFORMED,
            Reissue,
            id="garbage",
        ),
        pytest.param(
            snapshot(credential(claims(subject="system:serviceaccount:install:two"))),
            SOON,
            Reason.WRONG_ACCOUNT,
            Reissue,
            id="wrong account",
        ),
        pytest.param(
            snapshot(credential(OTHER)), SOON, Reason.ACCOUNT_REPLACED, Reissue, id="account replaced"
        ),
        pytest.param(
            snapshot(credential(), spec=identity(validity="1h")),
            SOON,
            Reason.REQUESTED_DIFFERENTLY,
            Reissue,
            id="validity edited",
        ),
        pytest.param(
            snapshot(credential(), spec=identity(audiences=("a",))),
            SOON,
            Reason.REQUESTED_DIFFERENTLY,
            Reissue,
            id="audiences edited",
        ),
        pytest.param(
            snapshot(credential(requested=""), spec=identity(audiences=("a",))),
            SOON,
            Reason.WRONG_AUDIENCE,
            Reissue,
            id="wrong audience",
        ),
        pytest.param(
            snapshot(credential(), thumbprints=frozenset(("key-2",))),
            SOON,
            Reason.UNKNOWN_KEY,
            Reissue,
            id="unknown key",
        ),
        pytest.param(snapshot(credential()), START + 24 * HOUR, Reason.EXPIRED, Reissue, id="expired"),
        pytest.param(snapshot(credential()), START + 20 * HOUR, Reason.DUE, Reissue, id="due"),
        pytest.param(
            snapshot(credential(), ca_digest="new"), SOON, Reason.CA_CHANGED, Repair, id="CA changed"
        ),
        pytest.param(
            snapshot(evolve(credential(), keys=frozenset(("token", "ca.crt", "x")))),
            SOON,
            Reason.FOREIGN_DATA,
            Repair,
            id="foreign data",
        ),
        pytest.param(
            snapshot(with_metadata(credential(), labels=None)),
            SOON,
            Reason.MARKS_LOST,
            Repair,
            id="label lost",
        ),
        pytest.param(
            snapshot(credential(owners=())),
            SOON,
            Reason.MARKS_LOST,
            Repair,
            id="owner lost",
        ),
        pytest.param(
            snapshot(credential(requested="")), SOON, Reason.ADOPTED, Repair, id="made by the Go addon"
        ),
        pytest.param(
            snapshot(credential(claims(issued_at=START + HOUR, expires_at=START + 25 * HOUR), marks=_OURS)),
            SOON,
            Reason.ADOPTED,
            Repair,
            id="issued anew by the Go addon, and our annotations are still there",
        ),
        pytest.param(
            snapshot(
                credential(claims(issued_at=START + HOUR, expires_at=START + 25 * HOUR), marks=_OTHERWISE)
            ),
            SOON,
            Reason.ADOPTED,
            Repair,
            id="the same, and our token was asked for otherwise",
        ),
        pytest.param(
            snapshot(credential(marks=evolve(_OURS, expires_at=START))),
            SOON,
            Reason.MARKS_LOST,
            Repair,
            id="annotation altered",
        ),
    ],
)
def test_each_thing_that_is_wrong_has_its_reason(
    given_: Snapshot, now: datetime, reason: Reason, kind: type
) -> None:
    found = violation(given_, now)
    assert found is not None
    assert isinstance(found, kind)
    assert found.reason is reason
    assert found.message


def test_a_good_credential_has_nothing_wrong() -> None:
    assert violation(snapshot(credential()), SOON) is None


def test_signatures_do_not_count_where_the_cluster_does_not_tell_its_keys() -> None:
    assert violation(snapshot(credential(), thumbprints=None), SOON) is None


def test_the_first_of_several_violations_gives_the_reason() -> None:
    """An expired token of a replaced account with a lost label is reported as what explains the rest."""
    found = violation(
        snapshot(with_metadata(credential(OTHER), labels=None), ca_digest="new"), START + 30 * HOUR
    )
    assert found is not None
    assert found.reason is Reason.ACCOUNT_REPLACED


@pytest.mark.parametrize(
    "text", ["5m", "9m59s", "0", "-1h", "garbage", "", "1193046h28m17s", "10", "1d", "9999999999999h"]
)
def test_a_validity_that_no_token_can_have_is_refused_with_field_and_remedy(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.rotation\.validity: .*(write|must be between)"):
        Request.from_spec(Spec(Rotation(text)))


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("8640h0m0s", 31104000), ("1193046h28m16s", 2**32), ("90m", 5400)]
)
def test_a_validity_within_the_bounds_is_asked_for_as_it_is(text: str, seconds: int) -> None:
    assert Request.from_spec(Spec(Rotation(text))).seconds == seconds


def test_the_order_of_audiences_makes_no_difference() -> None:
    assert (
        Request.from_spec(Spec(audiences=("b", "a"))).render()
        == Request.from_spec(Spec(audiences=("a", "b"))).render()
    )


@given(st.text(), st.integers(600, 2**32))
def test_a_token_is_due_between_seven_and_eight_tenths_of_its_granted_life(uid: str, seconds: int) -> None:
    token = claims(expires_at=START + timedelta(seconds=seconds))
    share = (refresh_time(token, uid) - START) / timedelta(seconds=seconds)
    assert 0.699999 <= share <= 0.800001


@given(st.integers(1, 2**31), st.text(min_size=1))
def test_at_most_two_tokens_are_asked_for_in_any_granted_life(granted: int, uid: str) -> None:
    """Whatever the server grants, however far below what was asked (EKS: a day for a year)."""
    issued, start = [START], claims(expires_at=START + timedelta(seconds=granted))
    while issued[-1] - START <= timedelta(seconds=granted):
        token = evolve(start, issued_at=issued[-1], expires_at=issued[-1] + timedelta(seconds=granted))
        issued.append(refresh_time(token, uid))
    assert len([moment for moment in issued[1:] if moment - START <= timedelta(seconds=granted)]) <= 2


def test_the_jitter_depends_on_the_uid_alone_and_fills_its_range() -> None:
    values = sorted(jitter(f"uid-{number}") for number in range(1000))
    assert jitter("uid-1") == jitter("uid-1")
    assert values[0] < 0.01
    assert values[-1] > 0.99
    assert 0.45 < values[500] < 0.55


@pytest.mark.parametrize(("granted", "told"), [(24 * HOUR, False), (23 * HOUR, False), (12 * HOUR, True)])
def test_a_clearly_shorter_life_than_asked_is_told(granted: timedelta, told: bool) -> None:
    assert shortened(claims(expires_at=START + granted), Request((), 86400)) is told


@given(st.integers(0, 100), st.floats(1, 1e6), st.floats(0, 1, exclude_max=True))
def test_a_failed_rotation_is_tried_again_well_before_the_token_ends(
    attempt: int, left: float, chance: float
) -> None:
    delay = retry_delay(attempt, timedelta(seconds=left), chance)
    assert 0.5 <= delay <= 300
    assert delay <= max(1.0, left / 10)


def test_annotations_of_the_secret_are_compared_with_the_token_itself() -> None:
    stored = credential()
    marks = evolve(stored.marks, expires_at=START + 1000 * HOUR)
    found = violation(snapshot(evolve(stored, marks=marks)), SOON)
    assert isinstance(found, Repair)


@pytest.mark.parametrize(
    ("marks", "moment"),
    [
        pytest.param(Marks("", START + 24 * HOUR, START + HOUR), START + HOUR, id="as annotated"),
        pytest.param(Marks("", START + 24 * HOUR, START - HOUR), START, id="never before it was issued"),
        pytest.param(Marks("", START + 20 * HOUR, START + HOUR), START, id="annotation of an older token"),
        pytest.param(Marks(), START, id="not annotated"),
    ],
)
def test_an_annotation_counts_only_for_the_token_that_it_is_about(marks: Marks, moment: datetime) -> None:
    """The Go addon issued a token anew and left our annotation: the refresh time went backwards."""
    assert refreshed_at(credential(marks=marks), claims()) == moment


@pytest.mark.parametrize(
    ("asked", "left", "wait"),
    [
        (3600.0, None, 60.0),
        (3600.0, timedelta(hours=1), 360.0),
        (3600.0, timedelta(seconds=-5), 60.0),
        (5.0, timedelta(hours=1), 5.0),
        (float("inf"), timedelta(hours=1), 0.0),
        (float("nan"), None, 0.0),
        (-1.0, None, 0.0),
        (30.0, timedelta(seconds=1), 1.0),
    ],
)
def test_a_server_that_asks_to_wait_is_heeded_for_a_tenth_of_the_life_that_is_left(
    asked: float, left: timedelta | None, wait: float
) -> None:
    assert limited_wait(asked, left) == wait


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (Request((), 8640 * 3600), Request((), 3600), "validity changed from 8640h to 1h"),
        (Request((), 5400), Request((), 61), "validity changed from 90m to 61s"),
        (Request(("a",), 3600), Request((), 3600), "audiences changed from a to the API server's own"),
    ],
)
def test_an_edit_of_the_spec_is_told_as_people_write_it(
    before: Request, after: Request, message: str
) -> None:
    found = violation(evolve(snapshot(credential(requested=before.render())), request=after), SOON)
    assert found is not None
    assert found.message == message


@given(st.text())
def test_any_annotation_is_a_reason_and_never_an_error(requested: str) -> None:
    found = violation(snapshot(credential(requested=requested)), SOON)
    assert found is not None
    assert found.message
