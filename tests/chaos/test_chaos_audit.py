"""The audit sees each thing that must not be, so that a clean round means something."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import fakeredis
import pytest

from tests.chaos.audit import audit_rows
from tests.chaos.ledger import Fate, Ledger, Sent
from tests.chaos.pictures import Kind, Picture
from tests.chaos.rows import BACKGROUND_SECONDS, Rows, unrest_of_messages

GENERATION, SERIAL, LABEL = "1", 7, 21


def promised(ledger: Ledger, key: str, kind: Kind = Kind.GOOD) -> Sent:
    image = ledger.new("shop", "shoe", Picture(key, kind, key.encode()), 0, False)
    image.started, image.ended = 10.0, 11.0
    ledger.promise("default/shop/1", [image])
    return image


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    promised(made, "a")
    return made


@pytest.fixture
def rows(ledger: Ledger) -> Rows:
    image = {
        "_id": LABEL,
        "generation": GENERATION,
        "product_id": "shoe",
        "product_serial": SERIAL,
        "category": "鞋靴",
        "image_id": "a",
        "outcome": "SUCCEEDED",
        "deleted_at": None,
    }
    product = {
        "_id": "1/shoe",
        "generation": GENERATION,
        "serial": SERIAL,
        "places": [LABEL],
        "deleted_at": None,
    }
    chunk = {"_id": "chunk-1", "task_id": "t", "state": "done", "attempt": 1}
    content = {"_id": f"{SERIAL}/{ledger.images['a'].sha256}", "label": LABEL}
    collection = {"_id": "default/shop", "generation": GENERATION}
    return Rows(
        collections=[{**collection, "product_count": 1, "image_count": 1}],
        products=[product],
        images=[image],
        names=[{"_id": "1/a", "label": LABEL}],
        contents=[content],
        tasks=[{"_id": "t", "chunk_ids": ["chunk-1"], "finished_at": 5}],
        chunks=[chunk],
        purges=[],
        submissions=[],
        payloads=set(),
        pictures={LABEL},
        local_features={LABEL},
        vectors={LABEL: b""},
    )


def test_what_is_right_is_found_right(rows: Rows, ledger: Ledger) -> None:
    assert audit_rows(rows, ledger) == []


def changed(row: dict[str, Any], **values: Any) -> list[dict[str, Any]]:
    return [{**row, **values}]


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("lost", lambda r: replace(r, images=[], names=[], contents=[])),
        ("twice", lambda r: replace(r, images=[*r.images, *changed(r.images[0], _id=22)])),
        ("stuck", lambda r: replace(r, images=changed(r.images[0], outcome=None))),
        ("stuck", lambda r: replace(r, images=changed(r.images[0], index_at=5))),
        ("stuck", lambda r: replace(r, products=changed(r.products[0], deleted_at=5))),
        ("stuck", lambda r: replace(r, chunks=changed(r.chunks[0], state="sent"))),
        ("stuck", lambda r: replace(r, tasks=changed(r.tasks[0], finished_at=None))),
        ("left over", lambda r: replace(r, chunks=changed(r.chunks[0], _id="chunk-2"))),
        ("left over", lambda r: replace(r, collections=[])),
        ("left over", lambda r: replace(r, submissions=[{"_id": "s"}])),
        ("left over", lambda r: replace(r, payloads={LABEL})),
        ("left over", lambda r: replace(r, pictures={LABEL, 22})),
        ("left over", lambda r: replace(r, local_features={LABEL, 22})),
        ("left over", lambda r: replace(r, vectors={LABEL: b"", 22: b""})),
        ("lost", lambda r: replace(r, vectors={})),
        ("lost", lambda r: replace(r, pictures=set())),
        ("name left over", lambda r: replace(r, names=[*r.names, {"_id": "1/b", "label": 22}])),
        ("name lost", lambda r: replace(r, names=[])),
        ("content left over", lambda r: replace(r, contents=[{"_id": "7/x", "label": LABEL}])),
        ("content lost", lambda r: replace(r, contents=[])),
        ("counter", lambda r: replace(r, collections=changed(r.collections[0], image_count=2))),
        ("counter", lambda r: replace(r, products=changed(r.products[0], places=[]))),
        ("counter", lambda r: replace(r, products=changed(r.products[0], places=[LABEL, 22]))),
    ],
)
def test_each_damage_is_found(
    rows: Rows, ledger: Ledger, kind: str, damage: Callable[[Rows], Rows]
) -> None:
    assert kind in {finding.kind for finding in audit_rows(damage(rows), ledger)}


def test_a_deleted_image_that_is_there_is_found(rows: Rows, ledger: Ledger) -> None:
    deletion = ledger.delete("shop", "shoe", "a")
    deletion.started, deletion.answered = 12.0, 13.0
    assert "alive after deletion" in {finding.kind for finding in audit_rows(rows, ledger)}


def test_a_deletion_counts_by_when_it_was_called_and_answered(ledger: Ledger) -> None:
    image = ledger.images["a"]
    assert ledger.fate(image) is Fate.ALIVE
    deletion = ledger.delete("shop", "shoe")
    for started, answered, unclear, fate in (
        (12.0, 13.0, False, Fate.DEAD),
        (10.5, 13.0, False, Fate.EITHER),
        (12.0, None, True, Fate.EITHER),
        (8.0, 9.0, False, Fate.ALIVE),
        (8.0, 9.0, True, Fate.EITHER),
    ):
        deletion.started, deletion.answered, deletion.unclear = started, answered, unclear
        assert ledger.fate(image) is fate, (started, answered, unclear)


def test_a_reason_fits_what_was_sent(ledger: Ledger) -> None:
    good, cut = ledger.images["a"], promised(ledger, "b", Kind.CUT)
    assert not ledger.fits(good, "INVALID_IMAGE_CONTENT")
    assert not ledger.fits(good, "NO_RELATIVE_IMAGE")
    assert not ledger.fits(good, "INSERT_IMAGE_ERROR")
    assert ledger.fits(cut, "INVALID_IMAGE_CONTENT")
    assert not ledger.fits(cut, "BROKEN_BASE64_OR_URL")
    ledger.delete("shop", "shoe", "a")
    assert ledger.fits(good, "NO_RELATIVE_IMAGE")
    assert not ledger.fits(good, "DUPLICATE_IMAGE")


@pytest.mark.parametrize(
    ("queue", "seconds", "rests"),
    [
        ("maintenance", 0.0, True),
        ("maintenance", BACKGROUND_SECONDS + 1, False),
        ("vision", 0.0, False),
    ],
)
def test_a_round_rests_when_only_background_work_was_taken_just_now(
    queue: str, seconds: float, rests: bool
) -> None:
    with fakeredis.FakeRedis() as broker:
        assert unrest_of_messages(broker) == []
        # As kombu keeps a message from when a worker took it until it is acknowledged.
        broker.hset("unacked", "tag", json.dumps(["message", "", queue]))
        broker.zadd("unacked_index", {"tag": time.time() - seconds})
        assert (unrest_of_messages(broker) == []) is rests
