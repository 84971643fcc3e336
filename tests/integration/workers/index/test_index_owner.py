"""One owner of the index at a time: what a process that lost it still does has no effect."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from pymongo.errors import ConnectionFailure

from broker.reports.index_reports import IndexReports
from catalog.coordination.index_ownership import NotOwnerError, OwnerLease
from catalog.rows.chunks import Chunk, Stage, State
from catalog.rows.images import SUCCEEDED, Images
from catalog.store import Catalog
from config.settings import settings
from config.steady_clock import steady_seconds
from indexer.directory_ownership import DirectoryOwnership
from indexer.key import SetKey
from tests.integration.workers.index.process import StartProcess, reported
from tests.integration.workers.index.rows import CLOTHES, MODEL, SHOES, feature, found, put
from tests.integration.workers.waiting import until
from workers import index as index_stage
from workers.index_process import ownership as module
from workers.index_process import parts
from workers.index_process.catalog_index import CatalogIndex
from workers.index_process.ownership import IndexOwnership
from workers.index_process.vector_engine import HnswEngine
from workers.support.resources import exchange


class Other:
    """Another index process, on a folder of its own, which follows this one when it is told to."""

    def __init__(self, catalog: Catalog, folder: Path) -> None:
        self.shards = CatalogIndex(lambda: catalog, HnswEngine(100, folder / "sets"))
        self.ownership = IndexOwnership(lambda: catalog, "process 8 on there", 30.0, 10.0)
        self._directory = DirectoryOwnership(folder)
        self._catalog = catalog

    def take_over(self) -> None:
        assert self.ownership.take(self._directory, silent=self._catalog.ownership.current())
        self.shards.restore()

    def end(self) -> None:
        self._directory.release()


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this process does when it finds that it lost the index, instead of ending."""
    calls: list[str] = []
    monkeypatch.setattr(parts.ownership(), "_on_loss", lambda: calls.append("lost"))
    return calls


@pytest.fixture
def shards(
    start: Callable[..., CatalogIndex], monkeypatch: pytest.MonkeyPatch, lost: list[str]
) -> CatalogIndex:
    """The shards of this process, which owns the index."""
    made = start()
    made.restore()
    monkeypatch.setattr(index_stage, "shards", lambda: made)
    return made


@pytest.fixture
def other(catalog: Catalog, shards: CatalogIndex, tmp_path: Path) -> Iterator[Other]:
    made = Other(catalog, tmp_path / "other")
    yield made
    made.end()


@pytest.fixture
def chunk(catalog: Catalog, take: Any) -> Chunk:
    """A chunk with features, whose message to the index was sent."""
    made = take("a", "b").chunks[0]
    catalog.vectors.put(MODEL.model_id, {label: feature(label) for label in made.labels})
    sent = catalog.chunks.resend(made, Stage.INDEX)
    assert sent is not None
    return sent


def outcomes(catalog: Catalog, chunk: Chunk) -> set[str | None]:
    return {row.outcome for row in catalog.images.find(chunk.labels).values()}


