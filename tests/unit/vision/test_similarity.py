"""The score of an image for a query: of parts, and raised by what agrees in its place."""

from __future__ import annotations

import numpy as np
import pytest

from vision.box import Box
from vision.similarity import SERVICE, QueryParts, Weights, counted, inside, raised


def parts(rows: list[list[float]], whole: int | None) -> QueryParts:
    return QueryParts(np.array(rows, np.float32), whole)


def image(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


BOX, WHOLE = [1.0, 0.0], [0.0, 1.0]


def test_the_same_picture_has_a_score_of_1_whatever_is_found_in_it() -> None:
    for rows, place in (([BOX, WHOLE], 1), ([WHOLE], 0), ([BOX], None), ([WHOLE, BOX], 0)):
        assert parts(rows, place).score(image(*rows)) == pytest.approx(1, abs=1e-6)


def test_a_box_that_is_searched_alone_may_be_any_part_of_the_image() -> None:
    for own in (BOX, WHOLE):
        assert parts([own], None).score(image(BOX, WHOLE)) == pytest.approx(1, abs=1e-6)


def test_the_best_pair_counts_with_what_the_parts_of_the_query_take() -> None:
    weights = Weights(best_box=0.1, further_boxes=0.3, box_share=0)
    query = parts([[0.9, 0], [0, 0.95], [0.5, 0.5]], whole=2)
    assert query.score(image(BOX), weights) == pytest.approx(0.8)
    assert query.score(image(WHOLE), weights) == pytest.approx(0.65)
    assert query.score(image([0.5, 0.5], WHOLE), weights) == pytest.approx(0.65)


def test_a_box_that_is_searched_alone_takes_nothing() -> None:
    assert parts([[0.9, 0]], None).score(image(BOX)) == pytest.approx(0.9)


def test_a_share_is_that_of_the_best_box_of_the_image() -> None:
    """So an image that is alike in its ground alone comes behind one that shows the product."""
    weights = Weights(0, 0, box_share=0.25)
    query = parts([BOX, [0.3, 0.7], [0, 0.8]], whole=2)
    shows_it = query.score(image(BOX, [0.5, 0.5]), weights)
    same_ground = query.score(image([0.1, 0], [0, 1.2]), weights)
    assert shows_it == pytest.approx(1)
    # The whole finds 0.96 in the ground; of the box, it and the query's best box find 0.1.
    assert same_ground == pytest.approx(0.75 * 0.96 + 0.25 * 0.1)


def test_inliers_close_to_the_best_box_are_in_it() -> None:
    points = np.array([[10, 10], [8, 20], [7.9, 20], [30, 31], [32, 32], [33, 20]], np.float32)
    assert inside(points, Box(10, 10, 30, 30)) == 4
    assert inside(points[:0], Box(10, 10, 30, 30)) == 0


def test_of_the_inliers_elsewhere_a_few_count() -> None:
    assert counted(7, 100) == 7 + SERVICE.elsewhere
    assert counted(0, 1) == 1
    assert counted(3, 0) == 3


@pytest.mark.parametrize("similarity", [-1.0, -0.2, 0.0, 0.5, 0.9, 0.9995, 1.0, 1.0000002])
def test_inliers_raise_a_similarity_towards_1_and_never_beyond(similarity: float) -> None:
    values = [raised(similarity, count) for count in (0, 5, 10, 20, 500)]
    assert values == sorted(values)
    assert values[0] == min(similarity, 1.0)
    assert values[-1] <= 1


def test_so_many_inliers_as_the_weights_say_raise_a_similarity_by_half_of_what_lacks() -> None:
    assert raised(0.6, SERVICE.half) == pytest.approx(0.8)


def test_as_many_inliers_leave_the_order_of_the_similarities() -> None:
    assert raised(0.5, 300) < raised(0.9, 300)
    assert raised(0.9, 0) < raised(0.85, SERVICE.half)
