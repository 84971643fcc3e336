"""The table of business codes: one class for each row of the contract.

Every part of the service names a fault by its class here; `app.http.envelope` turns an error into
an HTTP answer.
"""

from __future__ import annotations

from typing import ClassVar


class ContractError(Exception):
    """A fault that is reported to a client by the code and the message of its class."""

    code: ClassVar[int | None]
    message: ClassVar[str]

    #: All subclasses, in the order of their definition.
    registered: ClassVar[list[type[ContractError]]] = []

    def __init_subclass__(cls, code: int | None, message: str) -> None:
        cls.code, cls.message = code, message
        ContractError.registered.append(cls)

    #: What a client is told besides the message, "" if nothing; see `contract.causes`.
    detail: str = ""
    #: Whether the same call may succeed later.
    is_retryable: bool = False

    def __init__(self, log_detail: str = "") -> None:
        """Take a detail for the log; `contract.causes` has what clients get."""
        super().__init__(log_detail or self.message)


class TaskNotExist(ContractError, code=1004, message="TASK_NOT_EXIST"):
    """The task does not exist, or is another user's."""


class NoRelativeCollection(ContractError, code=1030, message="NO_RELATIVE_COLLECTION"):
    """There is no such collection."""


class NoRelativeImage(ContractError, code=1031, message="NO_RELATIVE_IMAGE"):
    """There is no such image, or it was deleted."""


class RepeatImageNameInDb(ContractError, code=1032, message="REPEAT_IMAGE_NAME_IN_DB"):
    """The collection has an image with this image_id, or a pending one."""


class RepeatImageNameInParam(ContractError, code=1033, message="REPEAT_IMAGE_NAME_IN_PARAM"):
    """The list names this image_id a second time."""


class InvalidParamTopK(ContractError, code=2001, message="INVALID_PARAM_TOP_K"):
    """Kept from the older sibling of the service; never answered."""


class ImageTooSmall(ContractError, code=2005, message="IMAGE_TOO_SMALL"):
    """The picture has too few pixels on a side."""


class BrokenBase64OrUrl(ContractError, code=2006, message="BROKEN_BASE64_OR_URL"):
    """Neither a URL that can be fetched nor Base64 that decodes."""


class ImageTooLarge(ContractError, code=2007, message="IMAGE_TOO_LARGE"):
    """The picture has too many pixels on a side."""


class InvalidDocs(ContractError, code=2008, message="INVALID_DOCS"):
    """Kept from the older sibling of the service; never answered."""


class InvalidCollectionName(ContractError, code=2010, message="INVALID_COLLECTION_NAME"):
    """The collection_name is missing or not valid."""


class InvalidImageInfoOld(ContractError, code=2011, message="INVALID_IMAGE_INFO"):
    """Kept from the seed's table; the operations answer 3015."""


class CollectionCountExceedsLimit(
    ContractError, code=2013, message="COLLECTION_COUNT_EXCEEDS_LIMIT"
):
    """The user has as many collections as allowed."""


class InvalidProductList(ContractError, code=3000, message="INVALID_PRODUCT_LIST"):
    """The list of products is not a list."""


class ProductEmpty(ContractError, code=3001, message="PRODUCT_EMPTY"):
    """The list of products is empty."""


class DuplicateProduct(ContractError, code=3002, message="DUPLICATE_PRODUCT"):
    """The list names this product a second time."""


class InvalidProductId(ContractError, code=3003, message="INVALID_PRODUCT_ID"):
    """The product_id is missing or not valid."""


class InvalidProductName(ContractError, code=3004, message="INVALID_PRODUCT_NAME"):
    """The product_name is missing or not valid."""


class InvalidProductCategory(ContractError, code=3005, message="INVALID_PRODUCT_CATEGORY"):
    """The category is missing or not one of the list."""


class ExistingProduct(ContractError, code=3006, message="EXISTING_PRODUCT"):
    """The collection has this product already."""


class NotExistingProduct(ContractError, code=3007, message="NOT_EXISTING_PRODUCT"):
    """There is no such product."""


class InsertProductError(ContractError, code=3008, message="INSERT_PRODUCT_ERROR"):
    """The product could not be written."""


class NoMatchedProduct(ContractError, code=3009, message="NO_MATCHED_PRODUCT"):
    """Nothing can be found in the collection, or in the category."""


class InvalidImageList(ContractError, code=3010, message="INVALID_IMAGE_LIST"):
    """The list of images is not a list."""


class EmptyImageList(ContractError, code=3011, message="EMPTY_IMAGE_LIST"):
    """The list of images is empty."""


