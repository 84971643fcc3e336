from __future__ import annotations

from dataclasses import replace

from tests.unit.tools.benchmarks.retrieval.scripted import described, picture
from tools.benchmarks.retrieval.designs import (
    BEFORE,
    DESIGNS,
    INLIER_WEIGHTS,
    ONE_BOX,
    PART_WEIGHTS,
    TODAY,
    WITH_PARTS,
)
from tools.benchmarks.retrieval.pictures import Search, SearchSet, half_of
from tools.benchmarks.retrieval.report import boxes_line, design_lines, head, pair_lines
from tools.benchmarks.retrieval.requirements import Requirement, requirement_lines
from vision.box import Box

FIRST, SECOND = Box(0, 0, 40, 40), Box(60, 60, 100, 100)


def search(kind: str = "kind", shown: int | None = None) -> Search:
    return Search(picture("a picture"), 0, kind, shown)


def kinds_of(half: int, count: int) -> list[str]:
    names = (f"kind {number}" for number in range(1000))
    return [name for name in names if half_of(name) == half][:count]


def test_a_row_has_the_recall_of_all_and_of_each_half() -> None:
    searches = [search(kind) for kind in (*kinds_of(0, 2), *kinds_of(1, 4))]
    _, line = design_lines({TODAY: [1, 2, 1, 1, 1, 9]}, searches)
    cells = line.split(str(TODAY))[1].split()
    assert cells == ["0.667", "0.500", "0.750", "0.833", "0.769"]


def test_the_halves_of_a_set_are_counted() -> None:
    searches = tuple(search(kind) for kind in (*kinds_of(0, 2), *kinds_of(1, 1)))
    line = head(SearchSet("made", (picture("one"),), searches))
    assert line == "made: 3 searches (2 to choose by, 1 to judge by), 1 pictures"


def test_boxes_are_judged_by_the_true_one() -> None:
    one = described([[1, 0], [0, 1]], boxes=(SECOND, FIRST), truths=(FIRST,))
    assert boxes_line([search()], [one]) == (
        "box: IoU 0.000, at least 0.5 in 0.000, best of 2 in 1.000, covers in 0.000;"
        " 1 ms for boxes and features of a query"
    )
    assert boxes_line([search(shown=0)], [one]).startswith(
        "box: IoU 1.000, at least 0.5 in 1.000, best of 2 in 1.000, covers in 1.000"
    )


def test_queries_without_true_boxes_have_a_time_alone() -> None:
    line = boxes_line([search()], [described([[1, 0]])])
    assert line == "1 ms for boxes and features of a query"


def test_each_design_is_compared_with_those_before_it() -> None:
    ranks = {TODAY: [1, 2, 2, 1], ONE_BOX: [1, 2, 2, 1], WITH_PARTS[0]: [1, 1, 1, 2]}
    assert [line.split() for line in pair_lines(ranks)] == [
        ["won:lost", "p", "1", "2"],
        ["2", "0:0", "1"],
        ["3", "2:1", "1", "2:1", "1"],
    ]


def judged(one: Requirement, **recalls: tuple[float, float]) -> list[str]:
    """What is said of the design of before and of another one."""
    designs = (BEFORE, ONE_BOX)
    known = {
        name.replace("_", " "): dict(zip(designs, both, strict=True))
        for name, both in recalls.items()
    }
    return [one.judged(design, known) for design in designs]


def test_a_requirement_is_missed_below_what_must_be() -> None:
    assert judged(Requirement("a", 0.84, 0.9), a=(0.839, 0.84)) == ["0.839 missed", "0.840 must"]
    assert judged(Requirement("a", 0.84, 0.9), a=(0.899, 0.9)) == ["0.899 must", "0.900 aim"]


def test_a_fall_is_missed_above_what_may_be() -> None:
    fall = Requirement("a crowd", 0.12, 0.05, before="a")
    recalls = {"a": (0.9, 0.9), "a_crowd": (0.77, 0.85)}
    assert judged(fall, **recalls) == ["0.130 missed", "0.050 aim"]


def test_what_must_not_fall_is_compared_with_before() -> None:
    assert judged(Requirement("a", None), a=(0.3, 0.29)) == ["0.300 must", "0.290 missed"]


def test_requirements_of_sets_that_were_not_measured_are_left_out() -> None:
    assert judged(Requirement("a crowd", 0.1, before="a"), a=(1.0, 1.0)) == ["", ""]
    lines = requirement_lines([TODAY], {"scenes": {TODAY: 0.995}})
    assert lines[0] == f"1: {TODAY}"
    assert [line.split() for line in lines[2:]] == [["scenes", "0.99", "/", "–", "0.995", "must"]]


def test_designs_have_names_of_their_own() -> None:
    tried = [replace(TODAY, weights=one) for one in (*PART_WEIGHTS, *INLIER_WEIGHTS)]
    designs = {*DESIGNS, *tried}
    assert len({str(design) for design in designs}) == len(designs)
    assert all(len(str(design)) < 84 for design in designs)
