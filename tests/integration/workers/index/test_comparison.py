"""What the index lacks or has too much is found while it is in use, and mended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from catalog.store import Catalog
from indexer.key import SetKey
from tests.integration.workers.index.rows import MODEL, feature, found
from workers.index_process import comparison as module
from workers.index_process.catalog_index import CatalogIndex
from workers.index_process.comparison import Comparison

MENDED = "index differed from the rows, mended"


class World:
    """A collection of findable images, and an index that has them all."""

    def __init__(self, catalog: Catalog, shards: CatalogIndex, taken: Any) -> None:
        self.catalog = catalog
        self.shards = shards
        self.labels: list[int] = taken.labels
        catalog.vectors.put(MODEL.model_id, {label: feature(label) for label in self.labels})
        catalog.images.succeed(self.labels)
        (self.index,) = shards.restore()
        self.key = SetKey(taken.collection.generation, "鞋靴")
        self.comparison = Comparison(lambda: catalog, shards, 600.0, again_seconds=0.0)

    def found(self) -> set[int]:
        return set(found(self.shards, self.labels[0], self.key))

    def compare(self) -> list[tuple[int, int]]:
        """Do a round; return what it says that it added and removed."""
        with capture_logs() as lines:
            self.comparison.compare()
        return [(line["added"], line["removed"]) for line in lines if line["event"] == MENDED]


@pytest.fixture
def world(
    catalog: Catalog,
    start: Callable[..., CatalogIndex],
    take: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    monkeypatch.setattr(module, "SHARE", 1.0)
    return World(catalog, start(), take("a", "b", "c", "d"))


def test_an_image_that_a_set_lost_is_found_again(world: World) -> None:
    assert world.compare() == []
    world.index.mark_deleted(world.key, world.labels[:1])
    assert world.found() == set(world.labels[1:])
    assert world.compare() == [(1, 0)]
    assert world.found() == set(world.labels)
    assert world.compare() == []


def test_an_image_that_never_reached_its_set_is_added(world: World, take: Any) -> None:
    late = take("e").labels
    world.catalog.vectors.put(MODEL.model_id, {label: feature(label) for label in late})
    world.catalog.images.succeed(late)
    assert world.compare() == [(1, 0)]
    assert world.found() == {*world.labels, *late}


def test_a_whole_set_that_is_not_there_is_built(world: World) -> None:
    world.index.drop_generation(world.key.generation, for_ever=False)
    assert world.found() == set()
    assert world.compare() == [(4, 0)]
    assert world.found() == set(world.labels)


def test_an_image_that_no_message_would_remove_leaves_its_set(world: World) -> None:
    world.catalog.images.delete(world.labels[:1])
    world.catalog.images.index_is_right(world.catalog.images.find(world.labels[:1]).values())
    assert world.compare() == [(0, 1)]
    assert world.found() == set(world.labels[1:])


def test_an_image_in_a_set_that_its_row_does_not_name_leaves_it(world: World) -> None:
    other = SetKey(world.key.generation, "服装")
    label = world.labels[0]
    world.index.add(other, [label], feature(label)[None])
    assert world.compare() == [(0, 1)]
    assert found(world.shards, label, other) == []
    assert world.found() == set(world.labels)


def test_two_faults_that_leave_the_number_right_are_mended_when_its_turn_comes(
    world: World,
) -> None:
    world.index.mark_deleted(world.key, world.labels[:1])
    world.index.add(world.key, [7777], feature(7777)[None])
    assert world.compare() == [(1, 1)]
    assert world.found() == set(world.labels)


def test_an_image_whose_message_is_on_its_way_is_no_fault(world: World) -> None:
    world.catalog.images.delete(world.labels[:1])
    assert world.compare() == []


def test_an_image_without_a_feature_is_looked_at_in_detail_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.catalog.vectors.remove(world.labels[:1])
    world.index.mark_deleted(world.key, world.labels[:1])
    world.comparison._last_in_turn = ""
    walks: list[int] = []
    mend = world.comparison._mend

    def noted(one: Any) -> Any:
        walks.append(1)
        return mend(one)

    monkeypatch.setattr(world.comparison, "_mend", noted)
    world.comparison.compare()
    assert len(walks) == 2, "as a suspect, and in turn"
    world.comparison.compare()
    assert len(walks) == 3, "in turn"


def test_a_difference_that_passes_is_no_fault(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.index.mark_deleted(world.key, world.labels[:1])
    monkeypatch.setattr(
        world.comparison._stopping,
        "wait",
        lambda _: world.index.revive(world.key, world.labels[:1]) and False,
    )
    assert world.compare() == []


def test_a_comparison_that_is_told_to_stop_mends_nothing(world: World) -> None:
    world.index.mark_deleted(world.key, world.labels[:1])
    world.comparison.begin_stop()
    assert world.compare() == []
    assert world.found() == set(world.labels[1:])


def test_sets_that_are_not_ready_are_left_to_their_restoration(
    world: World, start: Callable[..., CatalogIndex]
) -> None:
    world.shards = start()
    world.comparison = Comparison(lambda: world.catalog, world.shards, 600.0, again_seconds=0.0)
    assert world.compare() == []
    assert not world.shards.health().is_complete
