"""The judge of the soak run sees what creeps up, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.soak.gauges import ALLOWANCES, KEYS, MEMORY, PURGES, ROWS
from tests.soak.judge import Allowance, judge
from tests.soak.run import judge_all

SAMPLES = 300  #: of ten minutes


def level(noise: Callable[[int, random.Random], float], base: float = 120.0) -> list[float]:
    chance = random.Random(7)
    return [base + noise(number, chance) for number in range(SAMPLES)]


@pytest.mark.parametrize(
    "values",
    [
        level(lambda _, chance: chance.gauss(0, 4)),
        # Now and then a child doubles what is resident.
        level(lambda number, _: 120.0 if number % 5 == 0 else 0.0),
        # Much at the beginning, and less later.
        level(lambda number, _: 60.0 if number < SAMPLES / 2 else 0.0),
        # It settles within the first quarter.
        level(lambda number, _: min(number, SAMPLES / 4)),
    ],
)
def test_noise_around_a_level_is_no_growth(values: list[float]) -> None:
    assert not judge(MEMORY, values, ALLOWANCES[MEMORY]).grew


@pytest.mark.parametrize("seed", range(5))
def test_memory_that_creeps_up_by_three_megabytes_a_minute_is_growth(seed: int) -> None:
    chance = random.Random(seed)
    values = [120 + 3.0 * number / 30 + chance.gauss(0, 4) for number in range(SAMPLES)]
    assert judge(MEMORY, values, ALLOWANCES[MEMORY]).grew


def test_a_row_that_each_image_leaves_is_growth_within_two_minutes() -> None:
    # Two images a second, a sample every two seconds.
    values = [90 + 4.0 * number for number in range(60)]
    for kind in (ROWS, KEYS):
        assert judge(kind, values, ALLOWANCES[kind]).grew


def test_a_slow_beginning_is_no_growth_of_what_lives() -> None:
    slow = [{f"{ROWS} of vectors": 20.0 if number < 30 else 90.0} for number in range(60)]
    assert [verdict.grew for verdict in judge_all(slow, deleted_collections=0)] == [False]


def test_what_turns_up_late_is_growth() -> None:
    samples: list[dict[str, float]] = [{} for _ in range(60)]
    for sample in samples[40:]:
        sample[f"{KEYS} forgotten"] = 80.0
    assert [verdict.grew for verdict in judge_all(samples, deleted_collections=0)] == [True]


def test_purges_may_grow_by_the_deleted_collections_only() -> None:
    samples = [{PURGES: float(number // 10)} for number in range(60)]
    for deleted, grew in ((6, False), (1, True)):
        assert [v.grew for v in judge_all(samples, deleted_collections=deleted)] == [grew]


def test_too_few_samples_are_no_verdict() -> None:
    with pytest.raises(ValueError, match="too few"):
        judge(MEMORY, [1.0, 2.0, 3.0], Allowance(0, 0))
