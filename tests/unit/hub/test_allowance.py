"""A noisy cluster waits for itself alone."""

from msa.hub.allowance import Allowance


def test_a_burst_is_free_and_after_it_each_waits_for_its_turn() -> None:
    allowance = Allowance(burst=3, rate=2.0, longest=100.0)
    assert [allowance.wait("c1", 0.0) for _ in range(6)] == [0.0, 0.0, 0.0, 0.5, 1.0, 1.5]
    assert allowance.wait("c2", 0.0) == 0.0


def test_a_quiet_while_pays_for_the_next_burst() -> None:
    allowance = Allowance(burst=3, rate=2.0, longest=100.0)
    for _ in range(6):
        allowance.wait("c1", 0.0)
    assert [allowance.wait("c1", 10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_nobody_waits_longer_than_the_longest_wait_and_it_is_over_when_he_is_quiet() -> None:
    allowance = Allowance(burst=3, rate=2.0, longest=4.0)
    assert max(allowance.wait("c1", 0.0) for _ in range(10_000)) == 4.0
    assert allowance.wait("c1", 6.0) == 0.0


def test_of_those_who_were_quiet_for_long_nothing_is_remembered() -> None:
    allowance = Allowance(burst=3, rate=2.0, longest=4.0)
    for number in range(10_000):
        allowance.wait(f"c{number}", float(number))
    assert len(allowance._free_at) == 4096
