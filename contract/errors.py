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

    #: What a client is told besides the message: what is wrong, and what would do. A name in braces
    #: is that of the setting whose value stands there.
    sentence: ClassVar[str]
    #: What it is told instead, where more is known; see `contract.causes`.
    detail: str = ""
    #: Whether the same call may succeed later.
    is_retryable: bool = False

    def __init__(self, log_detail: str = "", *, detail: str = "") -> None:
        """Take a detail for the log, and one that clients get instead of the sentence."""
        super().__init__(log_detail or detail or self.message)
        self.detail = detail


class TaskNotExist(ContractError, code=1004, message="TASK_NOT_EXIST"):
    """The task does not exist, or is another user's."""

    sentence = (
        "no such task of yours; ended ones are deleted after a time, list_tasks has the others"
    )


class NoRelativeCollection(ContractError, code=1030, message="NO_RELATIVE_COLLECTION"):
    """There is no such collection."""

    sentence = "no such collection; create_product makes it"


class NoRelativeImage(ContractError, code=1031, message="NO_RELATIVE_IMAGE"):
    """There is no such image, or it was deleted."""

    sentence = "the product has no such image, or it was deleted"


class RepeatImageNameInDb(ContractError, code=1032, message="REPEAT_IMAGE_NAME_IN_DB"):
    """The collection has an image with this image_id, or a pending one."""

    sentence = (
        "the collection has an image of this image_id, or one on its way; delete that, or "
        "use another"
    )


class RepeatImageNameInParam(ContractError, code=1033, message="REPEAT_IMAGE_NAME_IN_PARAM"):
    """The list names this image_id a second time."""

    sentence = "the list has this image_id a second time; the first one counts"


class InvalidParamTopK(ContractError, code=2001, message="INVALID_PARAM_TOP_K"):
    """Kept from the older sibling of the service; never answered."""

    sentence = "topk is not valid"


class ImageTooSmall(ContractError, code=2005, message="IMAGE_TOO_SMALL"):
    """The picture has too few pixels on a side."""

    sentence = "a side of the picture needs {image_min_side} pixels"


class BrokenBase64OrUrl(ContractError, code=2006, message="BROKEN_BASE64_OR_URL"):
    """Neither a URL that can be fetched nor Base64 that decodes."""

    sentence = "image_content must be an http(s) URL of a public host, or Base64"


class ImageTooLarge(ContractError, code=2007, message="IMAGE_TOO_LARGE"):
    """The picture has too many pixels on a side."""

    sentence = "a side of the picture may have {image_max_side} pixels"


class InvalidDocs(ContractError, code=2008, message="INVALID_DOCS"):
    """Kept from the older sibling of the service; never answered."""

    sentence = "the documents are not valid"


class InvalidCollectionName(ContractError, code=2010, message="INVALID_COLLECTION_NAME"):
    """The collection_name is missing or not valid."""

    sentence = (
        "collection_name must be a string of 1 to {name_characters} characters, without / and "
        "control characters"
    )


class InvalidImageInfoOld(ContractError, code=2011, message="INVALID_IMAGE_INFO"):
    """Kept from the seed's table; the operations answer 3015."""

    sentence = "image_info is not valid"


class CollectionCountExceedsLimit(
    ContractError, code=2013, message="COLLECTION_COUNT_EXCEEDS_LIMIT"
):
    """The user has as many collections as allowed."""

    sentence = "a user may have {collections_per_user} collections; delete one first"


class InvalidProductList(ContractError, code=3000, message="INVALID_PRODUCT_LIST"):
    """The list of products is not a list."""

    sentence = "the products must be a JSON list"


class ProductEmpty(ContractError, code=3001, message="PRODUCT_EMPTY"):
    """The list of products is empty."""

    sentence = "the list of products is empty"


class DuplicateProduct(ContractError, code=3002, message="DUPLICATE_PRODUCT"):
    """The list names this product a second time."""

    sentence = "the list has this product_id a second time; the first one counts"


