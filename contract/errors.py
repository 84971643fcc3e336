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

    def __init_subclass__(cls) -> None:
        ContractError.registered.append(cls)

    def __init__(self, detail: str = "") -> None:
        """Take a detail for the log; clients get only the message of the class."""
        super().__init__(detail or self.message)


class TaskNotExist(ContractError):
    """The task does not exist, or is another user's."""

    code = 1004
    message = "TASK_NOT_EXIST"


class NoRelativeCollection(ContractError):
    """There is no such collection."""

    code = 1030
    message = "NO_RELATIVE_COLLECTION"


class NoRelativeImage(ContractError):
    """There is no such image, or it was deleted."""

    code = 1031
    message = "NO_RELATIVE_IMAGE"


class RepeatImageNameInDb(ContractError):
    """The collection has an image with this image_id, or a pending one."""

    code = 1032
    message = "REPEAT_IMAGE_NAME_IN_DB"


class RepeatImageNameInParam(ContractError):
    """The list names this image_id a second time."""

    code = 1033
    message = "REPEAT_IMAGE_NAME_IN_PARAM"


class InvalidParamTopK(ContractError):
    """Kept from the older sibling of the service; never answered."""

    code = 2001
    message = "INVALID_PARAM_TOP_K"


class ImageTooSmall(ContractError):
    """The picture has too few pixels on a side."""

    code = 2005
    message = "IMAGE_TOO_SMALL"


class BrokenBase64OrUrl(ContractError):
    """Neither a URL that can be fetched nor Base64 that decodes."""

    code = 2006
    message = "BROKEN_BASE64_OR_URL"


class ImageTooLarge(ContractError):
    """The picture has too many pixels on a side."""

    code = 2007
    message = "IMAGE_TOO_LARGE"


class InvalidDocs(ContractError):
    """Kept from the older sibling of the service; never answered."""

    code = 2008
    message = "INVALID_DOCS"


class InvalidCollectionName(ContractError):
    """The collection_name is missing or not valid."""

    code = 2010
    message = "INVALID_COLLECTION_NAME"


class InvalidImageInfoOld(ContractError):
    """Kept from the seed's table; the operations answer 3015."""

    code = 2011
    message = "INVALID_IMAGE_INFO"


class CollectionCountExceedsLimit(ContractError):
    """The user has as many collections as allowed."""

    code = 2013
    message = "COLLECTION_COUNT_EXCEEDS_LIMIT"


class InvalidProductList(ContractError):
    """The list of products is not a list."""

    code = 3000
    message = "INVALID_PRODUCT_LIST"


class ProductEmpty(ContractError):
    """The list of products is empty."""

    code = 3001
    message = "PRODUCT_EMPTY"


class DuplicateProduct(ContractError):
    """The list names this product a second time."""

    code = 3002
    message = "DUPLICATE_PRODUCT"


class InvalidProductId(ContractError):
    """The product_id is missing or not valid."""

    code = 3003
    message = "INVALID_PRODUCT_ID"


class InvalidProductName(ContractError):
    """The product_name is missing or not valid."""

    code = 3004
    message = "INVALID_PRODUCT_NAME"


class InvalidProductCategory(ContractError):
    """The category is missing or not one of the list."""

    code = 3005
    message = "INVALID_PRODUCT_CATEGORY"


class ExistingProduct(ContractError):
    """The collection has this product already."""

    code = 3006
    message = "EXISTING_PRODUCT"


class NotExistingProduct(ContractError):
    """There is no such product."""

    code = 3007
    message = "NOT_EXISTING_PRODUCT"


class InsertProductError(ContractError):
    """The product could not be written."""

    code = 3008
    message = "INSERT_PRODUCT_ERROR"


class NoMatchedProduct(ContractError):
    """Nothing can be found in the collection, or in the category."""

    code = 3009
    message = "NO_MATCHED_PRODUCT"


class InvalidImageList(ContractError):
    """The list of images is not a list."""

    code = 3010
    message = "INVALID_IMAGE_LIST"


class EmptyImageList(ContractError):
    """The list of images is empty."""

    code = 3011
    message = "EMPTY_IMAGE_LIST"


class DuplicateImage(ContractError):
    """The same bytes are an image of this product already."""

    code = 3012
    message = "DUPLICATE_IMAGE"


class InvalidImageId(ContractError):
    """The image_id is missing or not valid."""

    code = 3013
    message = "INVALID_IMAGE_ID"


