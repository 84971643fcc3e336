"""The measures of an evaluation, made of the ranks of the right products."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

#: Of a normal distribution, 95 % lie within so many standard deviations.
DEVIATIONS = 1.96


@dataclass(frozen=True)
class Share:
    """A share of the queries, and the interval that holds the true one in 95 cases of 100."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Measures:
    """How well the queries were answered."""

    recall_at_1: Share
    recall_at_5: Share
    mean_average_precision: float
    median_milliseconds: float
    slow_milliseconds: float  #: of 95 in 100 searches none takes longer


def share(count: int, total: int) -> Share:
    """Return `count` of `total` with its interval by Wilson (1927), which is right near 0 and 1.

    Raises ZeroDivisionError for a total of 0.
    """
    value, spread = count / total, DEVIATIONS**2 / total
    middle = (value + spread / 2) / (1 + spread)
    half = math.sqrt(value * (1 - value) * spread + spread**2 / 4) / (1 + spread)
    return Share(value, max(0.0, middle - half), min(1.0, middle + half))


def average_precision(ranks: Sequence[int], right: int) -> float:
    """Return the average precision of a query that has `right` right products.

    `ranks` are those of the right products that were found, from 1 on and rising; one that was not
    found adds nothing.
    """
    return sum(number / rank for number, rank in enumerate(ranks, 1)) / right


def measured(
    ranks: Sequence[Sequence[int]], rights: Sequence[int], milliseconds: Sequence[float]
) -> Measures:
    """Return the measures of queries, each with the ranks of its right products and their number.

    Raises ValueError without queries.
    """
    if not ranks:
        raise ValueError("no query to measure")
    total = len(ranks)
    slow = sorted(milliseconds)[max(0, math.ceil(0.95 * len(milliseconds)) - 1)]
    return Measures(
        recall_at_1=share(sum(bool(each) and each[0] == 1 for each in ranks), total),
        recall_at_5=share(sum(bool(each) and each[0] <= 5 for each in ranks), total),
        mean_average_precision=statistics.fmean(
            average_precision(each, right) for each, right in zip(ranks, rights, strict=True)
        ),
        median_milliseconds=statistics.median(milliseconds),
        slow_milliseconds=slow,
    )