class InvalidProductId(ContractError, code=3003, message="INVALID_PRODUCT_ID"):
    """The product_id is missing or not valid."""

    sentence = (
        "product_id must be a string of 1 to {id_characters} characters, without control characters"
    )


class InvalidProductName(ContractError, code=3004, message="INVALID_PRODUCT_NAME"):
    """The product_name is missing or not valid."""

    sentence = (
        "product_name must be a string of 1 to {product_name_characters} characters, none of "
        "them a control"
    )


class InvalidProductCategory(ContractError, code=3005, message="INVALID_PRODUCT_CATEGORY"):
    """The category is missing or not one of the list."""

    sentence = "category must be one of {categories}"


class ExistingProduct(ContractError, code=3006, message="EXISTING_PRODUCT"):
    """The collection has this product already."""

    sentence = "the collection has this product already; update_product changes it"


class NotExistingProduct(ContractError, code=3007, message="NOT_EXISTING_PRODUCT"):
    """There is no such product."""

    sentence = "the collection has no such product; create_product makes it"


class InsertProductError(ContractError, code=3008, message="INSERT_PRODUCT_ERROR"):
    """The product could not be written."""

    sentence = "the product could not be written by a fault of the service; try again"


class NoMatchedProduct(ContractError, code=3009, message="NO_MATCHED_PRODUCT"):
    """Nothing can be found in the collection, or in the category."""

    sentence = "no image of the collection, or of the category, can be found yet"


class InvalidImageList(ContractError, code=3010, message="INVALID_IMAGE_LIST"):
    """The list of images is not a list."""

    sentence = "image_list must be a JSON list"


class EmptyImageList(ContractError, code=3011, message="EMPTY_IMAGE_LIST"):
    """The list of images is empty."""

    sentence = "image_list is empty"


class DuplicateImage(ContractError, code=3012, message="DUPLICATE_IMAGE"):
    """The same bytes are an image of this product already."""

    sentence = "the product has an image with the same bytes"


class InvalidImageId(ContractError, code=3013, message="INVALID_IMAGE_ID"):
    """The image_id is missing or not valid."""

    sentence = (
        "image_id must be a string of 1 to {id_characters} characters, without control characters"
    )


class InvalidImageContent(ContractError, code=3014, message="INVALID_IMAGE_CONTENT"):
    """The image_content is missing, or does not decode."""

    sentence = "image_content must be a string: an http(s) URL, or the Base64 of a picture"


class InvalidImageInfo(ContractError, code=3015, message="INVALID_IMAGE_INFO"):
    """The image_info is not a string, or too long."""

    sentence = "image_info must be a string of up to {image_info_characters} characters"


class ImageNumExceedTotalLimit(ContractError, code=3016, message="IMAGE_NUM_EXCEED_TOTAL_LIMIT"):
    """More images in one call than allowed."""

    sentence = (
        "a call may add {images_per_call} images, or delete {deletions_per_call} images; "
        "send several calls"
    )


class ImageNumExceedPerProductLimit(
    ContractError, code=3017, message="IMAGE_NUM_EXCEED_PER_PRODUCT_LIMIT"
):
    """The product has as many images as allowed."""

    sentence = "a product may have {images_per_product} images; delete one first"


class InsertImageError(ContractError, code=3018, message="INSERT_IMAGE_ERROR"):
    """An internal fault, after all retries."""

    sentence = "the image could not be written by a fault of the service; try again"


class NoInvalidImage(ContractError, code=3019, message="NO_INVALID_IMAGE"):
    """None of the images was valid (the seed's wording is kept)."""

    sentence = "no image of the list was taken; failed_list says why"


class InvalidUserId(ContractError, code=3020, message="INVALID_USER_ID"):
    """The key is valid, but its user's record is gone or malformed."""

    sentence = (
        "the key is valid, but the record of its user is gone or malformed; the operator can "
        "mend it"
    )


class InvalidTaskId(ContractError, code=3021, message="INVALID_TASK_ID"):
    """The task_id is malformed."""

    sentence = "task_id must be one that add_image answered, such as 1001/XX小店/1581417512.274598"


