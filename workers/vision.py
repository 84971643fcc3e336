"""The vision stage: bytes in, features in MongoDB out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import structlog
from celery.signals import worker_process_init
from numpy.typing import NDArray

from catalog.chunks import Chunk, Stage
from catalog.claims import content_key
from catalog.endings import clear_ended, fail_images
from catalog.images import ImageRow
from config.settings import settings
from contract.errors import ContractError, DuplicateImage, InvalidImageContent
from vision.picture import thumbnail_jpeg
from workers.broker import app, task_name
from workers.decoding import decode_picture
from workers.messages import send_chunks
from workers.model import load_model, pipeline
from workers.priority import give_way
from workers.resources import catalog, staged_bytes
from workers.stage import run_stage

log = structlog.get_logger(__name__)


@worker_process_init.connect
def _prepare(**_: Any) -> None:
    load_model()
    # Searches and submissions must not wait for bulk work on the same processor.
    give_way(settings().vision_niceness)


@app.task(name=task_name(Stage.VISION))
def vision(chunk_id: str, attempt: int) -> None:
    """Find the product on each picture of a chunk, and embed it."""
    run_stage(Stage.VISION, chunk_id, attempt, _work)


def _work(chunk: Chunk) -> None:
    images = {n: row for n, row in catalog().images.find(chunk.labels).items() if row.is_open}
    done = catalog().vectors.present(list(images))
    todo = {label: image for label, image in images.items() if label not in done}
    pictures = _bytes(todo)
    if any(todo[label].url is not None for label in todo.keys() - pictures.keys()):
        log.info("fetched bytes are gone, chunk goes back to fetch")
        back = catalog().chunks.advance(chunk, Stage.FETCH, chunk.items)
        if back is not None:
            send_chunks(catalog(), [back])
        return
    # A Base64 payload goes away only after the end of its image, which may have come since the
    # rows were read. Of one that is open still it was never written: its submission died halfway.
    missing = catalog().images.find(list(todo.keys() - pictures.keys()))
    faults: dict[int, type[ContractError]] = dict.fromkeys(
        (label for label, image in missing.items() if image.is_open), InvalidImageContent
    )
    lost, twins = _repeated({label: (todo[label], data) for label, data in pictures.items()})
    faults |= dict.fromkeys(lost, DuplicateImage)
    features: dict[int, NDArray[np.float32]] = {}
    kept: dict[int, bytes] = {}
    for label, data in pictures.items():
        if label in faults or label in twins:
            continue
        try:
            picture = decode_picture(data)
            _, features[label] = pipeline().describe(picture)
        except ContractError as fault:
            faults[label] = type(fault)
            continue
        if settings().keep_pictures:
            kept[label] = thumbnail_jpeg(picture, settings().kept_side)
    # The same bytes have the same fault; only an image can be repeated.
    faults |= {label: faults.get(first, DuplicateImage) for label, first in twins.items()}
    catalog().pictures.put(kept)
    catalog().vectors.put(pipeline().model_id, features)
    if features:
        log.info("embedded", labels=list(features))
    fail_images(catalog(), faults)
    staged_bytes().remove(chunk.labels)
    advanced = catalog().chunks.advance(chunk, Stage.INDEX, chunk.items)
    if advanced is None:
        clear_ended(catalog(), chunk.labels)
    else:
        send_chunks(catalog(), [advanced])


def _bytes(images: Mapping[int, ImageRow]) -> dict[int, bytes]:
    """Give the bytes of each image that has them still, in the order of `images`."""
    fetched = [label for label, image in images.items() if image.url is not None]
    sent = [label for label, image in images.items() if image.url is None]
    found = staged_bytes().get(fetched) | catalog().payloads.get(sent)
    return {label: found[label] for label in images if label in found}


def _repeated(
    pictures: Mapping[int, tuple[ImageRow, bytes]],
) -> tuple[set[int], dict[int, int]]:
    """Claim the bytes of each picture for its product.

    Gives the labels whose bytes another image has, and, for the labels that repeat one
    of `pictures`, the label of the first.
    """
    keys = {
        label: content_key(image.product_serial, hashlib.sha256(data).hexdigest())
        for label, (image, data) in pictures.items()
    }
    firsts: dict[str, int] = {}
    for label, key in keys.items():
        firsts.setdefault(key, label)
    held = catalog().contents.take(firsts)
    lost = {label for label, key in keys.items() if key in held}
    twins = {
        label: firsts[key]
        for label, key in keys.items()
        if firsts[key] != label and key not in held
    }
    return lost, twins
