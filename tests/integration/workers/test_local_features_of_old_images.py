"""Images of before the setting of geometry, whose collection changes its model."""

from __future__ import annotations

from tests.integration.workers import test_model_change
from tests.integration.workers.model_change import Take, Work, labels_of, taken
from vision.geometry.stored import unpack

shards = test_model_change.shards
work = test_model_change.work


def test_a_change_of_the_model_makes_the_local_features_that_are_missing(
    take: Take, work: Work
) -> None:
    tasks = taken(take, work, 0, 1)
    first, second = labels_of(tasks)
    work.catalog.local_features.remove([first, second])
    work.catalog.local_features.put({second: b"of another release"})
    work.begin(tasks[0].collection)
    work.complete(tasks[0].collection)
    kept = work.catalog.local_features.get([first, second])
    assert len(unpack(kept[first])) == 0, "a picture of one colour"
    assert kept[second] == b"of another release"
