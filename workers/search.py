"""The search queue: a picture in, its boxes and the nearest images out."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import structlog
from celery.signals import worker_process_init
from numpy.typing import NDArray
from PIL import Image

from broker.availability import UNREACHABLE
from broker.celery_app import app
from broker.queues import SEARCH, task_name
from broker.search_exchange import Query
from catalog.rows.images import ImageRow
from catalog.rows.products import FOUND_FIELDS
from config.settings import settings
from contract.errors import (
    ContractError,
    InvalidParameterJson,
    NoMatchedProduct,
    NoRelativeCollection,
    SearchProductImageError,
)
from download.client import TransientFetchError, fetch
from vision.box import Box
from vision.picture import seen_size
from workers.index_process.neighbours import NoReplyError, ask_neighbours
from workers.support.decoding import decode_picture
from workers.support.geometry import QueryGeometry, prepare_geometry
from workers.support.model import ModelNotLoadedError, load_model, pipeline
from workers.support.ranking import SPARE, Found, candidates, ranked
from workers.support.resources import catalog, exchange, query_fetch_policy

log = structlog.get_logger(__name__)


@worker_process_init.connect
def _prepare(**_: Any) -> None:
    load_model()
    prepare_geometry()


@app.task(name=task_name(SEARCH))
def search(query_id: str) -> None:
    """Answer the query that was stored under `query_id`, unless it has expired."""
    question = exchange().take(query_id)
    if question is None:
        log.info("query expired, not answered", query=query_id)
        return
    deadline = time.monotonic() + question.seconds_left
    query = Query.unpack(question.fields)
    with structlog.contextvars.bound_contextvars(request_id=query.request_id):
        exchange().reply(query_id, _answer(query_id, query, deadline))


def _answer(query_id: str, query: Query, deadline: float) -> dict[str, Any]:
    try:
        return _search(query_id, query, deadline)
    except ContractError as fault:
        return {"fault": fault.message, "detail": fault.detail}
    except (*UNREACHABLE, NoReplyError) as error:
        log.warning("search ended, a dependency can't be used", fault=repr(error))
        return {"busy": True}
    except ModelNotLoadedError as error:
        log.error("search can't be answered", reason=str(error))
        return {"busy": True}
    except Exception:
        log.exception("search failed")
        return {"fault": SearchProductImageError.message}


def _search(query_id: str, query: Query, deadline: float) -> dict[str, Any]:
    picture = decode_picture(_bytes(query))
    chosen = pipeline(query.model_id)
    given = _given_box(query, picture)
    searched = picture
    if given is not None:
        searched = picture.crop((given.left, given.top, given.right, given.bottom))
    geometry = QueryGeometry(searched) if settings().geometry else None
    boxes, parts = chosen.describe_query(picture, settings().boxes_searched, given)
    rectangles = [box.scaled(picture.size, seen_size(picture)) for box in boxes]
    near = _nearest(query_id, query, chosen.model_id, parts.features, deadline=deadline)
    best = boxes[0] if given is None else Box(0, 0, *searched.size)
    found = ranked(near, chosen, parts, geometry, best, deadline)
    if query.group_by_product:
        found = _best_of_each(found)
    return {
        "rectangle": [
            {"left": box.left, "top": box.top, "right": box.right, "bottom": box.bottom}
            for box in rectangles
        ],
        "images": [
            {
                **{name: getattr(one.image, name) for name in FOUND_FIELDS},
                "image_id": one.image.image_id,
                "image_info": one.image.image_info,
                "info": one.image.image_info,
                "similarity": round(one.similarity, 6),
                "cosine": round(one.cosine, 6),
                "inliers": one.inliers,
            }
            for one in found[: query.topk]
        ],
    }


def _given_box(query: Query, picture: Image.Image) -> Box | None:
    """Return the box that the client chose, or None.

    The client means the picture as it is seen, which may have been scaled down since. Raises
    InvalidParameterJson if the box exceeds that.
    """
    if query.box is None:
        return None
    box, (width, height) = Box(*query.box), seen_size(picture)
    if box.right > width or box.bottom > height:
        size = f"{width} x {height} pixels"
        raise InvalidParameterJson(detail=f"rectangle exceeds the picture, which has {size}")
    return box.scaled((width, height), picture.size)


def _bytes(query: Query) -> bytes:
    if query.url is None:
        return query.picture
    policy = query_fetch_policy()
    try:
        return fetch(query.url, policy, time.monotonic() + policy.total_seconds)
    except TransientFetchError as error:
        # A query is not tried again later.
        raise error.fault from error


def _nearest(
    query_id: str, query: Query, model_id: str, features: NDArray[np.float32], deadline: float
) -> list[tuple[ImageRow, float]]:
    """Return findable images, nearest first: enough for topk, and to compare them more closely.

    Asks for more neighbours if deleted images or further ones of a product shorten the list. Raises
    NoMatchedProduct if no image can be found at all, NoRelativeCollection if the collection was
    deleted before its rows were read.
    """
    wanted = max(query.topk, candidates()) + SPARE
    while True:
        near = ask_neighbours(
            f"{query_id}.{wanted}",
            query.generation,
            query.category,
            model_id=model_id,
            vectors=features,
            k=wanted,
            deadline=deadline,
        )
        rows = catalog().images.find([label for label, _ in near])
        found = [
            (rows[label], cosine)
            for label, cosine in near
            if label in rows and _matches(rows[label], query)
        ]
        products = {image.product_serial for image, _ in found}
        listed = products if query.group_by_product else found
        is_enough = len(listed) >= query.topk and len(found) >= candidates()
        exhausted = len(near) < wanted or near[-1][1] < query.min_similarity
        if is_enough or exhausted:
            break
        wanted *= 2
    if not found:
        raise NoMatchedProduct
    # A deleted collection keeps its rows for a while, so this is checked after they were read.
    if not catalog().collections.is_alive(found[0][0].collection, query.generation):
        raise NoRelativeCollection
    return [pair for pair in found if pair[1] >= query.min_similarity]


def _best_of_each(found: list[Found]) -> list[Found]:
    """Return the first image of each product; `found` falls by similarity."""
    best: dict[int, Found] = {}
    for one in found:
        best.setdefault(one.image.product_serial, one)
    return list(best.values())


def _matches(image: ImageRow, query: Query) -> bool:
    return (
        image.is_findable
        and image.generation == query.generation
        and query.category in (None, image.category)
    )
