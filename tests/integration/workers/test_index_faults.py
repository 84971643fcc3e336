"""Every fault of the index's files, from the file to /readyz, and back to health by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from index_rows import MODEL, SHOES, put
from pymongo.errors import ConnectionFailure

from catalog.models import Models
from catalog.store import Catalog
from workers import catalog_index as module
from workers.catalog_index import CatalogIndex, IndexHealth
from workers.staging import IndexReport, IndexReports

LABELS = range(1, 151)


@pytest.fixture
def start(catalog: Catalog, directory: Path) -> Callable[[], CatalogIndex]:
    """Give a function that makes the index of a new process, over 150 images with features."""
    catalog.models.adopt(MODEL)
    put(catalog, LABELS)
    return lambda: CatalogIndex(lambda: catalog, shard_capacity=100, directory=directory)


def restored(shards: CatalogIndex) -> set[int]:
    """Let an index restore itself, and give the labels that it finds."""
    (index,) = shards.restore()
    return index.live_labels(SHOES)


def save(shards: CatalogIndex) -> bool:
    (index,) = shards.restore()
    return index.save(SHOES)


def cut_shard(folder: Path) -> None:
    victim = sorted(folder.glob("*.hnsw"))[0]
    victim.write_bytes(victim.read_bytes()[:-1])


def flip_shard(folder: Path) -> None:
    victim = sorted(folder.glob("*.hnsw"))[0]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)


def remove_shard(folder: Path) -> None:
    sorted(folder.glob("*.hnsw"))[0].unlink()


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
    mark_dead = module.CatalogIndex._mark_dead

    def look(*arguments: Any) -> int:
        seen.append(shards.health())
        return mark_dead(*arguments)

    monkeypatch.setattr(module.CatalogIndex, "_mark_dead", look)
    assert shards.health() == IndexHealth(is_complete=False)
    restored(shards)
    assert set(seen) == {IndexHealth(is_complete=True, sets=1, sets_not_ready=1)}
    assert shards.health() == IndexHealth(is_complete=True, sets=1)


def test_an_index_without_a_model_is_healthy_and_empty(catalog: Catalog, directory: Path) -> None:
    shards = CatalogIndex(lambda: catalog, shard_capacity=100, directory=directory)
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


class IndexProcess:
    """The index process as the Procfile starts it, but for its name."""

    def __init__(self, data_dir: Path, log: Path) -> None:
        self._log = log
        command = "celery --quiet -A workers.index worker --without-mingle --without-gossip"
        rest = f"-n {log.stem}@%h -Q index,neighbours -P threads -c 4"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command.split(), *rest.split()],
                cwd=Path(module.__file__).parents[1],
                env={
                    **os.environ,
                    "SNAPSKU_DATA_DIR": str(data_dir),
                    "SNAPSKU_LOG_FORMAT": "json",
                },
                stdout=output,
                stderr=output,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def lines(self, level: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line["level"] == level]


StartProcess = Callable[..., IndexProcess]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[StartProcess]:
    """Give a function that starts an index process on a data directory."""
    started: list[IndexProcess] = []

    def begin(data_dir: str = "data") -> IndexProcess:
        log = tmp_path / f"process-{len(started)}.log"
        started.append(IndexProcess(tmp_path / data_dir, log))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait(10)


def reported(
    client: redis.Redis, holds: Callable[[IndexReport], bool], process: IndexProcess
) -> IndexReport:
    """Wait until the index says something."""
    deadline = time.monotonic() + 30
    while True:
        report, _ = IndexReports(client).latest()
        if report is not None and holds(report):
            return report
        assert time.monotonic() < deadline, (report, process.log)
        time.sleep(0.1)


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
    report, refused = IndexReports(redis_client).latest()
    assert refused.startswith(f"process {second.process.pid} on ")
    assert report is not None
    assert (report.process.split()[1], report.rival) == (str(first.process.pid), "")

    first.process.kill()
    first.process.wait(10)
    third = process()
    pid = str(third.process.pid)
    reported(redis_client, lambda report: report.process.split()[1] == pid, third)
    assert IndexReports(redis_client).latest()[1] == ""


def test_two_processes_on_directories_of_their_own_are_a_fault_of_both(
    catalog: Catalog, redis_client: redis.Redis, process: StartProcess
) -> None:
    first, second = process("one"), process("two")
    for one in (first, second):
        pid = str(one.process.pid)

        def rivalled(report: IndexReport, pid: str = pid) -> bool:
            return report.process.split()[1] == pid and bool(report.rival)

        reported(redis_client, rivalled, one)
    assert len(first.lines("error")) == len(second.lines("error")) == 1


def test_a_directory_that_cannot_be_used_stops_the_process_with_a_line(
    catalog: Catalog, redis_client: redis.Redis, process: StartProcess, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "index").write_text("a file")
    refused = process()
    assert refused.process.wait(30) == 1
    (line,) = refused.lines("critical")
    assert line["event"] == "index directory can't be used, worker stops"
