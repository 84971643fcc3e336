"""The regions of a mask: which cells belong together, and in which order they are numbered."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from vision.box import Box
from vision.detectors.activation_map import ActivationMapDetector, number_regions

Mask = NDArray[np.bool_]
Numbers = NDArray[np.int_]

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))

CASES = {
    "nothing": (["...", "..."], ["000", "000"]),
    "everything": (["##", "##"], ["11", "11"]),
    "one cell": (["#"], ["1"]),
    "corners do not join": (["#.", ".#"], ["10", "02"]),
    "edges do not join their opposites": (["#.#", "...", "#.#"], ["102", "000", "304"]),
    "two arms meet below": (["#.#", "#.#", "###"], ["101", "101", "111"]),
    "an arm that turns back": (["..#", "#.#", "###"], ["001", "101", "111"]),
    "a ring and its middle": (
        ["#####", "#...#", "#.#.#", "#...#", "#####"],
        ["11111", "10001", "10201", "10001", "11111"],
    ),
    "the order is that of the first cells": (["..#", "#.#", "#.."], ["001", "201", "200"]),
    "a snake": (["####", "...#", "####", "#...", "####"], ["1111", "0001", "1111", "1000", "1111"]),
}


def filled(mask: Mask) -> Numbers:
    """The same numbers, a region at a time, cell by cell."""
    numbers = np.zeros(mask.shape, int)
    count = 0
    for first in zip(*np.nonzero(mask), strict=True):
        if numbers[first]:
            continue
        count += 1
        waiting = [first]
        while waiting:
            row, column = waiting.pop()
            if not (0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]):
                continue
            if mask[row, column] and not numbers[row, column]:
                numbers[row, column] = count
                waiting += [(row - 1, column), (row + 1, column)]
                waiting += [(row, column - 1), (row, column + 1)]
    return numbers


@pytest.mark.parametrize(("mask", "numbers"), CASES.values(), ids=CASES)
def test_the_regions_of_hand_made_masks_have_these_numbers(
    mask: list[str], numbers: list[str]
) -> None:
    drawn = np.array([[cell == "#" for cell in row] for row in mask])
    expected = np.array([[int(cell) for cell in row] for row in numbers])
    assert np.array_equal(number_regions(drawn), expected)
    assert np.array_equal(filled(drawn), expected)


@given(MASKS)
def test_the_regions_of_any_mask_are_those_that_filling_finds(mask: Mask) -> None:
    assert np.array_equal(number_regions(mask), filled(mask))


@given(MASKS, st.integers(0, 3))
def test_the_regions_of_a_turned_mask_are_the_turned_regions(mask: Mask, turns: int) -> None:
    def cells(numbers: Numbers) -> set[frozenset[Any]]:
        return {frozenset(np.flatnonzero(numbers == n)) for n in range(1, numbers.max() + 1)}

    turned = np.rot90(number_regions(np.rot90(mask, turns)), -turns)
    assert cells(turned) == cells(number_regions(mask))


def test_the_boxes_are_the_reaches_of_the_regions_that_are_strong_enough() -> None:
    class Unused:
        fingerprint = ""

    strength = np.zeros((10, 10), np.float32)
    strength[0:2, 0:5] = 0.9  # 10 cells, 9 together
    strength[9, 9] = 0.9  # a tenth of the best one
    strength[9, 0] = 0.8  # less than that
    strength[5:8, 5:8] = 0.5  # 9 cells, 4.5 together
    found = ActivationMapDetector(cast("Any", Unused()))._boxes(strength, (1000, 1000))
    assert found == [Box(50, 20, 450, 180), Box(530, 530, 770, 770), Box(910, 910, 990, 990)]
