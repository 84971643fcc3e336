"""The vision stage: files in, vectors and kept pictures in MongoDB out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import structlog
from celery.signals import worker_process_init
from numpy.typing import NDArray
from PIL import Image

from broker.celery_app import app
from broker.queues import task_name
from catalog.flows.claiming import take_contents
from catalog.flows.reembedding import to_embed_anew
from catalog.flows.removal import clear_ended, fail_images
from catalog.rows.chunks import Chunk, Stage
from catalog.rows.claims import content_key
from catalog.rows.images import ImageRow
from config.settings import settings
from contract import causes
from contract.errors import BrokenBase64OrUrl, ContractError
from vision.picture import PictureLimits, thumbnail_jpeg
from workers.support.decoding import decode_picture
from workers.support.geometry import (
    prepare_geometry,
    stored_features,
    without_local_features,
)
from workers.support.model import ModelNotLoadedError, load_model, pipeline
from workers.support.priority import give_way
from workers.support.resources import catalog, staged_bytes
from workers.support.stage import Faults, StageTask, move_on, run_stage

log = structlog.get_logger(__name__)

#: Pause before a chunk whose model this worker lacks starts the stage again.
MODEL_PAUSE = timedelta(seconds=5)

#: Limits of a kept picture, which this service made itself.
KEPT_LIMITS = PictureLimits(max_bytes=0, min_side=1, max_side=0)


@worker_process_init.connect
def _prepare(**_: Any) -> None:
    load_model()
    prepare_geometry()
    # Searches and submissions must not wait for bulk work on the same processor.
    give_way(settings().vision_niceness)


@app.task(name=task_name(Stage.VISION), base=StageTask)
def vision(chunk_id: str, attempt: int) -> str | None:
    """Find the product in each picture of a chunk, and embed its regions."""
    return run_stage(Stage.VISION, chunk_id, attempt, _work)


def _work(chunk: Chunk) -> Faults | None:
    try:
        if chunk.model_id is None:
            return _take_in(chunk)
        _embed_anew(chunk, chunk.model_id)
    except ModelNotLoadedError as error:
        log.error("images wait for another worker", reason=str(error))
        catalog().chunks.hand_back(chunk, MODEL_PAUSE, unclean=False)
    return None


def _take_in(chunk: Chunk) -> Faults:
    images = {n: row for n, row in catalog().images.find(chunk.labels).items() if row.is_open}
    wanted = _wanted(chunk)
    lacking = _lacking(wanted, list(images))
    todo = {label: image for label, image in images.items() if label in lacking}
    files = _bytes(todo)
    if any(todo[label].url is not None for label in todo.keys() - files.keys()):
        log.info("fetched bytes are gone, chunk goes back to fetch")
        move_on(chunk, Stage.FETCH, chunk.items)
        return {}
    # A Base64 payload is removed only after its image has ended, which may have happened since the
    # rows were read. If the image is still open, its payload was never written: the submission was
    # interrupted.
    missing = catalog().images.find(list(todo.keys() - files.keys()))
    faults: dict[int, ContractError] = {
        label: causes.NEVER_CAME.fault() for label, image in missing.items() if image.is_open
    }
    repeated, twins, ended = _repeated(
        {label: (todo[label], data) for label, data in files.items()}
    )
    faults |= {label: causes.DUPLICATE.fault() for label in repeated}
    features: dict[str, dict[int, NDArray[np.float32]]] = {}
    lost: dict[str, dict[int, str]] = {}
    kept: dict[int, bytes] = {}
    local: dict[int, bytes] = {}
    for label, data in files.items():
        if label in faults or label in twins or label in ended:
            continue
        try:
            picture = decode_picture(data)
            if wanted[0] in lacking[label]:
                features.setdefault(wanted[0], {})[label] = _describe(picture, wanted[0])
        except ContractError as fault:
            faults[label] = fault
            continue
        for following in wanted[1:]:
            try:
                if following in lacking[label]:
                    features.setdefault(following, {})[label] = _describe(picture, following)
            except ContractError as fault:
                # The image can be found by the current model, so it does not fail.
                lost.setdefault(following, {})[label] = fault.message
        if settings().keep_pictures:
            kept[label] = thumbnail_jpeg(picture, settings().kept_side)
        if settings().geometry:
            local[label] = stored_features(picture)
    # The same bytes have the same fault; without a fault, they are duplicates.
    faults |= {
        label: faults.get(first) or causes.DUPLICATE.fault() for label, first in twins.items()
    }
    catalog().pictures.put(kept)
    catalog().local_features.put(local)
    for model_id, vectors in features.items():
        catalog().vectors.put(model_id, vectors)
        log.info("embedded", labels=list(vectors), model=model_id)
    for model_id, reasons in lost.items():
        catalog().losses.put(chunk.generation, model_id, reasons)
    fail_images(catalog(), faults, Stage.VISION)
    staged_bytes().remove(chunk.labels)
    move_on(chunk, Stage.INDEX, chunk.items)
    return faults


def _wanted(chunk: Chunk) -> tuple[str, ...]:
    """Return the models of which an image needs a vector, the one that is searched first.

    Empty if the collection is gone: the index stage ends the images then.
    """
    collection = catalog().collections.of_generation(chunk.collection, chunk.generation)
    if collection is None:
        return ()
    return collection.models or (pipeline().model_id,)


def _lacking(wanted: Sequence[str], labels: Sequence[int]) -> dict[int, set[str]]:
    """Return by label the models whose vector is missing; labels that lack none are left out.

    An image that was noted as lost for a coming model does not lack its vector.
    """
    present = catalog().vectors.models(labels)
    for following in wanted[1:]:
        for label in catalog().losses.among(labels, following):
            present.setdefault(label, set()).add(following)
    lacking = {label: set(wanted) - present.get(label, set()) for label in labels}
    return {label: models for label, models in lacking.items() if models}


def _describe(picture: Image.Image, model_id: str) -> NDArray[np.float32]:
    _, features = pipeline(model_id).describe(picture)
    return features


def _embed_anew(chunk: Chunk, model_id: str) -> None:
    """Embed findable images by another model, from kept pictures or fetched again."""
    todo = to_embed_anew(catalog(), chunk)
    kept = catalog().pictures.get(list(todo))
    bytes_of = kept | staged_bytes().get(
        [label for label, image in todo.items() if label not in kept and image.url is not None]
    )
    features: dict[int, NDArray[np.float32]] = {}
    lost: dict[int, str] = {}
    local: dict[int, bytes] = {}
    without = without_local_features(list(bytes_of))
    for label, data in bytes_of.items():
        try:
            # A kept picture is smaller than what was sent.
            picture = decode_picture(data, KEPT_LIMITS if label in kept else None)
            features[label] = _describe(picture, model_id)
        except ContractError as fault:
            lost[label] = fault.message
            continue
        # Images that were taken in without geometry get theirs here.
        if label in without:
            local[label] = stored_features(picture)
    absent = [label for label in todo if label not in bytes_of]
    lost |= {label: BrokenBase64OrUrl.message for label in absent if todo[label].url is None}
    catalog().local_features.put(local)
    catalog().vectors.put(model_id, features)
    catalog().losses.put(chunk.generation, model_id, lost)
    staged_bytes().remove(list(features))
    if features:
        log.info("embedded anew", labels=list(features), model=model_id)
    to_fetch = any(todo[label].url is not None for label in absent)
    move_on(chunk, Stage.FETCH if to_fetch else Stage.INDEX, chunk.items)


def _bytes(images: Mapping[int, ImageRow]) -> dict[int, bytes]:
    """Return the bytes of the images that still have them, in the order of `images`."""
    fetched = [label for label, image in images.items() if image.url is not None]
    sent = [label for label, image in images.items() if image.url is None]
    found = staged_bytes().get(fetched) | catalog().payloads.get(sent)
    return {label: found[label] for label in images if label in found}


def _repeated(
    files: Mapping[int, tuple[ImageRow, bytes]],
) -> tuple[set[int], dict[int, int], set[int]]:
    """Claim the bytes of each file for its product.

    Return the labels whose bytes another image has; the labels that repeat one of `files`, each
    with the label of the first; and the labels of images that ended meanwhile.
    """
    keys = {
        label: content_key(image.product_serial, hashlib.sha256(data).hexdigest())
        for label, (image, data) in files.items()
    }
    ended: set[int] = set()
    while True:
        firsts: dict[str, int] = {}
        for label, key in keys.items():
            firsts.setdefault(key, label)
        held = take_contents(catalog(), firsts)
        claimed = [label for key, label in firsts.items() if key not in held]
        # The end of an image is written before its claims are released, so a claim that came too
        # late for that is seen here. Another image with the same bytes may get it then.
        gone = clear_ended(catalog(), claimed)
        if not gone:
            break
        ended.update(gone)
        for label in gone:
            del keys[label]
    lost = {label for label, key in keys.items() if key in held}
    twins = {
        label: firsts[key]
        for label, key in keys.items()
        if firsts[key] != label and key not in held
    }
    return lost, twins, ended
