"""What a design must show, and what it aims at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools.benchmarks.retrieval.designs import BEFORE, SearchDesign

#: Recall@1 by set and design.
Recalls = Mapping[str, Mapping[SearchDesign, float]]


@dataclass(frozen=True)
class Requirement:
    """Recall@1 of a set, or by how much it is lower than that of the set `before`.

    Without `must` it is to be that of the design before parts, or more.
    """

    name: str
    must: float | None
    aim: float | None = None
    before: str = ""

    def __str__(self) -> str:
        return f"{self.name}, falls by" if self.before else self.name

    def judged(self, design: SearchDesign, recalls: Recalls) -> str:
        """Return the value of a design, and "aim", "must" or "missed"; "" if it is not measured."""
        if any(name not in recalls for name in (self.name, self.before or self.name)):
            return ""
        own = recalls[self.name]
        value = recalls[self.before][design] - own[design] if self.before else own[design]
        must = own[BEFORE] if self.must is None else self.must
        if self.aim is not None and self._holds(value, self.aim):
            return f"{value:.3f} aim"
        return f"{value:.3f} {'must' if self._holds(value, must) else 'missed'}"

    def _holds(self, value: float, limit: float) -> bool:
        # Shares of some hundred searches: the margin is that of binary fractions alone.
        return value <= limit + 1e-9 if self.before else value >= limit - 1e-9


REQUIREMENTS = (
    Requirement("grocery packages", 0.84, 0.90),
    Requirement("grocery packages, crowd", 0.02, before="grocery packages"),
    Requirement("grocery produce", None),
    Requirement("grocery produce, crowd", None),
    Requirement("scenes", 0.99),
    Requirement("clutter", 0.83),
    Requirement("clutter, clothes", 0.83),
    Requirement("photos hard", 0.96),
    Requirement("photos light", 0.995),
    Requirement("several", 0.97),
    Requirement("photos hard, crowd", 0.12, 0.05, before="photos hard"),
)


def requirement_lines(designs: Sequence[SearchDesign], recalls: Recalls) -> list[str]:
    """Return a table of the requirements that were measured, with a column for each design."""
    lines = [f"{number}: {design}" for number, design in enumerate(designs, start=1)]
    columns = "".join(f"{number:>14}" for number in range(1, len(designs) + 1))
    lines.append(f"{'':<36}{'must / aim':>14}{columns}")
    for one in REQUIREMENTS:
        cells = [one.judged(design, recalls) for design in designs]
        if any(cells):
            limits = f"{'before' if one.must is None else one.must} / {one.aim or '–'}"
            lines.append(f"{one!s:<36}{limits:>14}" + "".join(f"{cell:>14}" for cell in cells))
    return lines
