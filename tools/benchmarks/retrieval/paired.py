"""Comparisons of two designs on the same searches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Paired:
    """The searches that one design answers right and another does not, and the reverse."""

    won: int
    lost: int

    @property
    def p(self) -> float:
        """The two-sided p-value of McNemar's exact test.

        It is the chance that the searches on which two designs differ are divided so unevenly or
        more so, if each of these is as likely to be won as to be lost; 1 without any.
        """
        differ = self.won + self.lost
        least = min(self.won, self.lost)
        tail = sum(math.comb(differ, count) for count in range(least + 1))
        # Whole numbers, since 2.0 ** differ is too large for a float from 1,024 searches on.
        return min(1.0, (2 * tail) / (1 << differ))

    def __str__(self) -> str:
        return f"{self.won}:{self.lost} {self.p:.2g}"


def paired(after: Sequence[int], before: Sequence[int]) -> Paired:
    """Return how many searches have rank 1 in only one of two lists of ranks."""
    pairs = list(zip(after, before, strict=True))
    return Paired(
        won=sum(one == 1 != other for one, other in pairs),
        lost=sum(one != 1 == other for one, other in pairs),
    )
