"""A file in a shard's place that is none: never read as one, and no code in it ever runs."""

from __future__ import annotations

import ast
import hashlib
import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import hnswlib
import pytest

from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.directory import SnapshotDirectory
from indexer.hnsw.snapshots.manifest import Manifest
from indexer.hnsw.snapshots.whole_file import MalformedRecordError
from indexer.key import SetKey
from tests.unit.indexer.vectors import MakeVectors

ROOT = Path(__file__).resolve().parents[3]
KEY = SetKey("1f", "鞋靴")
OPTIONS = IndexOptions(dimensions=32, shard_capacity=100, exact_up_to=1)


class Harm:
    """What leaves a file behind where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.mark), "w"))


@pytest.fixture
def victim(tmp_path: Path, clustered: MakeVectors) -> Path:
    index = VectorIndex(OPTIONS, SnapshotDirectory(tmp_path / "sets", "model", OPTIONS))
    index.add(KEY, range(1, 51), clustered(50))
    assert index.save(KEY)
    (file,) = (tmp_path / "sets").glob("*/*.hnsw")
    return file


def flipped(data: bytes) -> bytes:
    return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]


@pytest.mark.parametrize("kind", ["a flipped bit", "a pickle", "a pickle of its size"])
def test_no_library_reads_a_file_whose_checksum_is_wrong(
    kind: str, tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, harm = victim.read_bytes(), pickle.dumps(Harm(tmp_path / "harmed"))
    victim.write_bytes(
        {
            "a flipped bit": flipped(whole),
            "a pickle": harm,
            "a pickle of its size": harm + b"\0" * (len(whole) - len(harm)),
        }[kind]
    )
    read: list[object] = []

    class Watched(hnswlib.Index):  # type: ignore[misc]  # untyped
        def load_index(self, *arguments: object) -> None:
            read.append(arguments)

    monkeypatch.setattr(hnswlib, "Index", Watched)
    directory = SnapshotDirectory(victim.parent.parent, "model", OPTIONS)
    (manifest,) = directory.find()
    assert directory.of(KEY).load(manifest) == []
    assert read == []
    assert not (tmp_path / "harmed").exists()


def test_a_pickle_with_the_right_checksum_is_no_shard_and_runs_no_code(
    tmp_path: Path, victim: Path
) -> None:
    harm = pickle.dumps(Harm(tmp_path / "harmed"))
    victim.write_bytes(harm)
    directory = SnapshotDirectory(victim.parent.parent, "model", OPTIONS)
    (manifest,) = directory.find()
    (record,) = manifest.shards
    lying = replace(record, size=len(harm), sha256=hashlib.sha256(harm).hexdigest())
    assert directory.of(KEY).load(replace(manifest, shards=(lying,))) == []
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..", ""])
def test_a_manifest_that_names_a_file_elsewhere_is_refused(victim: Path, name: str) -> None:
    manifest = Manifest.unpack((victim.parent / "manifest").read_bytes())
    elsewhere = tuple(replace(record, file=name) for record in manifest.shards)
    with pytest.raises(MalformedRecordError, match="outside"):
        Manifest.unpack(replace(manifest, shards=elsewhere).pack())


def test_a_manifest_of_other_fields_is_refused(victim: Path) -> None:
    packed = (victim.parent / "manifest").read_bytes()
    fields = json.loads(packed.partition(b"\n")[2])
    for wrong in ({**fields, "key": {}}, {**fields, "shards": [1]}, {"format": fields["format"]}):
        body = json.dumps(wrong).encode()
        with pytest.raises(MalformedRecordError, match="fields"):
            Manifest.unpack(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    assert asdict(Manifest.unpack(packed))


#: Modules that run what they read.
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}

PACKAGES = ("app", "broker", "catalog", "cli", "config", "indexer", "vision", "workers")


def test_nothing_of_ours_unpickles() -> None:
    for file in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & UNSAFE, file
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in UNSAFE, file
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                options = {option.arg: ast.unparse(option.value) for option in node.keywords}
                assert called != "torch.load" or options.get("weights_only") == "True", file
                assert called != "np.load" or options.get("allow_pickle") == "False", file
