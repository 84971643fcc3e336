"""product_search: hands the picture to a search worker and waits for its answer."""

from __future__ import annotations

import time
import uuid
from typing import Any

from pydantic import Field, model_validator

from app.http.envelope import Busy
from app.http.fields import (
    Category,
    CollectionName,
    Flag,
    ImageContent,
    Pixel,
    RequestModel,
    Similarity,
    TopK,
    parse,
)
from app.http.image_content import read_content
from app.operations.answers import AnswerModel, Count, Success
from app.operations.base import CONTENT_FAULTS, Call, Operation
from app.operations.examples import COLLECTION, PICTURE, Example, success
from app.operations.product_fields import EXAMPLE, FoundProduct
from app.services import Services
from broker.availability import BrokerUnreachableError
from broker.messages import send_search
from broker.search_exchange import Query
from contract import errors
from contract.errors import BY_MESSAGE


class Rectangle(RequestModel):
    """A box in pixels of the picture as a viewer sees it; right and bottom lie outside of it."""

    left: Pixel
    top: Pixel
    right: Pixel
    bottom: Pixel

    @model_validator(mode="after")
    def _has_an_inside(self) -> Rectangle:
        if self.left >= self.right or self.top >= self.bottom:
            raise ValueError("nothing is inside")
        return self


class ProductSearchRequest(RequestModel):
    """A call of product_search."""

    collection_name: CollectionName
    image_content: ImageContent
    category: Category | None = None
    topk: TopK | None = None
    rectangle: Rectangle | None = None
    min_similarity: Similarity = -1.0
    group_by_product: Flag = False


class Box(AnswerModel):
    """A box in pixels of the picture as a viewer sees it; right and bottom lie outside of it."""

    left: Count
    top: Count
    right: Count
    bottom: Count


class FoundImage(FoundProduct):
    """An image that was found."""

    image_id: str
    image_info: str
    info: str = Field(description="The image_info once more, for old clients.")
    similarity: float = Field(
        ge=-1,
        le=1.001,
        description="The cosine of the two best features, raised towards 1 by the inliers, and to"
        " that of any image that follows.",
    )
    cosine: float = Field(
        ge=-1, le=1.001, description="The cosine of the two features, which min_similarity judges."
    )
    inliers: int = Field(
        ge=0,
        description="How many local features (corners, print) of both pictures are alike and agree"
        " in their places, in the best box of the query or, two at most, elsewhere; 0 if none do or"
        " none were compared.",
    )


class ProductSearchAnswer(Success):
    """The boxes of the picture, best first, and the images by falling similarity."""

    rectangle: list[Box] = Field(min_length=1)
    images: list[FoundImage]


def product_search(services: Services, call: Call) -> dict[str, Any]:
    """Find the product images nearest to a picture."""
    settings = services.settings
    request = parse(ProductSearchRequest, call.body, settings)
    topk = settings.topk_default if request.topk is None else request.topk
    if topk > settings.topk_limit:
        raise errors.SearchTopkExceedLimit
    collection = services.collection(call.user, request.collection_name)
    content = read_content(request.image_content, services.picture_limits, services.fetch_policy)
    box = request.rectangle
    if not services.searches.acquire(blocking=False):
        raise Busy("too many searches wait")
    try:
        answer = _ask(
            services,
            Query(
                picture=content.payload or b"",
                url=content.url,
                generation=collection.generation,
                category=request.category,
                topk=topk,
                box=None if box is None else (box.left, box.top, box.right, box.bottom),
                min_similarity=request.min_similarity,
                group_by_product=request.group_by_product,
                request_id=call.request_id,
                model_id=collection.model_id,
            ),
        )
    finally:
        services.searches.release()
    if "fault" in answer:
        fault = BY_MESSAGE[answer["fault"]]
        # A picture in which the model sees nothing matches nothing; the contract has no other
        # number for it.
        raised = errors.NoMatchedProduct if fault is errors.NoAvailableFeature else fault
        # A worker of an older release sends no detail.
        raise raised(detail=answer.get("detail", ""))
    return {"rectangle": answer["rectangle"], "images": answer["images"]}


def _ask(services: Services, query: Query) -> dict[str, Any]:
    query_id = uuid.uuid4().hex
    seconds = services.settings.search_seconds
    deadline = time.monotonic() + seconds
    try:
        services.exchange.leave(query_id, query.pack(), seconds)
        send_search(query_id)
        answer = services.exchange.wait(query_id, deadline - time.monotonic())
        services.exchange.forget(query_id)
    except BrokerUnreachableError as error:
        raise Busy("the broker can't be reached") from error
    if answer is None or "busy" in answer:
        raise Busy("no search worker answered in time")
    return answer


OPERATIONS = (
    Operation(
        name="product_search",
        handler=product_search,
        path_of_old_clients="product_image_search",
        request=ProductSearchRequest,
        answer=ProductSearchAnswer,
        example=Example(
            {
                "collection_name": COLLECTION,
                "image_content": PICTURE,
                "category": EXAMPLE["category"],
                "topk": 5,
                "rectangle": {"left": 40, "top": 60, "right": 160, "bottom": 150},
                "min_similarity": 0.2,
                "group_by_product": True,
            },
            success(
                rectangle=[{"left": 40, "top": 60, "right": 160, "bottom": 150}],
                images=[
                    {
                        **{name: EXAMPLE[name] for name in FoundProduct.model_fields},
                        "image_id": "front",
                        "image_info": "studio",
                        "info": "studio",
                        "similarity": 0.981245,
                        "cosine": 0.937483,
                        "inliers": 17,
                    }
                ],
            ),
        ),
        codes=(
            errors.InvalidCollectionName,
            errors.InvalidImageContent,
            errors.InvalidProductCategory,
            errors.InvalidSearchTopk,
            errors.SearchTopkExceedLimit,
            errors.InvalidParameterJson,
            errors.NoRelativeCollection,
            *CONTENT_FAULTS,
            errors.NoMatchedProduct,
        ),
        fault=errors.SearchProductImageError,
    ),
)
