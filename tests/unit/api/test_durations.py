from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msa.api.durations import parse, parse_rfc3339, render, rfc3339


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("8640h0m0s", 31104000),
        ("1.5h", 5400),
        ("10m", 600),
        ("0", 0),
        ("-1h", -3600),
        ("+2s", 2),
        ("300ms", 0.3),
        (".5s", 0.5),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse(text).total_seconds() == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "h", "10", "1d", "1h ", "one hour", "-", "1h-2m", "٣h" * 40])
def test_anything_else_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse(text)


@given(st.text())
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    try:
        parse(text)
    except ValueError as error:
        assert "duration" in str(error)  # noqa: PT017 - most texts raise, a few do not


@given(st.integers(0, 2**32))
def test_what_is_rendered_reads_back(seconds: int) -> None:
    assert parse(render(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


def test_durations_are_written_as_go_writes_them() -> None:
    assert [render(timedelta(seconds=seconds)) for seconds in (0, 600, 86400, 3661)] == [
        "0s",
        "10m0s",
        "24h0m0s",
        "1h1m1s",
    ]


def test_times_are_written_in_whole_seconds_and_read_back() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    assert rfc3339(moment) == "2026-01-02T03:04:05Z"
    assert parse_rfc3339(rfc3339(moment)) == moment.replace(microsecond=0)
    assert parse_rfc3339("noon") is None
    assert parse_rfc3339("2026-01-02T03:04:05") is None


def test_a_time_that_a_user_wrote_in_another_way_is_the_one_that_the_api_server_would_store() -> None:
    """Otherwise a status made from it would never equal the stored one, and be written again and again."""
    found = parse_rfc3339("2026-01-02T05:04:05.678+02:00")
    assert found is not None
    assert found.isoformat() == "2026-01-02T03:04:05+00:00"
    assert parse_rfc3339("0001-01-01T00:00:00+23:59") is None
