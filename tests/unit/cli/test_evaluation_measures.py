"""The measures of `snapsku evaluate`, against values worked out by hand."""

from __future__ import annotations

import pytest

from cli.evaluation.measures import average_precision, measured, share


@pytest.mark.parametrize(
    ("ranks", "right", "precision"),
    [([1], 1, 1.0), ([4], 1, 0.25), ([], 1, 0.0), ([1, 3], 2, (1 + 2 / 3) / 2), ([2], 2, 0.25)],
)
def test_average_precision(ranks: list[int], right: int, precision: float) -> None:
    assert average_precision(ranks, right) == pytest.approx(precision)


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0)],
)
def test_the_interval_of_a_share_is_that_of_wilson(
    count: int, total: int, low: float, high: float
) -> None:
    found = share(count, total)
    assert found.value == pytest.approx(count / total)
    assert found.low == pytest.approx(low, abs=1e-4)
    assert found.high == pytest.approx(high, abs=1e-4)


def test_recall_counts_queries_and_precision_counts_products() -> None:
    found = measured([[1], [5], [6], []], [1, 1, 1, 1], [10.0, 30.0, 20.0, 100.0])
    assert found.recall_at_1.value == 0.25
    assert found.recall_at_5.value == 0.5
    assert found.mean_average_precision == pytest.approx((1 + 1 / 5 + 1 / 6) / 4)
    assert (found.median_milliseconds, found.slow_milliseconds) == (25.0, 100.0)


def test_of_a_hundred_searches_five_may_be_slower() -> None:
    times = [float(number) for number in range(1, 101)]
    assert measured([[1]] * 100, [1] * 100, times).slow_milliseconds == 95.0


def test_without_a_query_there_is_nothing_to_measure() -> None:
    with pytest.raises(ValueError, match="no query"):
        measured([], [], [])