class QueryTaskStatusError(ContractError, code=3030, message="QUERY_TASK_STATUS_ERROR"):
    """The status could not be read."""

    sentence = "the status could not be read by a fault of the service; try again"


class SearchProductImageError(ContractError, code=3031, message="SEARCH_PRODUCT_IMAGE_ERROR"):
    """An internal fault during a search."""

    sentence = "the search failed by a fault of the service; try again"


class DeleteImageError(ContractError, code=3031, message="DELETE_IMAGE_ERROR"):
    """An internal fault during a deletion."""

    sentence = "the deletion failed by a fault of the service; try again"


class QueryImageInfoError(ContractError, code=3033, message="QUERY_IMAGE_INFO_ERROR"):
    """An internal fault while reading the images of a product."""

    sentence = "the images could not be read by a fault of the service; try again"


class DeleteCollectionError(ContractError, code=3034, message="DELETE_COLLECTION_ERROR"):
    """An internal fault while deleting a collection."""

    sentence = "the deletion failed by a fault of the service; try again"


class InvalidSearchTopk(ContractError, code=3040, message="INVALID_SEARCH_TOPK"):
    """The topk is not an integer, or under 1."""

    sentence = "topk must be an integer of 1 or more"


class SearchTopkExceedLimit(ContractError, code=3041, message="SEARCH_TOPK_EXCEED_LIMIT"):
    """The topk is over the limit."""

    sentence = "topk may be {topk_limit} at most"


class InvalidImageIdList(ContractError, code=3050, message="INVALID_IMAGE_ID_LIST"):
    """The list of images to delete is not a list."""

    sentence = "image_id_list must be a JSON list"


class EmptyImageIdList(ContractError, code=3051, message="EMPTY_IMAGE_ID_LIST"):
    """The list of images to delete is empty."""

    sentence = "image_id_list is empty"


class DuplicateImageId(ContractError, code=3052, message="DUPLICATE_IMAGE_ID"):
    """The list names this image a second time."""

    sentence = "the list has this image a second time; the first one counts"


class NoInvalidImageId(ContractError, code=3053, message="NO_INVALID_IMAGE_ID"):
    """None of the images to delete was valid (the seed's wording is kept)."""

    sentence = "no item of the list names an image; failed_list says why"


class NotSupportImage(ContractError, code=3054, message="NOT_SUPPORT_IMAGE"):
    """Neither JPEG nor PNG."""

    sentence = "the picture is in no format that is taken"


class ProductNumExceedLimit(ContractError, code=3055, message="PRODUCT_NUM_EXCEED_LIMIT"):
    """More products than a call or a collection may have."""

    sentence = (
        "a call may create {products_per_call} products, or delete {deletions_per_call} "
        "products; a collection may have {products_per_collection} products"
    )


class ImageSizeExceedLimit(ContractError, code=3056, message="IMAGE_SIZE_EXCEED_LIMIT"):
    """More bytes than a picture or a request body may have."""

    sentence = "a picture must be under {image_bytes} bytes, and a body up to {body_bytes}"


class InternalServerError(ContractError, code=5000, message="INTERNAL_SERVER_ERROR"):
    """An internal fault in an operation that has no code of its own."""

    sentence = "a fault of the service; its log says more under the X-Request-Id of this answer"


class InvalidParameterJson(ContractError, code=5001, message="INVALID_PARAMETER_JSON"):
    """The body is not a JSON object, or a field that has no code of its own is not valid."""

    sentence = "a field is not valid; /openapi.json says what it may be"


class NoAvailableFeature(ContractError, code=None, message="NO_AVAILABLE_FEATURE"):
    """The model made no usable vector; the contract gives this fault no number."""

    sentence = "nothing on the picture can be searched for"


#: Every row of the table, in the contract's order, which is that of the classes above.
TABLE: tuple[type[ContractError], ...] = tuple(ContractError.registered)

#: The class of each message, for the outcomes of images. INVALID_IMAGE_INFO is in the table
#: twice; here it is the class that the operations answer (3015).
BY_MESSAGE: dict[str, type[ContractError]] = {
    error.message: error for error in TABLE if error is not InvalidImageInfoOld
}
