"""What the index process holds after a start: exactly what the rows say, whatever was on disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from pymongo.errors import ConnectionFailure

from catalog.blobs import Vectors
from catalog.chunks import Stage
from catalog.images import SUCCEEDED, ImageRow, Images
from catalog.models import ModelRow, Models
from catalog.store import Catalog
from indexer.index import VectorIndex
from indexer.keeper import Keeper, KeeperOptions
from indexer.key import SetKey
from indexer.vector_set import SetNotReadyError
from workers import catalog_index as module
from workers import index as index_stage
from workers.catalog_index import CatalogIndex

DIMENSIONS = 8
MODEL = ModelRow("test-model", DIMENSIONS)
SHOES = SetKey("a1", "鞋靴")
CLOTHES = SetKey("a1", "服装")
OTHER = SetKey("b2", "鞋靴")

Features = np.ndarray[Any, np.dtype[np.float32]]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "sets"


@pytest.fixture
def start(catalog: Catalog, directory: Path) -> Callable[..., CatalogIndex]:
    """Give a function that makes the index of a new process."""
    catalog.models.adopt(MODEL)

    def started(**options: Any) -> CatalogIndex:
        return CatalogIndex(lambda: catalog, shard_capacity=100, directory=directory, **options)

    return started


def feature(label: int) -> Features:
    values = np.random.default_rng(label).standard_normal(DIMENSIONS).astype(np.float32)
    return np.asarray(values / np.linalg.norm(values), np.float32)


def rows(labels: Iterable[int], key: SetKey = SHOES) -> list[ImageRow]:
    return [
        ImageRow(
            label=label,
            collection="user/shop",
            generation=key.generation,
            product_id="p",
            product_serial=1,
            product_name="P",
            category=key.category,
            image_id=str(label),
            image_info="",
            url=None,
        )
        for label in labels
    ]


def put(catalog: Catalog, labels: Iterable[int], key: SetKey = SHOES) -> list[ImageRow]:
    """Write findable images with their features."""
    images = rows(labels, key)
    numbers = [image.label for image in images]
    catalog.images.insert(images)
    catalog.images.succeed(numbers)
    catalog.vectors.put(MODEL.model_id, {label: feature(label) for label in numbers})
    return list(catalog.images.find(numbers).values())


def found(shards: CatalogIndex, label: int, key: SetKey = SHOES, k: int = 1000) -> list[int]:
    near = shards.search(key.generation, key.category, feature(label)[np.newaxis], k)
    return [int(n) for n in near.labels]


def opened(shards: CatalogIndex) -> VectorIndex:
    index = shards.restore()
    assert index is not None
    return index


def save(shards: CatalogIndex) -> None:
    index = opened(shards)
    for key in index.unsaved():
        assert index.save(key)


def test_a_restart_finds_the_same_from_snapshots_alone(
    catalog: Catalog, start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, range(1, 251))
    put(catalog, range(251, 301), OTHER)
    before = start()
    save(before)

    def forbidden(*_: object) -> None:
        raise AssertionError("a feature was read although the snapshots are whole")

    monkeypatch.setattr(Vectors, "get", forbidden)
    after = start()
    opened(after)
    for label in (1, 100, 250):
        assert found(after, label) == found(before, label)
        assert found(after, label)[0] == label
    assert found(after, 300, OTHER) == found(before, 300, OTHER)
    state = after.state()
    assert state[SHOES][:5] == (250, 0, 3, True, True)
    assert state[SHOES].snapshot_seconds is not None


def test_what_changed_while_the_process_was_down_is_made_good(
    catalog: Catalog, start: Callable[..., CatalogIndex]
) -> None:
    put(catalog, range(1, 151))
    save(start())
    put(catalog, range(151, 161))
    put(catalog, [500], CLOTHES)
    catalog.images.delete([1, 2, 3])
    # These went through a whole deletion and purge.
    catalog.images.delete([4, 5])
    catalog.vectors.remove([4, 5])
    after = start()
    opened(after)
    assert set(found(after, 1)) == set(range(6, 161))
    assert found(after, 500, CLOTHES) == [500]


def test_without_snapshots_it_is_built_from_the_rows_with_progress_in_the_log(
    catalog: Catalog, start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, range(1, 121))
    put(catalog, range(121, 131), OTHER)
    catalog.images.delete([7])
    catalog.images.insert(rows([900]))
    catalog.vectors.put(MODEL.model_id, {900: feature(900)})
    catalog.images.fail([900], "INSERT_IMAGE_ERROR")
    monkeypatch.setattr(module, "PAGE", 50)
    monkeypatch.setattr(module, "PROGRESS_SECONDS", 0.0)
    shards = start()
    with structlog.testing.capture_logs() as lines:
        opened(shards)
    assert set(found(shards, 1)) == set(range(1, 121)) - {7}
    assert set(found(shards, 121, OTHER)) == set(range(121, 131))
    progress = [(n["done"], n["of"]) for n in lines if n["event"] == "building a set"]
    assert progress == [(10, 10), (50, 119), (100, 119), (119, 119)]
    assert [n["vectors"] for n in lines if n["event"] == "set ready"] == [10, 119]


@pytest.mark.parametrize("damage", ["shard", "manifest", "folder"])
def test_a_damaged_snapshot_is_built_anew(
    catalog: Catalog, start: Callable[..., CatalogIndex], directory: Path, damage: str
) -> None:
    put(catalog, range(1, 151))
    save(start())
    (folder,) = directory.iterdir()
    if damage == "folder":
        shutil.rmtree(folder)
    else:
        victim = folder / "manifest" if damage == "manifest" else sorted(folder.glob("*.hnsw"))[0]
        victim.write_bytes(victim.read_bytes()[:-1])
    after = start()
    opened(after)
    assert set(found(after, 1)) == set(range(1, 151))
    save(after)
    assert set(found_by_restart(start, 1)) == set(range(1, 151))


def found_by_restart(start: Callable[..., CatalogIndex], label: int) -> list[int]:
    shards = start()
    opened(shards)
    return found(shards, label)


def test_snapshots_of_another_model_are_not_used(
    catalog: Catalog, start: Callable[..., CatalogIndex], directory: Path
) -> None:
    put(catalog, range(1, 21))
    save(start())
    catalog.client[catalog_name(catalog)]["models"].update_one(
        {"_id": "current"}, {"$set": {"model_id": "another"}}
    )
    put_for = {label: feature(label + 1000) for label in range(21, 31)}
    catalog.images.insert(rows(put_for))
    catalog.images.succeed(list(put_for))
    catalog.vectors.put("another", put_for)
    after = start()
    opened(after)
    assert set(found(after, 1)) == set(range(21, 31))
    assert list(directory.iterdir()) == []


def catalog_name(catalog: Catalog) -> str:
    from config.settings import settings

    return settings().mongo_database


def test_an_image_that_was_added_but_not_yet_ended_is_found_after_its_next_attempt(
    catalog: Catalog,
    start: Callable[..., CatalogIndex],
    take: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chunk = take("a", "b").chunks[0]
    catalog.vectors.put(MODEL.model_id, {label: feature(label) for label in chunk.labels})
    chunk = catalog.chunks.resend(chunk, Stage.INDEX)
    before = start()
    opened(before)
    before.add(catalog.images.find(chunk.labels).values())
    save(before)

    after = start()
    opened(after)
    monkeypatch.setattr(index_stage, "shards", after)
    index_stage.index(chunk.id, chunk.attempt)
    key = SetKey(chunk.generation, "鞋靴")
    assert set(found(after, chunk.labels[0], key)) == set(chunk.labels)
    assert all(row.outcome == SUCCEEDED for row in catalog.images.find(chunk.labels).values())


def test_other_sets_answer_while_one_is_built_and_nothing_of_that_time_is_lost(
    catalog: Catalog, start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, range(1, 201))
    put(catalog, range(201, 211), OTHER)
    monkeypatch.setattr(module, "PAGE", 50)
    shards = start()
    half, go_on = threading.Event(), threading.Event()
    get = Vectors.get

    def paused(vectors: Vectors, labels: Any) -> Any:
        if 51 in labels and not half.is_set():
            half.set()
            assert go_on.wait(30)
        return get(vectors, labels)

    monkeypatch.setattr(Vectors, "get", paused)
    with ThreadPoolExecutor(1) as pool:
        restoring = pool.submit(shards.restore)
        assert half.wait(30)
        with pytest.raises(SetNotReadyError):
            found(shards, 1)
        with pytest.raises(SetNotReadyError):
            shards.search(SHOES.generation, None, feature(1)[np.newaxis], 5)
        assert set(found(shards, 201, OTHER)) == set(range(201, 211))
        shards.add(put(catalog, [211], OTHER))
        assert found(shards, 211, OTHER)[0] == 211
        assert found(shards, 1, SetKey("c3", "x")) == []

        shards.add(put(catalog, [700]))
        catalog.images.delete([10, 60, 190])
        shards.remove(catalog.images.find([10, 60, 190]).values())
        assert not shards.state()[SHOES].ready
        go_on.set()
        restoring.result(60)
    expected = (set(range(1, 201)) | {700}) - {10, 60, 190}
    assert set(found(shards, 1)) == expected
    assert shards.state()[SHOES].ready


def test_an_image_deleted_between_its_reading_and_its_adding_is_never_found(
    catalog: Catalog, start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, range(1, 21))
    shards = start()
    get = Vectors.get

    def delete_meanwhile(vectors: Vectors, labels: Any) -> Any:
        stored = get(vectors, labels)
        catalog.images.delete([5])
        shards.remove(catalog.images.find([5]).values())
        return stored

    monkeypatch.setattr(Vectors, "get", delete_meanwhile)
    opened(shards)
    assert set(found(shards, 5)) == set(range(1, 21)) - {5}


def test_before_the_rows_were_read_no_search_is_answered_with_nothing(
    catalog: Catalog, start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, range(1, 21))
    shards = start()
    with pytest.raises(SetNotReadyError):
        found(shards, 1)
    with pytest.raises(SetNotReadyError):
        shards.search(SHOES.generation, None, feature(1)[np.newaxis], 5)


def test_a_catalogue_without_a_model_is_answered_with_nothing_and_then_with_what_comes(
    catalog: Catalog, directory: Path
) -> None:
    shards = CatalogIndex(lambda: catalog, shard_capacity=100, directory=directory)
    assert shards.restore() is None
    assert found(shards, 1) == []
    assert shards.state() == {}
    assert shards.drop("a1") == 0
    catalog.models.adopt(MODEL)
    shards.add(put(catalog, [1, 2]))
    assert set(found(shards, 1)) == {1, 2}, "at once, with nothing restored in between"


def test_a_database_that_is_away_is_waited_for(
    catalog: Catalog, start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, range(1, 21))
    monkeypatch.setattr(module, "UNREACHABLE_PAUSE", 0.01)
    shards = start()

    def away(*_: object) -> None:
        raise ConnectionFailure("nobody there")

    with monkeypatch.context() as patch, structlog.testing.capture_logs() as lines:
        patch.setattr(Models, "current", away)
        assert shards.restore() is None
    with monkeypatch.context() as patch:
        patch.setattr(Images, "find", away)
        assert shards.restore() is not None
    with pytest.raises(SetNotReadyError):
        found(shards, 1)
    opened(shards)
    assert set(found(shards, 1)) == set(range(1, 21))
    assert [line["log_level"] for line in lines] == ["warning"]


def test_a_stop_in_the_middle_keeps_what_was_built(
    catalog: Catalog, start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, range(1, 201))
    monkeypatch.setattr(module, "PAGE", 50)
    shards = start()
    read: list[int] = []
    get = Vectors.get

    def stop_after_two(vectors: Vectors, labels: Any) -> Any:
        read.extend(labels)
        if len(read) == 100:
            keeper.begin_stop()
        return get(vectors, labels)

    monkeypatch.setattr(Vectors, "get", stop_after_two)
    keeper = Keeper(shards.restore, KeeperOptions(3600, 10**9, 0.2))
    keeper.start()
    keeper._thread.join(30)
    keeper.stop(10)
    assert len(read) == 100

    read.clear()
    after = start()
    opened(after)
    assert len(read) == 100, "only what the snapshot of the half-built set lacks"
    assert set(found(after, 1)) == set(range(1, 201))


def test_a_deleted_collection_leaves_nothing(
    catalog: Catalog, start: Callable[..., CatalogIndex], directory: Path
) -> None:
    put(catalog, range(1, 21))
    put(catalog, range(21, 31), CLOTHES)
    put(catalog, range(31, 41), OTHER)
    shards = start()
    save(shards)
    assert len(list(directory.iterdir())) == 3
    assert shards.drop("a1") == 2
    assert shards.drop("a1") == 0
    shards.add(catalog.images.find(range(1, 21)).values())
    assert found(shards, 1) == found(shards, 21, CLOTHES) == []
    assert set(found(shards, 31, OTHER)) == set(range(31, 41))
    assert len(list(directory.iterdir())) == 1


def test_a_set_whose_images_all_went_while_it_was_down_loses_its_files(
    catalog: Catalog, start: Callable[..., CatalogIndex], directory: Path
) -> None:
    put(catalog, range(1, 21))
    save(start())
    catalog.images.delete(range(1, 21))
    after = start()
    index = opened(after)
    assert found(after, 1) == []
    index.compact(0.2, threading.Event())
    save(after)
    assert list(directory.iterdir()) == []


def test_with_a_memory_budget_not_all_sets_are_in_memory_and_all_are_found(
    catalog: Catalog, start: Callable[..., CatalogIndex]
) -> None:
    keys = [SetKey(f"{number:x}", "x") for number in range(5)]
    for number, key in enumerate(keys):
        put(catalog, range(100 * number + 1, 100 * number + 21), key)
    save(start())
    shards = start(memory_bytes=6_000_000)
    opened(shards)
    assert sum(state.loaded for state in shards.state().values()) == 2
    assert all(state.ready for state in shards.state().values())
    for number, key in enumerate(keys):
        label = 100 * number + 1
        assert found(shards, label, key)[0] == label


def recategorise(catalog: Catalog, labels: list[int], category: str) -> list[ImageRow]:
    catalog.client[catalog_name(catalog)]["images"].update_many(
        {"_id": {"$in": labels}}, {"$set": {"category": category}}
    )
    return list(catalog.images.find(labels).values())


def test_images_move_to_another_category_and_back(
    catalog: Catalog, start: Callable[..., CatalogIndex]
) -> None:
    put(catalog, range(1, 21))
    shards = start()
    save(shards)
    for _ in range(2):
        shards.refresh(recategorise(catalog, [1, 2], CLOTHES.category))
        assert set(found(shards, 1, CLOTHES)) == {1, 2}
        assert set(found(shards, 1)) == set(range(3, 21))
        shards.refresh(recategorise(catalog, [1, 2], SHOES.category))
        assert found(shards, 1, CLOTHES) == []
        assert set(found(shards, 1)) == set(range(1, 21))
    assert shards.refresh(recategorise(catalog, [1, 2], SHOES.category)) == set()
    assert set(found(shards, 1)) == set(range(1, 21)), "no move at all"


def test_a_move_while_the_process_was_down_is_made_good(
    catalog: Catalog, start: Callable[..., CatalogIndex]
) -> None:
    put(catalog, range(1, 21))
    put(catalog, [50], CLOTHES)
    shards = start()
    opened(shards)
    shards.refresh(recategorise(catalog, [1, 2], CLOTHES.category))
    save(shards)
    recategorise(catalog, [1], SHOES.category)
    recategorise(catalog, [3], CLOTHES.category)
    after = start()
    opened(after)
    assert set(found(after, 1)) == set(range(1, 21)) - {2, 3}
    assert set(found(after, 1, CLOTHES)) == {2, 3, 50}


class Worker:
    """The index process as the Procfile starts it, with a data directory of its own."""

    def __init__(self, data_dir: Path, log: Path) -> None:
        self._log = log
        command = "celery --quiet -A workers.index worker --without-mingle --without-gossip"
        queues = ["-n", "index-recovery@%h", "-Q", "index,neighbours", "-P", "threads", "-c", "4"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command.split(), *queues],
                cwd=Path(module.__file__).parents[1],
                env={
                    **os.environ,
                    "SNAPSKU_DATA_DIR": str(data_dir),
                    "SNAPSKU_LOG_FORMAT": "json",
                },
                stderr=output,
                stdout=output,
            )

    def lines(self, event: str) -> list[dict[str, Any]]:
        found = []
        for line in self._log.read_text().splitlines():
            if line.startswith("{"):
                fields = json.loads(line)
                if fields["event"].startswith(event):
                    found.append(fields)
        return found

    def await_line(self, event: str) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while not self.lines(event):
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)
        return self.lines(event)[0]

    def end(self, number: signal.Signals) -> tuple[int, float]:
        started = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(30)
        return code, time.monotonic() - started


def test_a_real_worker_saves_when_it_is_stopped_and_loads_when_it_is_started(
    catalog: Catalog, redis_client: object, tmp_path: Path
) -> None:
    catalog.models.adopt(MODEL)
    put(catalog, range(1, 151))
    workers: list[Worker] = []

    def started() -> Worker:
        workers.append(Worker(tmp_path / "data", tmp_path / f"{len(workers)}.log"))
        return workers[-1]

    try:
        first = started()
        assert first.await_line("set ready")["added"] == 150
        first.await_line("index-recovery@")
        code, seconds = first.end(signal.SIGTERM)
        assert code == 0
        assert seconds < 20
        assert len(list((tmp_path / "data/index/sets").glob("*/manifest"))) == 1

        put(catalog, range(151, 161))
        second = started()
        ready = second.await_line("set ready")
        assert (ready["added"], ready["vectors"]) == (10, 160)
        second.end(signal.SIGKILL)

        third = started()
        assert third.await_line("set ready")["added"] == 10, "what was killed had saved nothing"
        third.await_line("index-recovery@")
        assert third.end(signal.SIGTERM)[0] == 0
        for worker in workers:
            assert '"level": "error"' not in worker._log.read_text()
    finally:
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait(10)
