"""add_image: checks the images of a call, writes the valid ones as a task, and answers at once.

What needs DNS, a download or a model is checked later, by the workers.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from pydantic import Field

from app.http.details import detail_of
from app.http.envelope import Busy, Refused
from app.http.fields import (
    CollectionName,
    ImageContent,
    ImageInfo,
    Items,
    ItemsOf,
    RequestModel,
    judge,
    parse,
)
from app.http.image_content import Content, read_content
from app.operations.answers import AnswerModel, AsSent, Detail, Message, Refusal, Success
from app.operations.base import CONTENT_FAULTS, KEY_CHARACTERS, Call, Operation
from app.operations.examples import COLLECTION, PICTURE, TASK_ID, Example, success
from app.operations.image_names import EXAMPLE, NAME_FAULTS, ImageIdItem, raw_names
from app.services import Services
from broker.messages import send_chunks
from catalog.flows.follow_up import follow_up
from catalog.flows.submission import (
    Draft,
    NewImage,
    SubmissionCutOffError,
    Written,
    abandon,
    begin,
    fail_vanished,
    open_task,
    roll_back,
    undecided,
    write,
)
from catalog.rows.claims import name_key
from catalog.rows.collections import CollectionRow
from catalog.rows.idempotency_keys import KeyRow
from catalog.rows.products import ProductRow, image_limit
from catalog.rows.tasks import TaskRow
from catalog.store import Catalog
from contract import causes, errors
from contract.errors import ContractError

log = structlog.get_logger(__name__)

#: How long a call waits for another that holds the same names, and pauses between checks.
DECISION_SECONDS = 2.0
DECISION_PAUSE = 0.1


class NewImageItem(ImageIdItem):
    """An item of image_list."""

    image_content: ImageContent
    image_info: ImageInfo | None = None


class AddImageRequest(RequestModel):
    """A call of add_image."""

    collection_name: CollectionName
    image_list: Annotated[Items, ItemsOf(NewImageItem, "images_per_call")]


class FailedNewImage(AnswerModel):
    """An image that was not taken, with all of its faults."""

    image_id: AsSent
    product_id: AsSent
    message: list[Message] = Field(min_length=1)
    detail: list[Detail] = Field(min_length=1, description="A sentence for each message, in order.")


class AddImageAnswer(Success):
    """The task that does the rest, and the images that are not in it."""

    task_id: str = Field(examples=[TASK_ID])
    failed_list: list[FailedNewImage]


class AddImageRefusal(Refusal):
    """A refusal; if no image was valid, with the faults of each."""

    failed_list: list[FailedNewImage] = Field(default=[])


@dataclass
class JudgedItem:
    """An item of image_list, with all of its faults."""

    raw: Any
    faults: list[ContractError]
    names: ImageIdItem | None  #: None if one of its names is not valid
    item: NewImageItem | None  #: None if one of its fields is not valid
    content: Content | None  #: None if it is absent or not valid


def add_image(services: Services, call: Call) -> dict[str, Any]:
    """Take images in as a task: answered at once, done by the workers."""
    settings = services.settings
    request = parse(AddImageRequest, call.body, settings)
    if not request.image_list:
        raise errors.EmptyImageList
    if settings.images_per_call and len(request.image_list) > settings.images_per_call:
        raise errors.ImageNumExceedTotalLimit
    if call.idempotency_key is None:
        return _take(services, call.user, request, None)
    # Checked before anything that may have changed since: a repeat gets the first answer.
    key, answer = _take_key(services, call, call.idempotency_key)
    if answer is not None:
        return answer
    try:
        return _take(services, call.user, request, key)
    except (ContractError, Refused, Busy):
        # Nothing was taken, so a repeat is checked anew.
        services.catalog.keys.give_back(key)
        raise


def _take(
    services: Services, user: str, request: AddImageRequest, key: KeyRow | None
) -> dict[str, Any]:
    """Write the valid images as a task and return the result.

    The task's id is noted in `key` before anything else is written. Raises Refused if no image is
    valid, Busy if the backlog is full or another call interferes.
    """
    settings, catalog = services.settings, services.catalog
    collection = services.collection(user, request.collection_name)
    services.backlog.check()
    judged = _judge_items(services, request.image_list)
    products = _judge_by_catalog(services, collection, judged)
    images = {
        position: NewImage(
            product_id=one.item.product_id,
            image_id=one.item.image_id,
            image_info=one.item.image_info or "",
            url=one.content.url,
            payload=one.content.payload,
        )
        for position, one in enumerate(judged)
        if one.item is not None and one.content is not None and not one.faults
    }
    if not images:
        raise Refused(errors.NoInvalidImage, failed_list=_failed_list(services, judged))
    draft = begin(catalog, collection, images, products)
    try:
        if key is not None and not catalog.keys.note(key, draft.submission.task_id):
            raise Busy("another call with this Idempotency-Key took over")
        written = write(
            catalog,
            draft,
            images_per_product=settings.images_per_product,
            chunk_images=settings.chunk_images,
        )
        _await_decision(catalog, draft, written)
        for position, fault in written.refused.items():
            judged[position].faults.append(fault())
        failed_list = _failed_list(services, judged)
        if not written.items:
            raise Refused(errors.NoInvalidImage, failed_list=failed_list)
    except Exception:
        # If this fails too, the sweep undoes it later.
        abandon(catalog, draft.submission)
        raise
    task = _open(catalog, draft, written, failed_list if key else [])
    # From here on the task is the answer, whatever fails.
    with follow_up("add_image"):
        catalog.chunks.mark_sent(written.chunks)
        send_chunks(catalog, written.chunks)
    with follow_up("add_image"):
        fail_vanished(catalog, draft, written)
    return {"task_id": task.task_id, "failed_list": failed_list}


def _open(
    catalog: Catalog, draft: Draft, written: Written, refusals: list[dict[str, Any]]
) -> TaskRow:
    """Open a submission as a task and return it.

    If it did not become one, raises Busy or what the database raises.
    """
    try:
        return open_task(catalog, draft, written, refusals)
    except SubmissionCutOffError as error:
        raise Busy("the submission took too long and was undone") from error
    except Exception:
        task = abandon(catalog, draft.submission)
        if task is None:
            raise
        # Most likely MongoDB's answer was lost; the traceback tells of anything else.
        log.warning("a task was opened though its opening failed", exc_info=True)
        return task


def _await_decision(catalog: Catalog, draft: Draft, written: Written) -> None:
    """Wait until it is certain that the names which are taken stay so. Raises Busy if that lasts.

    A client that got no answer and repeats its call must not be told that its images are there, if
    the first call was cut off and is about to be undone.
    """
    taken = [p for p, fault in written.refused.items() if fault is errors.RepeatImageNameInDb]
    deadline = time.monotonic() + DECISION_SECONDS
    while taken and undecided(catalog, draft, taken):
        if time.monotonic() > deadline:
            raise Busy("a name is held by a submission that was not answered")
        time.sleep(DECISION_PAUSE)


def _take_key(services: Services, call: Call, text: str) -> tuple[KeyRow, dict[str, Any] | None]:
    """Return the row of an idempotency key, and the answer that was given with it, or None.

    Without an answer, the call holds the key and is to do its work. Raises Busy while another call
    does, InvalidParameterJson for a malformed key or one used with another body.
    """
    if not (0 < len(text) <= KEY_CHARACTERS and text.isascii() and text.isprintable()):
        raise errors.InvalidParameterJson(
            detail=f"Idempotency-Key must be 1 to {KEY_CHARACTERS} printable characters of ASCII"
        )
    catalog = services.catalog
    body = hashlib.sha256(json.dumps(call.body, sort_keys=True).encode()).hexdigest()
    key, is_new = catalog.keys.take(call.user, text, body)
    if key.body != body:
        raise errors.InvalidParameterJson(
            detail="this Idempotency-Key was used with another body; send each body with its own"
        )
    if is_new:
        return key, None
    # The submission is read first: if it is opened between the two reads, the task is found.
    submission = key.task_id and catalog.tasks.submission(key.task_id)
    task = key.task_id and catalog.tasks.find(key.task_id)
    if task:
        return key, {"task_id": task.task_id, "failed_list": list(task.refusals)}
    if not key.is_overdue and (submission or not key.task_id):
        raise Busy("a call with this Idempotency-Key is under way")
    if submission and not roll_back(catalog, submission):
        raise Busy("the submission of this Idempotency-Key is just being opened or undone")
    retaken = catalog.keys.retake(key)
    if retaken is None:
        raise Busy("another call with this Idempotency-Key took over")
    return retaken, None


def _failed_list(services: Services, judged: list[JudgedItem]) -> list[dict[str, Any]]:
    failed = []
    for one in judged:
        told: dict[str, str] = {}
        for fault in one.faults:
            told.setdefault(fault.message, detail_of(fault, services.settings))
        if told:
            failed.append({**raw_names(one.raw), "message": [*told], "detail": [*told.values()]})
    return failed


def _judge_items(services: Services, raw_items: list[Any]) -> list[JudgedItem]:
    """Check each item: its fields, its content, and whether its image_id is repeated."""
    judged: list[JudgedItem] = []
    seen: set[str] = set()
    for raw in raw_items:
        one = _judge_item(services, raw)
        image_id = raw_names(raw)["image_id"]
        if isinstance(image_id, str):
            if image_id in seen:
                one.faults.append(errors.RepeatImageNameInParam())
            seen.add(image_id)
        judged.append(one)
    return judged


def _judge_item(services: Services, raw: Any) -> JudgedItem:
    """Check fields and content of an item, each even if the other is not valid."""
    item, faults = judge(NewImageItem, raw, services.settings)
    names = item or judge(ImageIdItem, raw, services.settings)[0]
    text = raw.get("image_content") if isinstance(raw, dict) else None
    content = None
    if isinstance(text, str) and text:
        try:
            content = read_content(text, services.picture_limits, services.fetch_policy)
        except ContractError as fault:
            faults.append(fault)
    return JudgedItem(raw=raw, faults=faults, names=names, item=item, content=content)


def _judge_by_catalog(
    services: Services, collection: CollectionRow, judged: list[JudgedItem]
) -> dict[str, ProductRow]:
    """Add the faults that only the catalogue shows; return the existing products by id.

    Names and product slots are claimed later, where two calls at once can't both have them; here an
    image that fails anyway gets all of its faults.
    """
    catalog, limit = services.catalog, image_limit(services.settings.images_per_product)
    named = [(one, one.names) for one in judged if one.names is not None]
    products = catalog.products.find(
        collection.generation, {names.product_id for _, names in named}
    )
    for one, names in named:
        product = products.get(names.product_id)
        if product is None:
            one.faults.append(errors.NotExistingProduct())
        elif product.image_count >= limit:
            one.faults.append(errors.ImageNumExceedPerProductLimit())
    keys = [(one, name_key(collection.generation, names.image_id)) for one, names in named]
    held = catalog.names.holders([key for one, key in keys if one.faults])
    for one, key in keys:
        is_repeated = any(isinstance(f, errors.RepeatImageNameInParam) for f in one.faults)
        if key in held and not is_repeated:
            one.faults.append(errors.RepeatImageNameInDb())
    return products


OPERATIONS = (
    Operation(
        name="add_image",
        handler=add_image,
        path_of_old_clients="product_image_add",
        takes_key=True,
        request=AddImageRequest,
        answer=AddImageAnswer,
        refusal=AddImageRefusal,
        example=Example(
            {
                "collection_name": COLLECTION,
                "image_list": [
                    {**EXAMPLE, "image_content": PICTURE, "image_info": "studio"},
                    {
                        "product_id": "boot-9",
                        "image_id": "side",
                        "image_content": "ftp://x/side.jpg",
                    },
                ],
            },
            success(
                task_id=TASK_ID,
                failed_list=[
                    {
                        "image_id": "side",
                        "product_id": "boot-9",
                        "message": ["BROKEN_BASE64_OR_URL", "NOT_EXISTING_PRODUCT"],
                        "detail": [causes.URL_SCHEME.sentence, errors.NotExistingProduct.sentence],
                    }
                ],
            ),
        ),
        codes=(
            errors.InvalidCollectionName,
            errors.InvalidParameterJson,
            errors.InvalidImageList,
            errors.EmptyImageList,
            errors.ImageNumExceedTotalLimit,
            errors.NoRelativeCollection,
            errors.NoInvalidImage,
        ),
        item_codes=(
            *NAME_FAULTS,
            errors.InvalidImageContent,
            errors.InvalidImageInfo,
            *CONTENT_FAULTS,
            errors.RepeatImageNameInParam,
            errors.NotExistingProduct,
            errors.ImageNumExceedPerProductLimit,
            errors.RepeatImageNameInDb,
        ),
        fault=errors.InsertImageError,
    ),
)
