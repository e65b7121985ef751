"""How far another clock is from ours, by Date headers alone."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msa.kube.skew import ClockSkew

NOW = 1_800_000_000.0


def _seen(ahead: float, asked: list[tuple[float, float, float]]) -> ClockSkew:
    """A server whose clock is so far ahead; each request is asked at a time and takes so long there and back."""
    skew = ClockSkew()
    for at, there, back in asked:
        date, received = formatdate(int(at + there + ahead), usegmt=True), at + there + back
        skew.answered(date, at, received, received - NOW)
    return skew


@given(
    ahead=st.floats(-86400, 86400),
    requests=st.lists(
        st.tuples(st.floats(0, 3), st.floats(0.001, 2), st.floats(0.001, 2)), min_size=1, max_size=20
    ),
    later=st.floats(0, 600),
)
def test_the_servers_time_is_never_shown_too_late_and_is_close_once_there_are_some_answers(
    ahead: float, requests: list[tuple[float, float, float]], later: float
) -> None:
    at, asked = NOW, []
    for pause, there, back in requests:
        at += 1 + there + back + pause
        asked.append((at, there, back))
    now = at + 4 + later
    shown, true = _seen(ahead, asked).at_least(now - NOW), now + ahead
    assert shown <= true + 1e-5
    assert shown > true - 1.0 - max(back for _, _, back in asked) - 1e-5


def test_quick_answers_tell_the_skew_to_half_a_second() -> None:
    skew = _seen(-3600.0, [(NOW + 1.37 * number, 0.01, 0.01) for number in range(9)])
    assert skew.seconds == pytest.approx(-3600.0, abs=0.5)


def test_before_any_answer_nothing_is_known() -> None:
    skew = ClockSkew()
    skew.answered(None, NOW, NOW, 0.0)
    skew.answered("no date", NOW, NOW, 0.0)
    assert skew.seconds is None
    assert skew.at_least(5.0) == 0.0
