from __future__ import annotations

import pytest

from tools.benchmarks.retrieval.paired import Paired, paired


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    [
        # The tails of a binomial distribution with chances of one half, twice.
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 / 32),
        (0, 6, 2 / 64),
        (3, 3, 1.0),
        (8, 2, 2 * (1 + 10 + 45) / 1024),
        (2, 8, 2 * (1 + 10 + 45) / 1024),
        # The issue's own example: 27 won, 3 lost of 150.
        (27, 3, 2 * (1 + 30 + 435 + 4060) / 2**30),
    ],
)
def test_the_p_value_is_that_of_mcnemars_exact_test(won: int, lost: int, p: float) -> None:
    assert Paired(won, lost).p == pytest.approx(p)


def test_thousands_of_differences_are_no_overflow() -> None:
    assert Paired(3000, 0).p == 0.0
    assert 0.9 < Paired(2000, 2001).p <= 1.0


def test_only_searches_that_one_design_answers_right_are_won_or_lost() -> None:
    before, after = [1, 1, 2, 5, 3, 1], [1, 2, 1, 2, 1, 1]
    assert paired(after, before) == Paired(won=2, lost=1)
    assert paired(before, after) == Paired(won=1, lost=2)


def test_ranks_of_different_searches_are_not_compared() -> None:
    with pytest.raises(ValueError, match="longer"):
        paired([1], [1, 2])
