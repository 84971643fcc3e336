"""The judge of a soak run: whether a size stays level, or creeps up.

Knows nothing of what it judges but its kind, which says how much noise is natural.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Allowance:
    """How much more the end may be than the beginning, before it counts as growth."""

    share: float  #: of the beginning
    floor: float  #: in the unit of the size, for what is small
    level: float = 0.0  #: what is there if all goes well; a low beginning does not count


@dataclass(frozen=True)
class Verdict:
    """What became of one size."""

    name: str
    before: float  #: median of the second quarter
    after: float  #: median of the last quarter
    highest: float
    allowed: float  #: of `after`

    @property
    def grew(self) -> bool:
        """Whether it is more at the end than noise explains."""
        return self.after > self.allowed


def judge(name: str, values: Sequence[float], allowance: Allowance) -> Verdict:
    """Compare the last quarter of evenly spaced samples with the second.

    The first quarter still belongs to what settles. Medians, so that a saving child, a
    rewrite or a single burst does not count, whatever its height.
    """
    quarter = len(values) // 4
    if not quarter:
        raise ValueError(f"too few samples of {name}: {len(values)}")
    before = median(values[quarter : 2 * quarter])
    return Verdict(
        name,
        before=before,
        after=median(values[-quarter:]),
        highest=max(values),
        allowed=max(before, allowance.level) * (1 + allowance.share) + allowance.floor,
    )
