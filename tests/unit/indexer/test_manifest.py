from __future__ import annotations

import hashlib
import json

import pytest

from indexer.hnsw.snapshots.manifest import FORMAT, Manifest, Parameters, ShardRecord
from indexer.hnsw.snapshots.whole_file import MalformedRecordError
from indexer.key import SetKey

MANIFEST = Manifest(
    SetKey("1f", "鞋靴"),
    Parameters("model", 32, 16, 200, 1_000),
    1_700_000_000.5,
    (
        ShardRecord("a.hnsw", 1234, "0" * 64, 10, (2**63 - 1, 7)),
        ShardRecord("b.hnsw", 99, "f" * 64, 1, ()),
    ),
)


def test_what_is_packed_is_unpacked() -> None:
    assert Manifest.unpack(MANIFEST.pack()) == MANIFEST


def test_a_flip_of_any_byte_is_seen() -> None:
    data = MANIFEST.pack()
    for place in range(len(data)):
        for bit in (1, 128):
            flipped = bytearray(data)
            flipped[place] ^= bit
            with pytest.raises(MalformedRecordError):
                Manifest.unpack(bytes(flipped))


def test_a_cut_at_any_byte_is_seen() -> None:
    data = MANIFEST.pack()
    for length in range(len(data)):
        with pytest.raises(MalformedRecordError):
            Manifest.unpack(data[:length])
    with pytest.raises(MalformedRecordError):
        Manifest.unpack(data + b" ")


def test_another_format_is_refused_by_name() -> None:
    fields = json.loads(MANIFEST.pack().partition(b"\n")[2])
    body = json.dumps({**fields, "format": FORMAT + 1}).encode()
    with pytest.raises(MalformedRecordError, match=f"its format is {FORMAT + 1}, not {FORMAT}"):
        Manifest.unpack(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
