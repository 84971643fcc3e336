"""Every fault of the index's files, from the file to /readyz, and back to health by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from pymongo.errors import ConnectionFailure

from broker.reports.index_reports import IndexReports
from catalog.rows.models import Models
from catalog.store import Catalog
from tests.integration.workers.index.process import StartProcess, reported
from tests.integration.workers.index.rows import MODEL, SHOES, put
from workers.index_process import catalog_index as module
from workers.index_process.catalog_index import CatalogIndex
from workers.index_process.health import IndexHealth
from workers.index_process.set_repair import SetRepair
from workers.index_process.vector_engine import HnswEngine

LABELS = range(1, 151)


@pytest.fixture
def start(catalog: Catalog, directory: Path) -> Callable[[], CatalogIndex]:
    """Return a function that makes the index of a new process, over 150 images with features."""
    catalog.models.adopt(MODEL)
    put(catalog, LABELS)
    return lambda: CatalogIndex(lambda: catalog, HnswEngine(100, directory))


def restored(shards: CatalogIndex) -> set[int]:
    """Let an index restore itself, and return the labels that it finds."""
    (index,) = shards.restore()
    return index.live_labels(SHOES)


def save(shards: CatalogIndex) -> bool:
    (index,) = shards.restore()
    return index.save(SHOES)


def cut_shard(folder: Path) -> None:
    victim = sorted(folder.glob("*.rows"))[0]
    victim.write_bytes(victim.read_bytes()[:-1])


def flip_shard(folder: Path) -> None:
    victim = sorted(folder.glob("*.rows"))[0]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)


def remove_shard(folder: Path) -> None:
    sorted(folder.glob("*.rows"))[0].unlink()


def cut_manifest(folder: Path) -> None:
    manifest = folder / "manifest"
    manifest.write_bytes(manifest.read_bytes()[:40])


def flip_manifest(folder: Path) -> None:
    data = bytearray((folder / "manifest").read_bytes())
    data[-2] ^= 1
    (folder / "manifest").write_bytes(data)


def remove_manifest(folder: Path) -> None:
    (folder / "manifest").unlink()


@pytest.mark.parametrize(
    "damage",
    [cut_shard, flip_shard, remove_shard, cut_manifest, flip_manifest, remove_manifest],
)
def test_damage_is_said_in_one_line_and_counted_and_healed(
    start: Callable[[], CatalogIndex],
    directory: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
) -> None:
    first = start()
    assert restored(first) == set(LABELS)
    assert save(first)
    (folder,) = directory.iterdir()
    damage(folder)

    second = start()
    assert restored(second) == set(LABELS)
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert "built anew" in line
    assert second.health() == IndexHealth(is_complete=True, sets=1, snapshots_lost=1)
    assert save(second)

    third = start()
    assert restored(third) == set(LABELS)
    assert third.health() == IndexHealth(is_complete=True, sets=1)


def test_sets_that_are_restored_are_not_ready_until_they_are(
    start: Callable[[], CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[IndexHealth] = []
    shards = start()
    mark_dead = SetRepair._mark_dead

    def look(*arguments: Any) -> Any:
        seen.append(shards.health())
        return mark_dead(*arguments)

    monkeypatch.setattr(SetRepair, "_mark_dead", look)
    assert shards.health() == IndexHealth(is_complete=False)
    restored(shards)
    assert set(seen) == {IndexHealth(is_complete=True, sets=1, sets_not_ready=1)}
    assert shards.health() == IndexHealth(is_complete=True, sets=1)


def test_an_index_without_a_model_is_healthy_and_empty(catalog: Catalog, directory: Path) -> None:
    shards = CatalogIndex(lambda: catalog, HnswEngine(100, directory))
    assert not shards.health().is_complete
    assert shards.restore() == []
    assert shards.health() == IndexHealth(is_complete=True)
    catalog.models.adopt(MODEL)
    put(catalog, LABELS)
    shards.add(catalog.images.find(LABELS).values())
    assert shards.health() == IndexHealth(is_complete=True, sets=1)


def test_an_index_that_never_saw_the_database_is_not_complete(
    start: Callable[[], CatalogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Models) -> None:
        raise ConnectionFailure("nobody there")

    monkeypatch.setattr(module, "UNREACHABLE_PAUSE", 0.01)
    shards = start()
    with monkeypatch.context() as patch:
        patch.setattr(Models, "current", away)
        assert shards.restore() == []
    assert shards.health() == IndexHealth(is_complete=False)
    assert restored(shards) == set(LABELS)
    assert shards.health().is_complete


def test_a_set_that_could_not_be_saved_is_told_with_the_reason_until_it_is(
    start: Callable[[], CatalogIndex], directory: Path
) -> None:
    shards = start()
    restored(shards)
    directory.write_text("a file where the folder should be")
    assert not save(shards)
    health = shards.health()
    assert (health.sets_not_saved, health.sets_not_ready) == (1, 0)
    assert "Not a directory" in health.save_fault
    directory.unlink()
    assert save(shards)
    assert shards.health() == IndexHealth(is_complete=True, sets=1)


def test_a_second_process_on_the_directory_is_refused_and_told_until_it_takes_over(
    catalog: Catalog, redis_client: redis.Redis, process: StartProcess
) -> None:
    first = process()
    report = reported(redis_client, lambda report: report.is_complete, first)
    assert report.process.startswith(f"process {first.process.pid} on ")
    assert report.sets == 0, "there is no model yet, and that is no fault"

    second = process()
    assert second.process.wait(30) == 1
    (line,) = second.lines("critical")
    assert line["event"] == "not the only index process, worker stops"
    assert f"owned by process {first.process.pid}" in line["reason"]
    owner, refused = IndexReports(redis_client, 30.0).latest()
    assert refused.startswith(f"process {second.process.pid} on ")
    assert owner is not None
    assert owner.process.split()[1] == str(first.process.pid)

    first.process.kill()
    first.process.wait(10)
    third = process()
    pid = str(third.process.pid)
    reported(redis_client, lambda report: report.process.split()[1] == pid, third)
    assert IndexReports(redis_client, 30.0).latest()[1] == ""


def test_a_directory_that_cannot_be_used_stops_the_process_with_a_line(
    catalog: Catalog, redis_client: redis.Redis, process: StartProcess, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "index").write_text("a file")
    refused = process()
    assert refused.process.wait(30) == 1
    (line,) = refused.lines("critical")
    assert line["event"] == "index directory can't be used, worker stops"
