from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots import forked_save
from indexer.hnsw.snapshots.directory import MANIFEST, SetSnapshot, SnapshotDirectory
from indexer.hnsw.snapshots.forked_save import SnapshotError
from indexer.hnsw.snapshots.manifest import Manifest
from indexer.key import SetKey
from indexer.vector_store import SetNotReadyError
from tests.unit.indexer.engines import sizes
from tests.unit.indexer.vectors import MakeVectors, MoveVectors, Vectors

ROOT = Path(__file__).resolve().parents[3]
SHOES = SetKey("1f", "鞋靴")
ODD = SetKey("1f", "a/b\n.. " + "x" * 300)
OPTIONS = IndexOptions(dimensions=32, shard_capacity=100, exact_up_to=1)

Lines = Callable[[], list[str]]


@pytest.fixture
def vectors(clustered: MakeVectors) -> Vectors:
    return clustered(250)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """Return a function that gives the errors logged since it was last called."""

    def taken() -> list[str]:
        found = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
        caplog.clear()
        return found

    return taken


def opened(path: Path, options: IndexOptions = OPTIONS, model: str = "model") -> VectorIndex:
    return VectorIndex(options, SnapshotDirectory(path, model, options))


def ready(index: VectorIndex) -> VectorIndex:
    for key in index.keys():  # noqa: SIM118
        index.now_ready(key)
    return index


def saved(path: Path, vectors: Vectors, key: SetKey = SHOES) -> VectorIndex:
    """Return an index with 250 vectors in 3 shards, some marked, that was saved."""
    index = opened(path)
    index.add(key, range(1, 251), vectors)
    index.mark_deleted(key, range(10, 20))
    assert index.save(key)
    return index


def folder(path: Path) -> Path:
    (found,) = path.iterdir()
    return found


def shard_files(path: Path) -> list[Path]:
    return sorted(folder(path).glob("*.hnsw"))


@pytest.mark.parametrize("key", [SHOES, ODD])
def test_a_snapshot_is_loaded_with_the_same_answers(
    tmp_path: Path, vectors: Vectors, near: MoveVectors, key: SetKey
) -> None:
    before = saved(tmp_path, vectors, key)
    after = ready(opened(tmp_path))
    assert sizes(after) == sizes(before), "known without a file of a shard read"
    queries = near(vectors[::10])
    expected, found = before.search([key], queries, 50), after.search([key], queries, 50)
    assert np.array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.similarities, expected.similarities)
    assert sizes(after) == sizes(before)
    assert after.unsaved() == {}


def test_a_loaded_set_is_not_ready_until_somebody_says_so(tmp_path: Path, vectors: Vectors) -> None:
    saved(tmp_path, vectors)
    index = opened(tmp_path)
    assert index.not_ready() == [SHOES]
    with pytest.raises(SetNotReadyError, match="generation='1f'"):
        index.search([SHOES], vectors[:1], 5)
    other = SetKey("2", "other")
    index.add(other, [1], vectors[:1])
    assert index.search([other], vectors[:1], 5).labels.tolist() == [1], "others answer"
    index.now_ready(SHOES)
    assert index.search([SHOES], vectors[:1], 1).labels.tolist() == [1]


def test_a_loaded_set_grows_over_shards_and_is_saved_again(
    tmp_path: Path, vectors: Vectors, clustered: MakeVectors
) -> None:
    saved(tmp_path, vectors)
    old = set(shard_files(tmp_path))
    index = ready(opened(tmp_path))
    more = clustered(120, seed=5)
    assert index.add(SHOES, range(251, 371), more) == 120
    assert index.mark_deleted(SHOES, [251]) == 0
    assert index.unsaved() == {SHOES: 122}, "the changes, and that a shard is new"
    assert index.save(SHOES)
    new = set(shard_files(tmp_path))
    assert len(new) == 4
    assert len(new & old) == 2, "a shard that did not change is not written again"
    again = ready(opened(tmp_path))
    assert sizes(again)[SHOES] == sizes(index)[SHOES]
    assert again.search([SHOES], more[-1:], 1).labels.tolist() == [370]
    assert not again.contains(SHOES, 251)


def test_a_save_without_a_change_writes_nothing(tmp_path: Path, vectors: Vectors) -> None:
    index = saved(tmp_path, vectors)
    before = {path: path.stat().st_mtime_ns for path in folder(tmp_path).iterdir()}
    assert index.save(SHOES)
    assert {path: path.stat().st_mtime_ns for path in folder(tmp_path).iterdir()} == before


