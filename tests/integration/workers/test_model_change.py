"""A collection changes its model while it is searched, added to and deleted from."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from catalog.flows.removal import delete_images
from catalog.rows.changes import END, Change, Changes, ChangeState
from catalog.rows.chunks import Stage
from catalog.rows.images import SUCCEEDED
from catalog.store import Catalog
from contract import causes
from contract.errors import NoAvailableFeature
from download.client import TransientFetchError
from tests.integration.workers.model_change import (
    NEW,
    OLD,
    Colour,
    Take,
    Work,
    labels_of,
    picture,
    pipeline,
    taken,
)
from workers import fetch as fetch_stage
from workers import index as index_stage
from workers import vision as vision_stage
from workers.index_process import parts
from workers.index_process.catalog_index import CatalogIndex
from workers.index_process.vector_engine import HnswEngine
from workers.support.model import ModelNotLoadedError
from workers.support.resources import staged_bytes
from workers.sweeps.model_changes import change_models
from workers.sweeps.recovery import recover


@pytest.fixture
def shards(
    catalog: Catalog, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> CatalogIndex:
    catalog.models.adopt(OLD, NEW)
    made = CatalogIndex(lambda: catalog, HnswEngine(100, tmp_path / "sets"))
    made.restore()
    monkeypatch.setattr(index_stage, "shards", lambda: made)
    monkeypatch.setattr(vision_stage, "pipeline", pipeline)
    return made


@pytest.fixture
def work(catalog: Catalog, shards: CatalogIndex) -> Work:
    return Work(catalog, shards)


def test_a_collection_is_embedded_anew_switched_and_cleared_of_the_old_model(
    take: Take, work: Work
) -> None:
    tasks = taken(take, work, *range(5))
    collection, labels = tasks[0].collection, labels_of(tasks)
    assert work.catalog.vectors.models(labels) == {label: {"old"} for label in labels}
    work.begin(collection)
    assert not work.catalog.changes.begin(collection.key, "old", "new", accept_losses=False)
    change_models()
    assert work.model_of(collection) == "old"
    assert set(work.found(collection, 1, OLD)) == set(labels)
    work.complete(collection)
    assert work.model_of(collection) == "new"
    assert set(work.found(collection, 1, NEW)) == set(labels)
    assert work.found(collection, 3, NEW)[0] == labels[3]
    assert work.catalog.vectors.models(labels) == {label: {"new"} for label in labels}
    assert work.found(collection, 1, OLD) == []


def test_an_image_that_comes_meanwhile_gets_both_and_one_deleted_never_turns_up(
    take: Take, work: Work
) -> None:
    tasks = taken(take, work, 0, 1, 2)
    collection, labels = tasks[0].collection, labels_of(tasks)
    work.begin(collection)
    change_models()
    (late,) = labels_of(taken(take, work, 3))
    assert work.catalog.vectors.models([late]) == {late: {"old", "new"}}
    assert late in work.found(collection, 3, OLD)
    delete_images(work.catalog, [labels[1]])
    index_stage.refresh([labels[1]])
    work.complete(collection)
    assert set(work.found(collection, 0, NEW)) == {labels[0], labels[2], late}
    assert work.catalog.vectors.models([labels[1]]) == {}


def test_an_image_that_vision_saw_before_the_change_goes_back_for_the_second_vector(
    take: Take, work: Work
) -> None:
    (task,) = taken(take, work, 0, finish=False)
    (chunk,) = task.chunks
    at_index = work.stages(chunk)
    assert at_index is not None
    assert at_index.stage is Stage.INDEX
    work.begin(task.collection)
    back = work.stages(at_index)
    assert back is not None
    assert back.stage is Stage.VISION
    assert not work.catalog.images.find(task.labels)[task.labels[0]].is_findable
    work.finish(back)
    assert work.catalog.vectors.models(task.labels) == {task.labels[0]: {"old", "new"}}
    assert work.catalog.images.find(task.labels)[task.labels[0]].outcome == SUCCEEDED


def test_an_image_that_was_at_the_index_when_its_collection_switched_is_findable_when_done(
    take: Take, work: Work
) -> None:
    tasks = taken(take, work, 0)
    (late,) = taken(take, work, 1, finish=False)
    at_index = work.stages(late.chunks[0])
    work.begin(late.collection)
    work.complete(tasks[0].collection)
    assert at_index is not None
    work.finish(at_index)
    assert work.catalog.images.find(late.labels)[late.labels[0]].outcome == SUCCEEDED
    assert work.found(late.collection, 1, NEW)[0] == late.labels[0]


def test_a_picture_that_can_not_be_embedded_makes_the_change_wait_until_that_is_accepted(
    take: Take, work: Work
) -> None:
    tasks = taken(take, work, 0, 1)
    blue = take("blue", payload=picture(9, blue=True))
    work.finish(*blue.chunks)
    collection, labels = blue.collection, labels_of(tasks)
    work.begin(collection)
    for _ in range(3):
        work.sweep(collection)
    found = work.change(collection)
    assert found is not None
    assert found.state is ChangeState.WAITING
    assert work.model_of(collection) == "old"
    (loss,) = work.catalog.losses.of_generation(collection.generation, "new")
    assert (loss.label, loss.reason) == (blue.labels[0], NoAvailableFeature.message)
    another = take("blue too", payload=picture(8, blue=True))
    work.finish(*another.chunks)
    assert work.catalog.images.find(another.labels)[another.labels[0]].outcome == SUCCEEDED
    assert work.catalog.changes.go_on(found, accept_losses=True)
    work.complete(collection)
    assert set(work.found(collection, 0, NEW)) == set(labels)
    rejected = take("blue again", payload=picture(7, blue=True))
    work.finish(*rejected.chunks)
    row = work.catalog.images.find(rejected.labels)[rejected.labels[0]]
    assert row.outcome == NoAvailableFeature.message


def test_a_bad_vector_of_the_next_model_is_a_loss_and_ends_no_image(take: Take, work: Work) -> None:
    (task,) = taken(take, work, 0)
    (late,) = taken(take, work, 1, finish=False)
    collection = task.collection
    work.begin(collection)
    labels = labels_of([task, late])
    spoilt = np.full(NEW.dimensions, np.nan, np.float32)
    work.catalog.vectors.put(NEW.model_id, dict.fromkeys(labels, spoilt))
    work.finish(*late.chunks)
    assert work.catalog.images.find(late.labels)[late.labels[0]].is_findable
    for _ in range(3):
        work.sweep(collection)
    found = work.change(collection)
    assert found is not None
    assert found.state is ChangeState.WAITING
    losses = work.catalog.losses.of_generation(collection.generation, NEW.model_id)
    assert [loss.label for loss in losses] == labels
    assert set(work.found(collection, 0, OLD)) == set(labels)


def test_a_cancelled_change_leaves_nothing_and_may_begin_again(take: Take, work: Work) -> None:
    tasks = taken(take, work, *range(4))
    collection, labels = tasks[0].collection, labels_of(tasks)
    work.begin(collection)
    change_models()
    chunks = work.anew(collection)
    half = work.stages(chunks[0])
    found = work.change(collection)
    assert found is not None
    assert work.catalog.changes.cancel(found)
    assert not work.catalog.changes.cancel(found)
    assert half is not None
    work.finish(half)
    work.complete(collection)
    assert work.model_of(collection) == "old"
    assert work.catalog.vectors.models(labels) == {label: {"old"} for label in labels}
    work.begin(collection)
    work.complete(collection)
    assert set(work.found(collection, 0, NEW)) == set(labels)


def test_there_and_back_again(take: Take, work: Work) -> None:
    tasks = taken(take, work, *range(3))
    collection, labels = tasks[0].collection, labels_of(tasks)
    work.begin(collection)
    work.complete(collection)
    assert work.catalog.changes.begin(collection.key, "new", "old", accept_losses=False)
    work.complete(collection)
    assert set(work.found(collection, 0, OLD)) == set(labels)
    assert work.catalog.vectors.models(labels) == {label: {"old"} for label in labels}


def test_an_image_written_after_the_change_had_begun_without_its_vector_is_seen_to_first(
    take: Take, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = taken(take, work, 0)
    (late,) = taken(take, work, 1, finish=False)
    at_index = work.stages(late.chunks[0])
    assert at_index is not None
    collection = late.collection
    succeed = work.catalog.images.succeed

    def begin_meanwhile(labels: Any) -> None:
        # The stage has read the row of the collection, and not written its images yet.
        work.begin(collection)
        change_models()
        work.finish(*work.anew(collection))
        change_models()
        with monkeypatch.context() as patch:
            patch.setattr(index_stage, "_switch", lambda _: None)
            index_stage.switch(collection.key, collection.generation)
        succeed(labels)

    monkeypatch.setattr(type(work.catalog.images), "succeed", lambda _, n, __: begin_meanwhile(n))
    work.stages(at_index)
    monkeypatch.undo()
    monkeypatch.setattr(index_stage, "shards", lambda: work.shards)
    monkeypatch.setattr(vision_stage, "pipeline", pipeline)
    assert getattr(work.change(collection), "place", None) == END
    assert work.catalog.vectors.models(late.labels) == {late.labels[0]: {"old"}}
    work.complete(collection)
    assert set(work.found(collection, 0, NEW)) == {*labels_of(tasks), *late.labels}


def test_the_switch_waits_for_a_stage_that_may_not_know_of_the_change(
    take: Take, work: Work
) -> None:
    (task,) = taken(take, work, 0)
    collection = task.collection
    work.begin(collection)
    change_models()
    work.finish(*work.anew(collection))
    change_models()
    work.shards.restore()
    switching = threading.Thread(
        target=index_stage.switch, args=(collection.key, collection.generation)
    )
    with index_stage._succeeding.reading():
        switching.start()
        switching.join(0.5)
        assert work.model_of(collection) == "old"
    switching.join(10)
    assert work.model_of(collection) == "new"


def test_without_a_kept_picture_it_is_fetched_once_more(
    take: Take, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = take("a", "b", url="http://127.0.0.1:9/x.jpg")
    moved = work.catalog.chunks.resend(task.chunks[0], Stage.VISION)
    assert moved is not None
    staged_bytes().put({label: picture(n) for n, label in enumerate(task.labels)})
    work.finish(moved)
    work.catalog.pictures.remove(task.labels)
    gone, back = task.labels

    def fetch_all(urls: Any, *_: Any, **__: Any) -> dict[int, Any]:
        assert set(urls) <= {gone, back}
        fault = TransientFetchError(causes.CONNECTION.fault(host="h"))
        return {label: fault if label == gone else picture(1) for label in urls}

    monkeypatch.setattr(fetch_stage, "fetch_all", fetch_all)
    work.begin(task.collection)
    change_models()
    deadline = time.monotonic() + 20
    while (found := work.change(task.collection)) and found.state is ChangeState.RUNNING:
        assert time.monotonic() < deadline
        recover()
        work.finish(*(chunk for chunk in work.anew(task.collection) if chunk.state == "sent"))
        change_models()
        work.shards.restore()
        index_stage.switch(task.collection.key, task.collection.generation)
        time.sleep(0.05)
    assert found is not None
    assert found.state is ChangeState.WAITING
    assert work.catalog.vectors.models(task.labels)[back] == {"old", "new"}
    (loss,) = work.catalog.losses.of_generation(task.collection.generation, "new")
    assert loss.label == gone
    assert {row.outcome for row in work.catalog.images.find(task.labels).values()} == {SUCCEEDED}


def test_a_picture_that_kills_its_worker_is_given_up_as_lost_and_stays_found(
    take: Take, work: Work
) -> None:
    tasks = taken(take, work, 0)
    collection, labels = tasks[0].collection, labels_of(tasks)
    work.begin(collection)
    change_models()
    for _ in range(3):
        (chunk,) = work.anew(collection)
        claimed = work.catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
        assert claimed is not None
        work.catalog.chunks.hand_back(claimed, timedelta(0), unclean=True)
        recover()
    assert work.anew(collection) == []
    assert [n.label for n in work.catalog.losses.of_generation(collection.generation, "new")] == (
        labels
    )
    assert work.catalog.images.find(labels)[labels[0]].is_findable


def test_a_chunk_waits_for_a_worker_that_has_loaded_its_model(
    take: Take, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = taken(take, work, 0)
    collection = tasks[0].collection
    work.begin(collection)
    change_models()

    def without_next(model_id: str = OLD.model_id) -> Colour:
        if model_id != OLD.model_id:
            raise ModelNotLoadedError(model_id)
        return Colour(OLD)

    monkeypatch.setattr(vision_stage, "pipeline", without_next)
    (chunk,) = work.anew(collection)
    waiting = work.stages(chunk)
    assert waiting is not None
    assert (waiting.state, waiting.unclean) == ("waiting", 0)


def test_a_restarted_index_knows_both_models_and_goes_on(
    take: Take, work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = taken(take, work, *range(4))
    collection, labels = tasks[0].collection, labels_of(tasks)
    for index in work.shards.restore():
        assert all(index.save(key) for key in index.unsaved())
    work.begin(collection)
    change_models()
    work.finish(*work.anew(collection))
    after = CatalogIndex(lambda: work.catalog, HnswEngine(100, tmp_path / "sets"))
    monkeypatch.setattr(index_stage, "shards", lambda: after)
    work.shards = after
    assert len(after.restore()) == 2
    assert set(work.found(collection, 0, OLD)) == set(labels)
    assert set(work.found(collection, 0, NEW)) == set(labels)
    work.complete(collection)
    assert work.model_of(collection) == "new"


def test_a_deleted_collection_takes_its_change_with_it(take: Take, work: Work) -> None:
    tasks = taken(take, work, 0)
    collection, labels = tasks[0].collection, labels_of(tasks)
    work.begin(collection)
    change_models()
    chunks = work.anew(collection)
    work.catalog.purges.begin(collection.generation, collection.key)
    work.catalog.collections.remove(collection.key, collection.generation)
    work.finish(*chunks)
    assert work.catalog.changes.due(10) == []
    assert work.anew(collection) == []
    assert work.catalog.vectors.models(labels) == {labels[0]: {"old"}}


@pytest.mark.parametrize("step", ["switch", "end"])
def test_an_owner_of_the_index_that_is_followed_meanwhile_takes_a_change_no_step_further(
    take: Take, work: Work, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    collection = taken(take, work, 0)[0].collection
    work.begin(collection)
    monkeypatch.setattr(parts.ownership(), "_on_loss", lambda: None)
    original = getattr(Changes, step)
    seen: list[Change | None] = []

    def followed(changes: Changes, *arguments: Any) -> Any:
        if not seen:
            seen.append(work.change(collection))
            changes.take_over(parts.ownership().epoch + 1)
        return original(changes, *arguments)

    monkeypatch.setattr(Changes, step, followed)
    for _ in range(20):
        work.sweep(collection)
        if seen:
            break
        work.make_due()
    before = seen[0]
    after = work.change(collection)
    assert before is not None
    assert after is not None
    assert (after.state, after.leaving) == (before.state, before.leaving)
