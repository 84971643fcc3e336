"""Rows that are written whole are read as what was written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.coordination.index_ownership import Owner
from catalog.database.connection import moment
from catalog.rows.chunks import Chunk, Item, Stage, State
from catalog.rows.images import SUCCEEDED, ImageRow

AT = moment(1_700_000_000_123)

IMAGE = ImageRow(
    label=7,
    collection="u/店",
    generation="1f",
    product_id="p",
    product_serial=3,
    product_name="商品",
    category="鞋靴",
    image_id="图/1",
    image_info="",
    url=None,
)

CHUNK = Chunk(
    id="chunk-1",
    task_id="u/店/1.5",
    collection="u/店",
    generation="1f",
    items=(Item(label=7, product_id="p", product_serial=3, image_id="图/1"),),
    stage=Stage.VISION,
    state=State.WAITING,
    due_at=AT,
)

OWNER = Owner(epoch=9, process="process 1 on a", directory="/d", lock="boot/1/2", until=AT)


@pytest.mark.parametrize(
    "image",
    [
        IMAGE,
        replace(IMAGE, url="http://h/a", task_id="u/店/1.5", product_version=2),
        replace(IMAGE, outcome=SUCCEEDED, deleted_at=AT, index_at=AT),
    ],
)
def test_an_image_is_read_as_it_was_written(image: ImageRow) -> None:
    assert ImageRow.from_row(image.to_row()) == image


def test_a_new_image_takes_no_field_for_what_it_has_not() -> None:
    assert not {"index_at", "product_version"} & IMAGE.to_row().keys()


@pytest.mark.parametrize(
    "chunk",
    [
        CHUNK,
        replace(CHUNK, state=State.SENT, sent_at=AT, due_at=None, attempt=2, unclean=1, passes=1),
        replace(CHUNK, state=State.RUNNING, model_id="m"),
    ],
)
def test_a_chunk_is_read_as_it_was_written(chunk: Chunk) -> None:
    assert Chunk.from_row(chunk.to_row()) == chunk


def test_an_owner_is_read_as_it_was_written() -> None:
    assert Owner.from_row(OWNER.to_row()) == OWNER