def assert_the_other_ends_it(
    catalog: Catalog, chunk: Chunk, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chunk came back clean, and ends at the new owner, which finds its images."""
    (back,) = catalog.chunks.find([chunk.id])
    assert (back.state, back.attempt, back.unclean) == (State.WAITING, chunk.attempt + 1, 0)
    sent = catalog.chunks.resend(back)
    assert sent is not None
    with monkeypatch.context() as patch:
        patch.setattr(index_stage, "ownership", lambda: other.ownership)
        patch.setattr(index_stage, "shards", lambda: other.shards)
        index_stage.index(sent.id, sent.attempt)
    assert outcomes(catalog, chunk) == {SUCCEEDED}
    key = SetKey(chunk.generation, "鞋靴")
    assert set(found(other.shards, chunk.labels[0], key)) == set(chunk.labels)


@pytest.mark.parametrize("moment", ["claim_for_index", "find", "succeed"])
def test_an_owner_that_is_followed_while_it_works_makes_nothing_findable(
    catalog: Catalog,
    chunk: Chunk,
    other: Other,
    lost: list[str],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    original = getattr(Images, moment)
    waiting = [1]

    def followed(images: Images, *arguments: Any) -> Any:
        if waiting:
            waiting.clear()
            other.take_over()
        return original(images, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Images, moment, followed)
        index_stage.index(chunk.id, chunk.attempt)
    assert not waiting
    assert outcomes(catalog, chunk) == {None}
    assert lost == ["lost"]
    assert_the_other_ends_it(catalog, chunk, other, monkeypatch)


def test_what_succeeded_just_before_the_index_was_taken_over_is_found_by_the_next_owner(
    catalog: Catalog, chunk: Chunk, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Images.succeed

    def followed(images: Images, *arguments: Any) -> None:
        original(images, *arguments)
        other.take_over()

    with monkeypatch.context() as patch:
        patch.setattr(Images, "succeed", followed)
        index_stage.index(chunk.id, chunk.attempt)
    assert outcomes(catalog, chunk) == {SUCCEEDED}
    key = SetKey(chunk.generation, "鞋靴")
    assert set(found(other.shards, chunk.labels[0], key)) == set(chunk.labels)


def test_a_process_without_the_index_works_on_no_chunk(
    catalog: Catalog, chunk: Chunk, other: Other, lost: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other.take_over()
    index_stage.index(chunk.id, chunk.attempt)
    index_stage.index(chunk.id, chunk.attempt)
    assert outcomes(catalog, chunk) == {None}
    assert lost == ["lost"], "once"
    assert_the_other_ends_it(catalog, chunk, other, monkeypatch)


def test_a_reminder_that_a_process_without_the_index_worked_on_stays(
    catalog: Catalog, shards: CatalogIndex, other: Other, lost: list[str]
) -> None:
    put(catalog, [1])
    other.take_over()
    catalog.images.delete([1])
    index_stage.refresh([1])
    assert catalog.images.find([1])[1].index_at is not None
    assert lost == ["lost"]


def test_of_two_refreshes_at_once_the_later_state_stays_shown(
    catalog: Catalog, shards: CatalogIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards.add(put(catalog, [7], CLOTHES))
    original = shards.refresh
    first = [1]

    def overtaken(images: Any) -> Any:
        if first:
            first.clear()
            rows = catalog.client[settings().mongo_database]["images"]
            rows.update_one({"_id": 7}, {"$set": {"category": SHOES.category}})
            index_stage.refresh([7])
        return original(images)

    monkeypatch.setattr(shards, "refresh", overtaken)
    index_stage.refresh([7])
    assert found(shards, 7, SHOES) == [7]
    assert found(shards, 7, CLOTHES) == []


def ask(catalog: Catalog) -> dict[str, Any]:
    query = uuid.uuid4().hex
    vectors = feature(1)[np.newaxis].astype("<f4").tobytes()
    exchange().leave(query, {"vectors": vectors, "count": "1", "model_id": MODEL.model_id}, 5.0)
    index_stage.neighbours(query, SHOES.generation, None, 5)
    answer = exchange().wait(query, 1.0)
    assert answer is not None
    return answer


def test_a_process_whose_lease_may_have_ended_answers_no_search_until_it_is_renewed(
    catalog: Catalog, redis_client: redis.Redis, shards: CatalogIndex, monkeypatch: Any
) -> None:
    shards.add(put(catalog, [1]))
    assert ask(catalog)["labels"] == [1]
    steady = steady_seconds()
    monkeypatch.setattr(module, "steady_seconds", lambda: steady + 3600.0)
    assert ask(catalog) == {"busy": True}
    parts.ownership()._renew()
    assert ask(catalog)["labels"] == [1]


def test_a_database_that_is_away_takes_the_index_from_nobody(
    catalog: Catalog, shards: CatalogIndex, lost: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise ConnectionFailure("away")

    with monkeypatch.context() as patch:
        patch.setattr(OwnerLease, "renew", away)
        with pytest.raises(ConnectionFailure):
            parts.ownership()._renew()
    parts.ownership()._renew()
    assert lost == []
    assert parts.ownership().check() == parts.ownership().epoch


def test_a_renewal_that_comes_too_late_tells_that_the_index_is_lost(
    catalog: Catalog, other: Other, lost: list[str]
) -> None:
    other.take_over()
    parts.ownership()._renew()
    assert lost == ["lost"]
    with pytest.raises(NotOwnerError):
        parts.ownership().check()


def test_a_standby_waits_and_follows_an_owner_that_stops_at_once(
    catalog: Catalog, redis_client: redis.Redis, process: StartProcess
) -> None:
    first = process("one")
    reported(redis_client, lambda report: report.is_complete, first)
    second = process("two")
    waiting = second.await_event("index is owned, standing by")
    assert waiting["owner"].startswith(f"process {first.process.pid} on ")
    reports = IndexReports(redis_client, 30.0)
    # It says so in its log first, and then in Redis.
    assert until(lambda: len(reports.standbys()) == 1, 30)
    (standby,) = reports.standbys()
    assert standby.startswith(f"process {second.process.pid} on ")

    assert first.end(signal.SIGTERM) == 0
    owned = second.await_event("index is owned by this process", 30)
    assert owned["epoch"] == waiting["epoch"] + 1
    pid = str(second.process.pid)
    report = reported(redis_client, lambda report: report.process.split()[1] == pid, second)
    assert report.epoch == owned["epoch"]
    assert IndexReports(redis_client, 30.0).standbys() == []


def test_a_standby_ends_at_once_when_it_is_told_to(
    catalog: Catalog, redis_client: redis.Redis, process: StartProcess
) -> None:
    reported(redis_client, lambda report: report.is_complete, process("one"))
    second = process("two")
    second.await_event("index is owned, standing by")
    assert second.end(signal.SIGTERM) == 0


def test_an_owner_that_was_frozen_is_followed_and_stops_itself_when_it_wakes(
    catalog: Catalog, redis_client: redis.Redis, process: StartProcess
) -> None:
    first = process("one")
    reported(redis_client, lambda report: report.is_complete, first)
    second = process("two")
    second.await_event("index is owned, standing by")
    first.process.send_signal(signal.SIGSTOP)
    owned = second.await_event("index is owned by this process", 30)
    first.process.send_signal(signal.SIGCONT)
    stopped = first.await_event("index has another owner, worker stops", 30)
    assert stopped["level"] == "critical"
    assert stopped["epoch_of_owner"] == owned["epoch"]
    assert first.process.wait(30) == 0


def test_a_killed_owner_that_starts_again_on_its_folder_need_not_wait_for_its_lease(
    catalog: Catalog,
    redis_client: redis.Redis,
    process: StartProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SNAPSKU_LEASE_SECONDS", "3600")
    first = process()
    epoch = first.await_event("index is owned by this process")["epoch"]
    first.process.kill()
    first.process.wait(10)
    again = process()
    assert again.await_event("index is owned by this process")["epoch"] == epoch + 1
    assert not [line for line in again.lines() if line["event"] == "index is owned, standing by"]


def test_a_standby_that_could_not_see_the_database_takes_nothing_for_silence(
    catalog: Catalog, shards: CatalogIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner could not renew its lease in that time either."""
    owner = catalog.ownership.current()
    assert owner is not None
    steady = 1000.0
    monkeypatch.setattr(module, "steady_seconds", lambda: steady)
    standby = IndexOwnership(lambda: catalog, "a standby", 30.0, 10.0)
    looks = iter([None, ConnectionFailure("away"), None, SystemExit()])
    current = catalog.ownership.current

    def look(_: OwnerLease) -> Any:
        nonlocal steady
        fault = next(looks)
        if isinstance(fault, BaseException):
            steady += 60.0
            raise fault
        return current()

    silent: list[Any] = []

    def take(*_: Any, **options: Any) -> None:
        silent.append(options["silent"])

    monkeypatch.setattr(standby._stopping, "wait", lambda _: None)
    monkeypatch.setattr(OwnerLease, "current", look)
    monkeypatch.setattr(OwnerLease, "take", take)
    with DirectoryOwnership(tmp_path / "standby") as directory, pytest.raises(SystemExit):
        standby._wait_for_lease(directory, lambda _: None)
    assert silent == [None, None, None, None]
