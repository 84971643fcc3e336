"""What the benchmark prints: boxes, recall by design, pairs of designs, and requirements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tools.benchmarks.measures import (
    covered,
    intersection_over_union,
    mean_average_precision,
    recall_at,
)
from tools.benchmarks.retrieval.designs import SearchDesign
from tools.benchmarks.retrieval.features import Described
from tools.benchmarks.retrieval.paired import paired
from tools.benchmarks.retrieval.pictures import Search, SearchSet

#: The least IoU of a box that finds its object, and the least share of it in a box that covers it.
FOUND, COVERS = 0.5, 0.9
WIDTHS = (7, 8, 7, 7, 7)

Ranks = Sequence[int]


def head(chosen: SearchSet) -> str:
    """Return the name of a set, its number of searches in each half, and of pictures."""
    halves = [search.half for search in chosen.searches]
    return (
        f"{chosen.name}: {len(halves)} searches ({halves.count(0)} to choose by,"
        f" {halves.count(1)} to judge by), {len(chosen.gallery)} pictures"
    )


def boxes_line(searches: Sequence[Search], described: Sequence[Described]) -> str:
    """Return how good the boxes of queries are, if the true ones are known, and the mean time.

    Where a picture shows several products, each is judged by the box that overlaps it most.
    """
    spent = np.mean([one.milliseconds for one in described])
    time = f"{spent:.0f} ms for boxes and features of a query"
    if not all(one.truths for one in described):
        return time
    first, best, covers = [], [], []
    for search, one in zip(searches, described, strict=True):
        truth = one.truths[search.shown or 0]
        overlaps = [intersection_over_union(box, truth) for box in one.boxes]
        own = int(np.argmax(overlaps)) if search.shown is not None else 0
        first.append(overlaps[own])
        best.append(max(overlaps))
        covers.append(covered(one.boxes[own], truth))
    return (
        f"box: IoU {np.mean(first):.3f}, at least {FOUND} in {_share(first, FOUND)},"
        f" best of {max(len(one.boxes) for one in described)} in {_share(best, FOUND)},"
        f" covers in {_share(covers, COVERS)}; {time}"
    )


def _share(values: Sequence[float], least: float) -> str:
    return f"{np.mean([value >= least for value in values]):.3f}"


def design_lines(ranks: Mapping[SearchDesign, Ranks], searches: Sequence[Search]) -> list[str]:
    """Return a numbered row for each design: recall@1 of all and of each half, recall@5, mAP."""
    title = "images / queries"
    lines = [f"{title:<88}{'R@1':>7}{'choose':>8}{'judge':>7}{'R@5':>7}{'mAP':>7}"]
    for number, (design, places) in enumerate(ranks.items(), start=1):
        rows = [[place] for place in places]
        halves = [
            [row for row, search in zip(rows, searches, strict=True) if search.half == half]
            for half in (0, 1)
        ]
        cells = [
            recall_at(rows, 1),
            *(recall_at(half, 1) if half else math.nan for half in halves),
            recall_at(rows, 5),
            mean_average_precision(rows),
        ]
        text = "".join(f"{cell:>{width}.3f}" for cell, width in zip(cells, WIDTHS, strict=True))
        lines.append(f"{number:>2}  {design!s:<84}{text}")
    return lines


def pair_lines(ranks: Mapping[SearchDesign, Ranks]) -> list[str]:
    """Return a table of all pairs of designs, by number: searches won and lost, and the p-value.

    A row has what its design wins and loses against those before it.
    """
    found = list(ranks.values())
    lines = [f"{'won:lost p':>14}" + "".join(f"{n:>16}" for n in range(1, len(found)))]
    for row, after in enumerate(found[1:], start=1):
        pairs = (paired(after, before) for before in found[:row])
        lines.append(f"{row + 1:>14}" + "".join(f"{pair!s:>16}" for pair in pairs))
    return lines