class DuplicateImage(ContractError, code=3012, message="DUPLICATE_IMAGE"):
    """The same bytes are an image of this product already."""


class InvalidImageId(ContractError, code=3013, message="INVALID_IMAGE_ID"):
    """The image_id is missing or not valid."""


class InvalidImageContent(ContractError, code=3014, message="INVALID_IMAGE_CONTENT"):
    """The image_content is missing, or does not decode."""


class InvalidImageInfo(ContractError, code=3015, message="INVALID_IMAGE_INFO"):
    """The image_info is not a string, or too long."""


class ImageNumExceedTotalLimit(ContractError, code=3016, message="IMAGE_NUM_EXCEED_TOTAL_LIMIT"):
    """More images in one call than allowed."""


class ImageNumExceedPerProductLimit(
    ContractError, code=3017, message="IMAGE_NUM_EXCEED_PER_PRODUCT_LIMIT"
):
    """The product has as many images as allowed."""


class InsertImageError(ContractError, code=3018, message="INSERT_IMAGE_ERROR"):
    """An internal fault, after all retries."""


class NoInvalidImage(ContractError, code=3019, message="NO_INVALID_IMAGE"):
    """None of the images was valid (the seed's wording is kept)."""


class InvalidUserId(ContractError, code=3020, message="INVALID_USER_ID"):
    """The key is valid, but its user's record is gone or malformed."""


class InvalidTaskId(ContractError, code=3021, message="INVALID_TASK_ID"):
    """The task_id is malformed."""


class QueryTaskStatusError(ContractError, code=3030, message="QUERY_TASK_STATUS_ERROR"):
    """The status could not be read."""


class SearchProductImageError(ContractError, code=3031, message="SEARCH_PRODUCT_IMAGE_ERROR"):
    """An internal fault during a search."""


class DeleteImageError(ContractError, code=3031, message="DELETE_IMAGE_ERROR"):
    """An internal fault during a deletion."""


class QueryImageInfoError(ContractError, code=3033, message="QUERY_IMAGE_INFO_ERROR"):
    """An internal fault while reading the images of a product."""


class DeleteCollectionError(ContractError, code=3034, message="DELETE_COLLECTION_ERROR"):
    """An internal fault while deleting a collection."""


class InvalidSearchTopk(ContractError, code=3040, message="INVALID_SEARCH_TOPK"):
    """The topk is not an integer, or under 1."""


class SearchTopkExceedLimit(ContractError, code=3041, message="SEARCH_TOPK_EXCEED_LIMIT"):
    """The topk is over the limit."""


class InvalidImageIdList(ContractError, code=3050, message="INVALID_IMAGE_ID_LIST"):
    """The list of images to delete is not a list."""


class EmptyImageIdList(ContractError, code=3051, message="EMPTY_IMAGE_ID_LIST"):
    """The list of images to delete is empty."""


class DuplicateImageId(ContractError, code=3052, message="DUPLICATE_IMAGE_ID"):
    """The list names this image a second time."""


class NoInvalidImageId(ContractError, code=3053, message="NO_INVALID_IMAGE_ID"):
    """None of the images to delete was valid (the seed's wording is kept)."""


class NotSupportImage(ContractError, code=3054, message="NOT_SUPPORT_IMAGE"):
    """Neither JPEG nor PNG, nor of WebP, AVIF, BMP, GIF, TIFF and HEIC what the settings name."""


class ProductNumExceedLimit(ContractError, code=3055, message="PRODUCT_NUM_EXCEED_LIMIT"):
    """More products than a call or a collection may have."""


class ImageSizeExceedLimit(ContractError, code=3056, message="IMAGE_SIZE_EXCEED_LIMIT"):
    """More bytes than a picture or a request body may have."""


class InternalServerError(ContractError, code=5000, message="INTERNAL_SERVER_ERROR"):
    """An internal fault in an operation that has no code of its own."""


class InvalidParameterJson(ContractError, code=5001, message="INVALID_PARAMETER_JSON"):
    """The body is not a JSON object, or a field that has no code of its own is not valid."""


class NoAvailableFeature(ContractError, code=None, message="NO_AVAILABLE_FEATURE"):
    """The model made no usable vector; the contract gives this fault no number."""


#: Every row of the table, in the contract's order, which is that of the classes above.
TABLE: tuple[type[ContractError], ...] = tuple(ContractError.registered)

#: The class of each message, for the outcomes of images. INVALID_IMAGE_INFO is in the table
#: twice; here it is the class that the operations answer (3015).
BY_MESSAGE: dict[str, type[ContractError]] = {
    error.message: error for error in TABLE if error is not InvalidImageInfoOld
}
