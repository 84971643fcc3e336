from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.generations import KnownGenerations
from indexer.hnsw.snapshots.checkpoint import FORMAT, NAME, Checkpoint
from indexer.hnsw.snapshots.manifest import Parameters
from indexer.hnsw.snapshots.whole_file import MalformedRecordError

PARAMETERS = Parameters("model", 32, 16, 200, 1_000)
CHECKPOINT = Checkpoint(PARAMETERS, 1_700_000_000_123, ("1f-00", "2f-11"))


def test_what_is_written_is_read_and_replaced(tmp_path: Path) -> None:
    assert Checkpoint.read(tmp_path, PARAMETERS) is None
    CHECKPOINT.write(tmp_path / "sets")
    assert Checkpoint.read(tmp_path / "sets", PARAMETERS) == CHECKPOINT
    later = replace(CHECKPOINT, until=CHECKPOINT.until + 1)
    later.write(tmp_path / "sets")
    assert Checkpoint.read(tmp_path / "sets", PARAMETERS) == later
    assert [path.name for path in (tmp_path / "sets").iterdir()] == [NAME]


def test_a_cut_or_a_flip_at_any_byte_is_seen(tmp_path: Path) -> None:
    CHECKPOINT.write(tmp_path)
    data = (tmp_path / NAME).read_bytes()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1
        for damaged in (data[:place], bytes(flipped)):
            (tmp_path / NAME).write_bytes(damaged)
            with pytest.raises(MalformedRecordError):
                Checkpoint.read(tmp_path, PARAMETERS)


@pytest.mark.parametrize(
    "fields", [{"format": FORMAT + 1}, {"parameters": {}}, {"folders": None}, {"until": None}]
)
def test_one_of_another_form_is_refused(tmp_path: Path, fields: dict[str, object]) -> None:
    CHECKPOINT.write(tmp_path)
    kept = json.loads((tmp_path / NAME).read_bytes().partition(b"\n")[2])
    body = json.dumps({**kept, **fields}).encode()
    (tmp_path / NAME).write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    with pytest.raises(MalformedRecordError):
        Checkpoint.read(tmp_path, PARAMETERS)


def test_one_of_another_model_is_refused(tmp_path: Path) -> None:
    CHECKPOINT.write(tmp_path)
    with pytest.raises(MalformedRecordError, match="it was made with"):
        Checkpoint.read(tmp_path, replace(PARAMETERS, model_id="another"))


def test_a_full_disk_leaves_the_one_before(tmp_path: Path) -> None:
    CHECKPOINT.write(tmp_path)
    (tmp_path / f"{NAME}.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        replace(CHECKPOINT, until=1).write(tmp_path)
    assert Checkpoint.read(tmp_path, PARAMETERS) == CHECKPOINT


def test_no_generation_is_known_until_it_is_said_which_are_not() -> None:
    known = KnownGenerations(all_known=False)
    known.learn("a")
    assert ("a" in known, known.unknown) == (False, None)
    known.expect(["a", "b"])
    assert ("a" in known, "c" in known) == (False, True)
    known.learn("a")
    assert ("a" in known, "b" in known) == (True, False)
    assert "a" in KnownGenerations(all_known=True)
