"""Models of the answers, for the reference, and for tests to compare answers with.

Handlers return plain dictionaries; nothing here runs while a call is answered.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Moment = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        json_schema_extra={"format": "date-time"},
        description="ISO 8601 in UTC.",
    ),
]
NextCursor = Annotated[
    str | None, Field(description="The cursor of the next page, null at the end.")
]
Count = Annotated[int, Field(ge=0)]
AsSent = Annotated[Any, Field(description="As it was sent, null where it was not.")]
Message = Annotated[str, Field(description="The message of a code.")]


class AnswerModel(BaseModel):
    """A part of an answer: these fields, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class SystemFields(AnswerModel):
    """The fields of every answer."""

    code: str = Field(description="The system code; 10000: the call was handled, see result.")
    charge: Literal[False]
    remain_times: int = Field(
        alias="remainTimes", description="What is left of the day's quota, -1 where there is none."
    )
    remain_seconds: Literal[-1] = Field(alias="remainSeconds")
    msg: str = Field(description="The meaning of the system code.")


class NotServed(SystemFields):
    """The answer to a call that was not handled."""


class Handled(SystemFields):
    """The answer to a call that was handled."""

    code: Literal["10000"]
    result: dict[str, Any]


class Refusal(AnswerModel):
    """The result of an operation that was refused as a whole."""

    code: int
    message: Message


class Success(AnswerModel):
    """The result of an operation that was done."""

    code: Literal[0]
    message: Literal["SUCCESS"]


class FailedProduct(AnswerModel):
    """A product that failed, and why."""

    product_id: AsSent
    message: Message


class ProductsAnswer(Success):
    """The products that were done, and those that failed."""

    successful_list: list[str]
    failed_list: list[FailedProduct]


class FailedNewImage(AnswerModel):
    """An image that was not taken, with all of its faults."""

    image_id: AsSent
    product_id: AsSent
    message: list[Message] = Field(min_length=1)


class AddImageAnswer(Success):
    """The task that does the rest, and the images that are not in it."""

    task_id: str = Field(examples=["default/XX小店/1581417512.274598"])
    failed_list: list[FailedNewImage]


class AddImageRefusal(Refusal):
    """A refusal; if no image was valid, with the faults of each."""

    failed_list: list[FailedNewImage] = []


class ImageName(AnswerModel):
    """An image by its names."""

    product_id: str
    image_id: str


class EndedImage(ImageName):
    """An image that failed, and why."""

    message: Message


class TaskStatusAnswer(Success):
    """The images of the task by state; the three lists together are all that it took."""

    task_status: Literal["PROCESSING", "FINISHED"]
    succeeded_list: list[ImageName]
    failed_list: list[EndedImage]
    pending_list: list[ImageName]


class Box(AnswerModel):
    """A box in pixels of the picture as a viewer sees it; right and bottom lie outside of it."""

    left: Count
    top: Count
    right: Count
    bottom: Count


class FoundImage(AnswerModel):
    """An image that was found."""

    product_id: str
    product_name: str
    image_id: str
    image_info: str
    info: str = Field(description="The image_info once more, for old clients.")
    similarity: float = Field(ge=-1, le=1.001, description="The cosine of the two features.")


class ProductSearchAnswer(Success):
    """The boxes of the picture, best first, and the images by falling similarity."""

    rectangle: list[Box] = Field(min_length=1)
    images: list[FoundImage]


class ImageOfProduct(AnswerModel):
    """An ingested image."""

    image_id: str
    image_info: str


class ImageInfoAnswer(Success):
    """The ingested images of a product, oldest first."""

    image_list: list[ImageOfProduct]


class FailedDeletion(AnswerModel):
    """An image that was not deleted, and why."""

    product_id: AsSent
    image_id: AsSent
    message: Message


class DeleteImageAnswer(Success):
    """The images that were deleted, and those that were not."""

    successful_list: list[ImageName]
    failed_list: list[FailedDeletion]


class DeleteImageRefusal(Refusal):
    """A refusal; if no item was valid, with the fault of each."""

    failed_list: list[FailedDeletion] = []


class ListedCollection(AnswerModel):
    """A collection, with what it holds."""

    collection_name: str
    product_count: Count
    image_count: Count
    created_at: Moment


class ListCollectionsAnswer(Success):
    """A page of the collections, by name."""

    collection_list: list[ListedCollection]
    next_cursor: NextCursor


class ListedProduct(AnswerModel):
    """A product, with how many images it has."""

    product_id: str
    product_name: str
    category: str
    image_count: Count


class ListProductsAnswer(Success):
    """A page of the products, oldest first."""

    product_list: list[ListedProduct]
    next_cursor: NextCursor


class ListedTask(AnswerModel):
    """A task, with the number of its images in each state."""

    task_id: str
    task_status: Literal["PROCESSING", "FINISHED"]
    succeeded: Count
    failed: Count
    pending: Count
    created_at: Moment
    finished_at: Moment | None


class ListTasksAnswer(Success):
    """A page of the tasks, newest first."""

    task_list: list[ListedTask]
    next_cursor: NextCursor
