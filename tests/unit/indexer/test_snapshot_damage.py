"""Damage of a snapshot at any place is found, said once, and counted; a full disk is said why."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

import pytest

from indexer.directory_ownership import DirectoryOwnership, IndexDirectoryOwned
from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.directory import MANIFEST, SetSnapshot, SnapshotDirectory
from indexer.hnsw.snapshots.manifest import Manifest
from indexer.hnsw.snapshots.whole_file import MalformedRecordError
from indexer.key import SetKey
from tests.unit.indexer.vectors import MakeVectors, Vectors

ROOT = Path(__file__).resolve().parents[3]
KEY = SetKey("1f", "鞋靴")
OPTIONS = IndexOptions(dimensions=32, shard_capacity=100, exact_up_to=1)
FULL = "No space left on device"

Lines = Callable[[], list[str]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """Return a function that gives the errors logged since it was last called."""

    def taken() -> list[str]:
        found = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
        caplog.clear()
        return found

    return taken


@pytest.fixture
def vectors(clustered: MakeVectors) -> Vectors:
    return clustered(250)


@pytest.fixture
def index(tmp_path: Path, vectors: Vectors) -> VectorIndex:
    """150 vectors in 2 shards, some marked, saved."""
    made = opened(tmp_path / "sets")
    made.add(KEY, range(1, 151), vectors[:150])
    made.mark_deleted(KEY, range(10, 20))
    assert made.save(KEY)
    return made


@pytest.fixture
def folder(index: VectorIndex, tmp_path: Path) -> Path:
    (found,) = (tmp_path / "sets").iterdir()
    return found


@pytest.fixture
def victim(folder: Path) -> Path:
    """The file of the first shard."""
    return sorted(folder.glob("*.hnsw"))[0]


def opened(path: Path) -> VectorIndex:
    return VectorIndex(OPTIONS, SnapshotDirectory(path, "model", OPTIONS))


HEADER = struct.Struct("=QQQQQQiIQQQdQ")
"""What hnswlib 0.8 writes first: sizes, offsets, the top of the graph, its parameters."""


def boundaries(data: bytes) -> list[int]:
    """Return where each part of a shard's file begins, by hnswlib's form, and its end."""
    sizes = [struct.calcsize("=" + letter) for letter in HEADER.format.lstrip("=")]
    fields = HEADER.unpack_from(data)
    count, size_of_vector = fields[2], fields[3]
    found = [0, *accumulate(sizes)]
    for _ in range(count):
        found.append(found[-1] + size_of_vector)
    for _ in range(count):
        (size_of_links,) = struct.unpack_from("=I", data, found[-1])
        found.append(found[-1] + 4)
        if size_of_links:
            found.append(found[-1] + size_of_links)
    assert found[-1] == len(data), "the form is another than this test believes"
    return found


def lost(snapshot: SetSnapshot, manifest: Manifest, victim: Path, lines: Lines) -> None:
    """See that the shard of a file is lost, and no other, with a line that names it."""
    (shard,) = snapshot.load(manifest)
    assert shard[1].file != victim.name
    (line,) = lines()
    assert victim.name in line
    assert "built anew" in line


def test_a_shard_cut_at_every_boundary_of_its_form_is_lost(
    folder: Path, victim: Path, lines: Lines
) -> None:
    directory = SnapshotDirectory(folder.parent, "model", OPTIONS)
    (manifest,) = directory.find()
    whole = victim.read_bytes()
    places = {n + near for n in boundaries(whole) for near in (-1, 0, 1)} & set(range(len(whole)))
    assert len(places) > 300
    for place in places:
        victim.write_bytes(whole[:place])
        lost(directory.of(KEY), manifest, victim, lines)
    assert directory.faults.lost_within(60) == len(places)


def test_a_shard_with_any_bit_flipped_is_lost(folder: Path, victim: Path, lines: Lines) -> None:
    directory = SnapshotDirectory(folder.parent, "model", OPTIONS)
    (manifest,) = directory.find()
    whole = victim.read_bytes()
    chosen = random.Random(4)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[chosen.randrange(len(whole))] ^= 1 << chosen.randrange(8)
        victim.write_bytes(damaged)
        lost(directory.of(KEY), manifest, victim, lines)


@pytest.mark.parametrize("damage", ["longer", "missing", "a folder", "another shard"])
def test_a_shard_that_is_not_the_one_that_was_saved_is_lost(
    folder: Path, victim: Path, lines: Lines, damage: str
) -> None:
    directory = SnapshotDirectory(folder.parent, "model", OPTIONS)
    (manifest,) = directory.find()
    whole = victim.read_bytes()
    victim.unlink()
    if damage == "longer":
        victim.write_bytes(whole + b"\0")
    elif damage == "a folder":
        victim.mkdir()
    elif damage == "another shard":
        victim.write_bytes(sorted(folder.glob("*.hnsw"))[0].read_bytes())
    lost(directory.of(KEY), manifest, victim, lines)


def test_a_manifest_cut_or_flipped_at_every_byte_is_none(folder: Path) -> None:
    whole = (folder / MANIFEST).read_bytes()
    assert Manifest.unpack(whole).key == KEY
    for place in range(len(whole)):
        with pytest.raises(MalformedRecordError):
            Manifest.unpack(whole[:place])
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            with pytest.raises(MalformedRecordError):
                Manifest.unpack(bytes(damaged))


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing", "a folder", "of another set"])
def test_a_manifest_that_is_none_costs_its_set_with_one_line(
    folder: Path, lines: Lines, damage: str
) -> None:
    path = folder / MANIFEST
    whole = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(whole[:-1])
    elif damage == "flipped":
        path.write_bytes(b"0" + whole[1:] if whole[:1] != b"0" else b"1" + whole[1:])
    elif damage == "a folder":
        path.mkdir()
    elif damage == "of another set":
        manifest = Manifest.unpack(whole)
        other = Manifest(SetKey("2", "x"), manifest.parameters, 0.0, manifest.shards)
        path.write_bytes(other.pack())
    index = opened(folder.parent)
    assert index.keys() == []
    (line,) = lines()
    assert folder.name in line
    assert index.lost_within(60) == 1
    assert not folder.exists(), "what can't be used does not fill the disk"


def test_losses_are_told_for_a_while(folder: Path, victim: Path) -> None:
    victim.unlink()
    index = opened(folder.parent)
    assert index.lost_within(60) == 0, "nobody has looked yet"
    index.live_labels(KEY)
    assert index.lost_within(60) == 1
    assert index.lost_within(0) == 0


def test_a_folder_of_snapshots_that_cannot_be_read_costs_all_of_them(
    tmp_path: Path, vectors: Vectors, lines: Lines
) -> None:
    (tmp_path / "sets").write_text("a file")
    index = opened(tmp_path / "sets")
    assert len(lines()) == 1
    assert index.lost_within(60) == 1
    index.add(KEY, [1], vectors[:1])
    assert index.search([KEY], vectors[:1], 1).labels.tolist() == [1], "it works without a disk"
    assert not index.save(KEY)
    assert list(index.not_saved()) == [KEY]
    (tmp_path / "sets").unlink()
    assert index.save(KEY)
    assert index.not_saved() == {}


def test_a_manifest_that_finds_the_disk_full_leaves_the_snapshot_before(
    index: VectorIndex, folder: Path, vectors: Vectors, lines: Lines
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    index.add(KEY, range(151, 161), vectors[150:160])
    # Everything written to this device meets a full disk.
    (folder / "manifest.part").symlink_to("/dev/full")
    assert not index.save(KEY)
    (line,) = lines()
    assert "the one before stays" in line
    assert FULL in line
    assert FULL in index.not_saved()[KEY]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert opened(folder.parent).state()[KEY].live == 140
    assert index.save(KEY)
    assert index.not_saved() == {}
    assert opened(folder.parent).state()[KEY].live == 150


def test_a_dropped_set_is_no_set_that_could_not_be_saved(
    index: VectorIndex, folder: Path, vectors: Vectors
) -> None:
    index.add(KEY, range(151, 161), vectors[150:160])
    (folder / "manifest.part").symlink_to("/dev/full")
    assert not index.save(KEY)
    index.drop_generation(KEY.generation)
    assert index.not_saved() == {}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB, where this user may mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k,nr_inodes=20", "tmpfs", str(path)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False, timeout=30)
    except FileNotFoundError:
        pytest.skip("no mount command here; the limit of a file's size stands for it")
    if done.returncode:
        pytest.skip("mounting is refused here; the limit of a file's size stands for it")
    try:
        yield path
    finally:
        unmount = ["umount", "--lazy", str(path)]
        subprocess.run(unmount, check=True, timeout=30)


def fill(disk: Path, lacking: str) -> None:
    for number in range(20):
        filler = disk / f"filler {number}"
        if lacking == "inodes":
            filler.touch()
        else:
            filler.write_bytes(bytes(2**20))


@pytest.mark.parametrize("lacking", ["blocks", "inodes"])
def test_a_full_disk_is_said_and_the_next_save_heals(
    small_disk: Path, vectors: Vectors, lines: Lines, lacking: str
) -> None:
    index = opened(small_disk / "sets")
    index.add(KEY, range(1, 101), vectors[:100])
    assert index.save(KEY)
    index.add(KEY, range(101, 201), vectors[100:200])
    index.mark_deleted(KEY, [1])
    with pytest.raises(OSError, match=FULL):
        fill(small_disk, lacking)
    assert not index.save(KEY)
    (line,) = lines()
    assert FULL in line
    assert FULL in index.not_saved()[KEY]
    assert opened(small_disk / "sets").state()[KEY].live == 100
    assert index.search([KEY], vectors[150:151], 1).labels.tolist() == [151]
    for filler in small_disk.glob("filler*"):
        filler.unlink()
    assert index.save(KEY)
    assert index.not_saved() == {}
    again = opened(small_disk / "sets")
    assert again.live_labels(KEY) == set(range(2, 201))
    assert lines() == []


OWNS_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from indexer.directory_ownership import DirectoryOwnership

_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
DirectoryOwnership(Path(sys.argv[1]))
print("owned", flush=True)
sys.stdin.read()
"""


def test_a_full_disk_leaves_the_directory_to_one_owner_all_the_same(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNS_ON_A_FULL_DISK, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        with pytest.raises(IndexDirectoryOwned):
            DirectoryOwnership(tmp_path)
        assert os.listdir(tmp_path) == ["owner.lock"]
        process.kill()
