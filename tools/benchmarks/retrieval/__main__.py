"""Measures retrieval: how often the first row is right, for the model that the settings name.

    python -m tools.benchmarks.retrieval
    python -m tools.benchmarks.retrieval --sets photos --crowd 20500
    python -m tools.benchmarks.retrieval --pictures FOLDER --choose

The sets are made of packages that are fetched into a cache folder, since their licences keep them
out of the repository, and of photographs in a folder that `--pictures` names. The same packages,
seed and code give the same pictures; the features of each are kept in the cache folder. Exits with
69 (EX_UNAVAILABLE of sysexits.h) if a package is unavailable.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from config.settings import SettingsError, read_settings
from tools.benchmarks.measures import recall_at
from tools.benchmarks.packages import PackageUnavailable
from tools.benchmarks.retrieval.assembly import NAMES, Choice, assembled
from tools.benchmarks.retrieval.designs import (
    DESIGNS,
    INLIER_WEIGHTS,
    PART_WEIGHTS,
    RANKED,
    TODAY,
    TRUE_BOX,
    SearchDesign,
)
from tools.benchmarks.retrieval.geometry import geometry
from tools.benchmarks.retrieval.ranking import Ranking
from tools.benchmarks.retrieval.report import (
    boxes_line,
    design_lines,
    head,
    pair_lines,
)
from tools.benchmarks.retrieval.requirements import requirement_lines
from tools.benchmarks.retrieval.store import FeatureStore
from workers.support.model import load_from

if TYPE_CHECKING:
    from vision.pipeline import Pipeline

UNAVAILABLE, CONFIGURATION = 69, 78


def run(pipeline: Pipeline, chosen: argparse.Namespace) -> None:
    """Make the sets and print all tables. Raises PackageUnavailable."""
    cache = chosen.cache.resolve()
    choice = Choice(chosen.sets, cache, chosen.pictures, chosen.crowd, chosen.objects, chosen.seed)
    print(f"model {pipeline.model_id}, {pipeline.dimensions} numbers, seed {chosen.seed}")
    with (
        closing(FeatureStore(pipeline, cache / "features.sqlite")) as store,
        closing(geometry(cache / "inliers.sqlite")) as inliers,
    ):
        rankings = []
        for one in assembled(choice, print):
            gallery = store.described(one.gallery, progress(f"{one.name}, gallery"))
            pictures = [search.picture for search in one.searches]
            queries = store.described(pictures, progress(one.name))
            rankings.append(Ranking(one, queries, gallery, inliers))
        designs = [*DESIGNS, *(chosen_designs(rankings) if chosen.choose else ())]
        print_tables(rankings, list(dict.fromkeys(designs)))


def chosen_designs(rankings: Sequence[Ranking]) -> list[SearchDesign]:
    """Return designs with the weights that are best on one half of the kinds."""
    return [
        best([replace(RANKED, weights=one) for one in PART_WEIGHTS], rankings),
        best([replace(TODAY, weights=one) for one in INLIER_WEIGHTS], rankings),
    ]


def best(candidates: Iterable[SearchDesign], rankings: Sequence[Ranking]) -> SearchDesign:
    """Return the design with the greatest mean recall@1 of all sets on the half to choose by."""

    def quality(design: SearchDesign) -> float:
        found = [one.ranks(design, half=0) for one in rankings]
        return sum(recall_at([[rank] for rank in ranks], 1) for ranks in found if ranks)

    return max(candidates, key=quality)


def print_tables(rankings: Sequence[Ranking], designs: Sequence[SearchDesign]) -> None:
    """Print a table for each set, and the requirements."""
    recalls = {}
    for one in rankings:
        searches = one.chosen.searches
        ranks = {design: one.ranks(design) for design in designs}
        recalls[one.chosen.name] = {
            design: recall_at([[rank] for rank in found], 1) for design, found in ranks.items()
        }
        if all(query.truths for query in one.queries) and searches[0].shown is None:
            ranks[TRUE_BOX] = one.ranks(TRUE_BOX)
        print(f"\n{head(one.chosen)}", boxes_line(searches, one.queries), sep="\n")
        print(*design_lines(ranks, searches), *pair_lines(ranks), sep="\n", flush=True)
    print("\nrequirements", *requirement_lines(designs, recalls), sep="\n")


def progress(words: str) -> Callable[[int], None]:
    """Return a function that shows on a terminal's error stream how many pictures are done."""

    def tell(number: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{words}: {number} ", end="", file=sys.stderr, flush=True)

    return tell


def main() -> int:
    """Run the benchmark with the arguments of the command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.retrieval")
    parser.add_argument("--sets", nargs="+", choices=NAMES, default=NAMES, help="all, if not named")
    parser.add_argument(
        "--pictures", type=Path, help="the folder with grocery/ and clothing/; without: no grocery"
    )
    parser.add_argument(
        "--crowd",
        type=int,
        default=0,
        help="distractors; 20500 took half an hour; goes on where it was stopped",
    )
    parser.add_argument(
        "--choose", action="store_true", help="also choose weights on one half of the kinds"
    )
    parser.add_argument("--objects", type=int, default=0, help="the first so many only; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="another one gives other pictures")
    parser.add_argument("--cache", type=Path, default=Path("benchmark-cache"), help="a folder")
    chosen = parser.parse_args()
    try:
        settings = read_settings()
        # As a worker loads it, with all settings, but on one core.
        pipeline = load_from(settings.model_copy(update={"torch_threads": 1}))
    except (SettingsError, ValueError) as error:
        print(error, file=sys.stderr)
        return CONFIGURATION
    try:
        run(pipeline, chosen)
    except PackageUnavailable as error:
        print(f"the sets can't be made: {error}", file=sys.stderr)
        return UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