@pytest.mark.parametrize("fault", ["shard", "manifest"])
def test_a_save_that_fails_halfway_leaves_the_snapshot_before_and_nothing_else(
    tmp_path: Path,
    vectors: Vectors,
    lines: Lines,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    index = saved(tmp_path, vectors)
    before = {path: path.read_bytes() for path in folder(tmp_path).iterdir()}
    index.mark_deleted(SHOES, [1, 101])
    save, calls = SetSnapshot.save_shard, []

    def second_fails(*arguments: Any) -> object:
        calls.append(1)
        if fault == "shard" and len(calls) == 2:
            raise SnapshotError("disk full")
        return save(*arguments)

    def no_manifest(_: Manifest) -> bytes:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(SetSnapshot, "save_shard", second_fails)
        if fault == "manifest":
            patch.setattr(Manifest, "pack", no_manifest)
        assert not index.save(SHOES)
    assert len(calls) == 2
    assert {path: path.read_bytes() for path in folder(tmp_path).iterdir()} == before
    (line,) = lines()
    assert "the one before stays: disk full" in line
    assert index.save(SHOES)
    assert sizes(ready(opened(tmp_path)))[SHOES] == (238, 12, 3)


def test_a_first_save_that_fails_leaves_nothing_that_is_taken_for_a_lost_snapshot(
    tmp_path: Path, vectors: Vectors, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opened(tmp_path)
    index.add(SHOES, [1, 2], vectors[:2])

    def fails(*_: object) -> object:
        raise SnapshotError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(forked_save, "check_file", fails)
        assert not index.save(SHOES)
    assert len(lines()) == 1
    assert opened(tmp_path).lost_within(60) == 0
    assert lines() == []
    assert index.save(SHOES)


def places(length: int, count: int) -> list[int]:
    return sorted({*np.linspace(0, length - 1, count).astype(int).tolist()})


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damage_at_any_byte_of_a_shard_costs_that_shard_alone(
    tmp_path: Path, vectors: Vectors, lines: Lines, damage: str
) -> None:
    saved(tmp_path, vectors)
    victim = shard_files(tmp_path)[0]
    whole = victim.read_bytes()
    for place in places(len(whole), 40):
        damaged = bytearray(whole[:place] if damage == "cut" else whole)
        if damage == "flip":
            damaged[place] ^= 16
        victim.write_bytes(damaged)
        index = ready(opened(tmp_path))
        with pytest.raises(SetNotReadyError):
            index.search([SHOES], vectors[:1], 5)
        assert index.state()[SHOES].shards == 2
        (line,) = lines()
        assert victim.name in line
        assert "built anew" in line
    victim.write_bytes(whole)
    assert ready(opened(tmp_path)).search([SHOES], vectors[:1], 5).labels.size == 5


def test_a_missing_shard_is_made_good_by_what_is_added(
    tmp_path: Path, vectors: Vectors, lines: Lines
) -> None:
    expected = saved(tmp_path, vectors).live_labels(SHOES)
    shard_files(tmp_path)[1].unlink()
    index = opened(tmp_path)
    missing = sorted(expected - index.live_labels(SHOES))
    assert len(lines()) == 1
    assert 40 <= len(missing) <= 100
    assert index.add(SHOES, missing, vectors[[label - 1 for label in missing]]) == len(missing)
    index.now_ready(SHOES)
    assert index.live_labels(SHOES) == expected
    assert index.save(SHOES)
    assert ready(opened(tmp_path)).live_labels(SHOES) == expected
    assert lines() == []


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damage_at_any_byte_of_a_manifest_costs_its_set_alone(
    tmp_path: Path, vectors: Vectors, lines: Lines, damage: str
) -> None:
    other = SetKey("2", "other")
    saved(tmp_path, vectors).add(other, [1], vectors[:1])
    manifest = folder(tmp_path) / MANIFEST
    whole = manifest.read_bytes()
    files = {path.name: path.read_bytes() for path in manifest.parent.iterdir()}
    index = opened(tmp_path)
    index.add(other, [1], vectors[:1])
    assert index.save(other)
    for place in places(len(whole), 40):
        manifest.parent.mkdir(exist_ok=True)
        for name, data in files.items():
            (manifest.parent / name).write_bytes(data)
        damaged = bytearray(whole[:place] if damage == "cut" else whole)
        if damage == "flip":
            damaged[place] ^= 16
        manifest.write_bytes(damaged)
        assert opened(tmp_path).keys() == [other]
        (line,) = lines()
        assert manifest.parent.name in line
        assert not manifest.parent.exists(), "what can't be used does not fill the disk"


def test_a_missing_manifest_is_a_lost_snapshot(
    tmp_path: Path, vectors: Vectors, lines: Lines
) -> None:
    saved(tmp_path, vectors)
    (folder(tmp_path) / MANIFEST).unlink()
    assert opened(tmp_path).keys() == []
    assert len(lines()) == 1


@pytest.mark.parametrize(
    ("options", "model"),
    [
        (OPTIONS, "another model"),
        (replace(OPTIONS, m=8), "model"),
        (replace(OPTIONS, ef_construction=100), "model"),
        (replace(OPTIONS, shard_capacity=200), "model"),
        (replace(OPTIONS, dimensions=16), "model"),
    ],
)
def test_a_snapshot_of_other_parameters_is_not_used(
    tmp_path: Path, vectors: Vectors, lines: Lines, options: IndexOptions, model: str
) -> None:
    saved(tmp_path, vectors)
    assert opened(tmp_path, options, model).keys() == []
    (line,) = lines()
    assert "it was made with" in line
    assert list(tmp_path.iterdir()) == []


def test_a_folder_under_a_wrong_name_is_not_used(
    tmp_path: Path, vectors: Vectors, lines: Lines
) -> None:
    saved(tmp_path, vectors)
    folder(tmp_path).rename(tmp_path / "2-0000")
    assert opened(tmp_path).keys() == []
    assert len(lines()) == 1


def test_what_a_killed_process_left_over_is_removed(
    tmp_path: Path, vectors: Vectors, lines: Lines
) -> None:
    saved(tmp_path, vectors)
    kept = {path.name for path in folder(tmp_path).iterdir()}
    for name in ("manifest.part", "0.hnsw.part", "1.hnsw"):
        (folder(tmp_path) / name).write_bytes(b"half")
    assert opened(tmp_path).keys() == [SHOES]
    assert {path.name for path in folder(tmp_path).iterdir()} == kept
    assert lines() == []


def test_a_dropped_generation_leaves_no_file_and_takes_nothing_more(
    tmp_path: Path, vectors: Vectors
) -> None:
    index = saved(tmp_path, vectors)
    other = SetKey("2", "other")
    index.add(other, [1], vectors[:1])
    assert index.save(other)
    assert index.drop_generation("1f") == 1
    assert index.drop_generation("1f") == 0
    assert index.add(SHOES, [1000], vectors[:1]) == 0
    assert index.mark_deleted(SHOES, [1000]) == 1
    assert index.search([SHOES], vectors[:1], 5).labels.size == 0
    assert index.keys() == [other]
    assert opened(tmp_path).keys() == [other]


def test_an_add_that_was_on_its_way_when_its_set_was_dropped_is_not_kept(
    tmp_path: Path, vectors: Vectors
) -> None:
    index = saved(tmp_path, vectors)
    late = index._sets[SHOES]
    index.drop_generation("1f")
    assert late.add([1000], vectors[:1]) == 0
    late.save(60)
    assert list(tmp_path.iterdir()) == []


def test_sets_that_may_be_unknown_are_not_answered_for(tmp_path: Path, vectors: Vectors) -> None:
    index = VectorIndex(OPTIONS, SnapshotDirectory(tmp_path, "model", OPTIONS), is_complete=False)
    with pytest.raises(SetNotReadyError):
        index.search([SHOES], vectors[:1], 5)
    with pytest.raises(SetNotReadyError):
        index.keys_of("1f")
    index.add(ODD, [1], vectors[:1])
    index.expect(["1f"])
    was_complete = index.is_complete
    assert not was_complete
    assert index.search([SetKey("3", "new")], vectors[:1], 5).labels.size == 0
    with pytest.raises(SetNotReadyError):
        index.search([SHOES], vectors[:1], 5)
    index.learn("1f", [SHOES])
    assert index.is_complete
    assert set(index.keys_of("1f")) == {SHOES, ODD}
    assert set(index.not_ready()) == {SHOES, ODD}
    index.now_ready(ODD)
    assert index.search([ODD], vectors[:1], 5).labels.tolist() == [1]
    with pytest.raises(SetNotReadyError):
        index.search([SHOES, ODD], vectors[:1], 5)
    assert index.search([SetKey("1f", "new")], vectors[:1], 5).labels.size == 0


def test_what_a_folder_vouches_for_is_said_by_checkpoint_and_manifests(
    tmp_path: Path, vectors: Vectors
) -> None:
    index = opened(tmp_path)
    index.add(SHOES, [1], vectors[:1])
    assert index.unsaved_seconds() < 60
    index.save(SHOES)
    index.create(ODD)
    index.add(ODD, [2], vectors[1:2])
    index.save(ODD)
    assert index.unsaved_seconds() == 0
    index.keep_checkpoint(77)

    after = opened(tmp_path)
    assert after.checkpoint == 77
    assert after.lost_generations == set()
    assert after.whole() == [SHOES], "the other was not known to hold all that it should"
    after.now_ready(SHOES)
    assert after.unsaved_seconds() == 0
    after.add(ODD, [3], vectors[2:3])
    after.now_ready(ODD)
    assert after.unsaved_seconds() == float("inf")
    after.save(ODD)
    assert after.unsaved_seconds() == 0
    after.keep_checkpoint(78)
    shutil.rmtree(next(path for path in tmp_path.iterdir() if path.is_dir()))

    last = opened(tmp_path)
    assert (last.checkpoint, last.lost_generations) == (78, frozenset({"1f"}))
    assert len(last.whole()) == 1
    other = VectorIndex(OPTIONS, SnapshotDirectory(tmp_path, "another", OPTIONS))
    assert other.checkpoint is None
    assert opened(tmp_path).checkpoint is None, "what is no use is removed"


def test_the_state_tells_what_an_operator_asks(tmp_path: Path, vectors: Vectors) -> None:
    index = opened(tmp_path)
    index.add(SHOES, range(1, 251), vectors)
    state = index.state()[SHOES]
    assert state[:5] == (250, 0, 3, True, True)
    assert state.snapshot_seconds is None
    index.save(SHOES)
    age = opened(tmp_path).state()[SHOES]
    assert age[:5] == (250, 0, 3, False, False)
    assert age.snapshot_seconds is not None
    assert 0 <= age.snapshot_seconds < 60