class InvalidImageContent(ContractError):
    """The image_content is missing, or does not decode."""

    code = 3014
    message = "INVALID_IMAGE_CONTENT"


class InvalidImageInfo(ContractError):
    """The image_info is not a string, or too long."""

    code = 3015
    message = "INVALID_IMAGE_INFO"


class ImageNumExceedTotalLimit(ContractError):
    """More images in one call than allowed."""

    code = 3016
    message = "IMAGE_NUM_EXCEED_TOTAL_LIMIT"


class ImageNumExceedPerProductLimit(ContractError):
    """The product has as many images as allowed."""

    code = 3017
    message = "IMAGE_NUM_EXCEED_PER_PRODUCT_LIMIT"


class InsertImageError(ContractError):
    """An internal fault, after all retries."""

    code = 3018
    message = "INSERT_IMAGE_ERROR"


class NoInvalidImage(ContractError):
    """None of the images was valid (the seed's wording is kept)."""

    code = 3019
    message = "NO_INVALID_IMAGE"


class InvalidUserId(ContractError):
    """The key is valid, but its user's record is gone or malformed."""

    code = 3020
    message = "INVALID_USER_ID"


class InvalidTaskId(ContractError):
    """The task_id is malformed."""

    code = 3021
    message = "INVALID_TASK_ID"


class QueryTaskStatusError(ContractError):
    """The status could not be read."""

    code = 3030
    message = "QUERY_TASK_STATUS_ERROR"


class SearchProductImageError(ContractError):
    """An internal fault during a search."""

    code = 3031
    message = "SEARCH_PRODUCT_IMAGE_ERROR"


class DeleteImageError(ContractError):
    """An internal fault during a deletion."""

    code = 3031
    message = "DELETE_IMAGE_ERROR"


class QueryImageInfoError(ContractError):
    """An internal fault while reading the images of a product."""

    code = 3033
    message = "QUERY_IMAGE_INFO_ERROR"


class DeleteCollectionError(ContractError):
    """An internal fault while deleting a collection."""

    code = 3034
    message = "DELETE_COLLECTION_ERROR"


class InvalidSearchTopk(ContractError):
    """The topk is not an integer, or under 1."""

    code = 3040
    message = "INVALID_SEARCH_TOPK"


class SearchTopkExceedLimit(ContractError):
    """The topk is over the limit."""

    code = 3041
    message = "SEARCH_TOPK_EXCEED_LIMIT"


class InvalidImageIdList(ContractError):
    """The list of images to delete is not a list."""

    code = 3050
    message = "INVALID_IMAGE_ID_LIST"


class EmptyImageIdList(ContractError):
    """The list of images to delete is empty."""

    code = 3051
    message = "EMPTY_IMAGE_ID_LIST"


class DuplicateImageId(ContractError):
    """The list names this image a second time."""

    code = 3052
    message = "DUPLICATE_IMAGE_ID"


class NoInvalidImageId(ContractError):
    """None of the images to delete was valid (the seed's wording is kept)."""

    code = 3053
    message = "NO_INVALID_IMAGE_ID"


class NotSupportImage(ContractError):
    """Neither JPEG nor PNG."""

    code = 3054
    message = "NOT_SUPPORT_IMAGE"


class ProductNumExceedLimit(ContractError):
    """More products than a call or a collection may have."""

    code = 3055
    message = "PRODUCT_NUM_EXCEED_LIMIT"


class ImageSizeExceedLimit(ContractError):
    """More bytes than a picture or a request body may have."""

    code = 3056
    message = "IMAGE_SIZE_EXCEED_LIMIT"


class InternalServerError(ContractError):
    """An internal fault in an operation that has no code of its own."""

    code = 5000
    message = "INTERNAL_SERVER_ERROR"


class InvalidParameterJson(ContractError):
    """The body is not a JSON object, or a field that has no code of its own is not valid."""

    code = 5001
    message = "INVALID_PARAMETER_JSON"


class NoAvailableFeature(ContractError):
    """The model made no usable vector; the contract gives this fault no number."""

    code = None
    message = "NO_AVAILABLE_FEATURE"


#: Every row of the table, in the contract's order, which is that of the classes above.
TABLE: tuple[type[ContractError], ...] = tuple(ContractError.registered)

#: The class of each message, for the outcomes of images. INVALID_IMAGE_INFO is in the table
#: twice; here it is the class that the operations answer (3015).
BY_MESSAGE: dict[str, type[ContractError]] = {
    error.message: error for error in TABLE if error is not InvalidImageInfoOld
}
