"""What a seed has happen in a round."""

from __future__ import annotations

import random

import pytest

from cli.processes import procfile
from tests.chaos.faults import plan, second_index_faults, weights_of
from tests.chaos.servers import LEASE_SECONDS, SECOND_INDEX, SERVERS

WINDOW = 9.0
SEEDS = range(50)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_means_the_same_faults_whether_kinds_are_counted_or_not(seed: int) -> None:
    counted = weights_of([*procfile(), *SERVERS])
    assert plan(random.Random(seed), WINDOW, (), counted) == plan(random.Random(seed), WINDOW)


def test_a_second_sweep_is_hurt_as_the_first() -> None:
    weights = weights_of([*procfile(), "maintenance-2", "beat-2"])
    assert weights["maintenance-2"] == weights["maintenance"]
    hurt = {fault.kind for seed in SEEDS for fault in plan(random.Random(seed), 9, (), weights)}
    assert {"maintenance", "maintenance-2", "beat-2"} <= hurt


@pytest.mark.parametrize("seed", SEEDS)
def test_a_second_index_joins_before_the_first_is_away_for_longer_than_its_lease(
    seed: int,
) -> None:
    joined, hurt = second_index_faults(random.Random(seed), WINDOW)
    assert (joined.kind, joined.action) == (SECOND_INDEX, "join")
    assert (hurt.kind, hurt.action) in {("index", "kill"), ("index", "pause")}
    assert hurt.at > joined.at + 1
    assert hurt.seconds > LEASE_SECONDS
