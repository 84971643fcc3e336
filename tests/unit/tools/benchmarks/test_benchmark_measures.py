from __future__ import annotations

import numpy as np
import pytest

from tools.benchmarks.measures import (
    average_precision,
    best_similarities,
    covered,
    intersection_over_union,
    mean_average_precision,
    recall_at,
    relevant_ranks,
)
from vision.box import Box


def test_the_overlap_is_the_shared_pixels_over_all() -> None:
    one = Box(0, 0, 10, 10)
    assert intersection_over_union(one, one) == 1.0
    assert intersection_over_union(one, Box(5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert intersection_over_union(one, Box(10, 0, 20, 10)) == 0.0
    # Apart in both directions: two negative sides must not make a positive area.
    assert intersection_over_union(one, Box(20, 20, 30, 30)) == 0.0
    assert intersection_over_union(Box(0, 0, 0, 0), Box(0, 0, 0, 0)) == 0.0


def test_a_box_covers_the_share_of_the_truth_that_lies_in_it() -> None:
    truth = Box(10, 10, 20, 20)
    assert covered(Box(0, 0, 100, 100), truth) == 1.0
    assert covered(Box(10, 10, 15, 20), truth) == 0.5
    assert covered(truth, Box(0, 0, 0, 0)) == 0.0


def test_an_image_counts_by_the_best_similarity_of_the_boxes() -> None:
    gallery = np.eye(3, dtype=np.float32)
    features = np.array([[1, 0, 0], [0, 0.6, 0.8]], dtype=np.float32)
    assert best_similarities(features, gallery) == pytest.approx([1.0, 0.6, 0.8])


def test_ranks_count_from_one_and_rise() -> None:
    similarities = np.array([0.9, 0.1, 0.5, 0.7], dtype=np.float32)
    assert relevant_ranks(similarities, [0]) == [1]
    assert relevant_ranks(similarities, [1, 3]) == [2, 4]


def test_a_tie_is_lost() -> None:
    assert relevant_ranks(np.zeros(4, dtype=np.float32), [0]) == [4]
    assert relevant_ranks(np.zeros(4, dtype=np.float32), [0, 1]) == [3, 4]


def test_recall_is_the_share_of_queries_with_a_relevant_image_in_front() -> None:
    ranks = [[1], [2, 3], [6], []]
    assert recall_at(ranks, 1) == 0.25
    assert recall_at(ranks, 5) == 0.5


def test_average_precision_is_the_mean_over_the_relevant_places() -> None:
    assert average_precision([1, 2]) == 1.0
    assert average_precision([1, 4]) == pytest.approx((1 / 1 + 2 / 4) / 2)
    assert average_precision([]) == 0.0
    assert mean_average_precision([[1], [2], []]) == pytest.approx(0.5)
