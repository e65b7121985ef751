from random import Random

import pytest

from msa.runtime.backoff import Backoff
from msa.runtime.result import Key

KEY = Key("ns/a")


@pytest.mark.parametrize("first", [True, False])
def test_no_server_keeps_a_key_away_for_longer_than_the_longest_backoff(first: bool) -> None:
    backoff = Backoff(Random(1), cap=300.0)
    if not first:
        backoff.due(KEY, 0.0)
    assert backoff.due(KEY, 0.0, least=1e9) == 300.0


def test_a_server_that_asks_for_less_is_obeyed() -> None:
    assert Backoff(Random(1), cap=300.0).due(KEY, 0.0, least=60.0) == 60.0
