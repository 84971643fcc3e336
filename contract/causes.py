"""Why an image failed: one row for each cause, with the error of the contract that it ends as.

What a client is told of a fault comes from here alone: the sentence, and whether the same call may
succeed later. A sentence names the host of a URL, and nothing else of it; it is the same for a host
that does not resolve and for one that leads to a forbidden address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contract.errors import (
    BrokenBase64OrUrl,
    ContractError,
    DuplicateImage,
    ImageSizeExceedLimit,
    ImageTooLarge,
    ImageTooSmall,
    InsertImageError,
    InvalidImageContent,
    NoAvailableFeature,
    NoRelativeCollection,
    NoRelativeImage,
    NotExistingProduct,
    NotSupportImage,
)


@dataclass(frozen=True)
class Cause:
    """A row: the error, the sentence with names in braces, and whether a repeat may succeed."""

    error: type[ContractError]
    sentence: str
    is_retryable: bool = False

    def fault(self, log_detail: str = "", /, **values: Any) -> ContractError:
        """Return the error to raise; `values` are for the sentence, `log_detail` for the log."""
        sentence = self.sentence.format(**values)
        error = self.error(log_detail or sentence)
        error.detail, error.is_retryable = sentence, self.is_retryable
        return error


# The URL itself
URL_TOO_LONG = Cause(BrokenBase64OrUrl, "the URL has more than {limit} characters")
URL_CHARACTERS = Cause(BrokenBase64OrUrl, "the URL holds a control character or a backslash")
URL_SYNTAX = Cause(BrokenBase64OrUrl, "the URL can't be read")
URL_SCHEME = Cause(BrokenBase64OrUrl, "the URL is neither http nor https")
URL_CREDENTIALS = Cause(BrokenBase64OrUrl, "the URL holds a user or a password")
URL_HOST = Cause(BrokenBase64OrUrl, "the host of the URL is not valid")
URL_PORT_SYNTAX = Cause(BrokenBase64OrUrl, "the port of the URL is not a number up to 65535")
URL_PORT = Cause(BrokenBase64OrUrl, "port {port} is not one to fetch from")

# The host
HOST = Cause(BrokenBase64OrUrl, "{host} is not a host to fetch from")
NAME_SERVER = Cause(BrokenBase64OrUrl, "{host} could not be looked up", is_retryable=True)
CONNECTION = Cause(
    BrokenBase64OrUrl, "{host} could not be reached, or broke the connection", is_retryable=True
)
TOO_SLOW = Cause(BrokenBase64OrUrl, "{host} did not send the picture in time", is_retryable=True)
HOST_DOWN = Cause(
    BrokenBase64OrUrl,
    "{host} failed several times in a row and is left alone for now; the last time: {reason}",
    is_retryable=True,
)
HOST_ASKED_TO_WAIT = Cause(
    BrokenBase64OrUrl, "{host} asked to be left alone for a while: {reason}", is_retryable=True
)
CERTIFICATE = Cause(BrokenBase64OrUrl, "the certificate of {host} is not valid")

# The answer
STATUS = Cause(BrokenBase64OrUrl, "{host} answers with status {status}")
STATUS_FOR_NOW = Cause(
    BrokenBase64OrUrl, "{host} answers with status {status}, which may pass", is_retryable=True
)
REDIRECT = Cause(BrokenBase64OrUrl, "{host} redirects to a URL that can't be fetched: {reason}")
REDIRECTS = Cause(BrokenBase64OrUrl, "{host} redirects more than {limit} times")
CROWDED = Cause(BrokenBase64OrUrl, "too many pictures of {host} were waiting", is_retryable=True)
ANSWER = Cause(BrokenBase64OrUrl, "the answer of {host} is no HTTP that can be read")
ANSWER_FOR_NOW = Cause(BrokenBase64OrUrl, ANSWER.sentence, is_retryable=True)
INTERIM = Cause(BrokenBase64OrUrl, "{host} sends more than {limit} interim answers")
HEADER_LINE = Cause(BrokenBase64OrUrl, "a header line of {host} has no colon behind its name")
FOLDED_LINE = Cause(BrokenBase64OrUrl, "a header line of {host} begins with a blank")
LENGTH = Cause(BrokenBase64OrUrl, "{host} sends a Content-Length that is not one number")
ENCODING = Cause(BrokenBase64OrUrl, "{host} sends an encoding that can't be undone: {encoding}")
PACKED = Cause(BrokenBase64OrUrl, "{host} sends a file that does not unpack as {encoding}")
BOMB = Cause(BrokenBase64OrUrl, "{host} sends a file that unpacks to {limit} bytes or more")
ANSWER_CUT = Cause(BrokenBase64OrUrl, "{host} ended its answer early", is_retryable=True)

# The file
BASE64 = Cause(BrokenBase64OrUrl, "image_content is neither a URL nor Base64 that decodes")
TOO_MANY_BYTES = Cause(ImageSizeExceedLimit, "the file has {limit} bytes or more")
EMPTY = Cause(InvalidImageContent, "the file is empty")
FORMAT = Cause(NotSupportImage, "the file is none of {formats}")
KIND = Cause(NotSupportImage, "the file is a {format} of a kind that is not taken: {kind}")
HEADER = Cause(InvalidImageContent, "the header of the file can't be read")
DAMAGED = Cause(InvalidImageContent, "the file is damaged or cut off")
SMALL = Cause(ImageTooSmall, "the picture has {width} x {height} pixels, a side needs {limit}")
LARGE = Cause(ImageTooLarge, "the picture has {width} x {height} pixels, a side may have {limit}")
PIXELS = Cause(InvalidImageContent, "the picture has {width} x {height} pixels, which is too many")
MEMORY = Cause(InvalidImageContent, "the picture needs too much memory")
NEVER_CAME = Cause(
    InvalidImageContent, "the call that sent the picture was interrupted", is_retryable=True
)

# The product and the service
FEATURE = Cause(NoAvailableFeature, "nothing on the picture can be searched for")
DUPLICATE = Cause(DuplicateImage, "the product has an image with the same bytes")
DELETED = Cause(NoRelativeImage, "the image was deleted before it was done")
PRODUCT_GONE = Cause(NotExistingProduct, "the product was deleted before the image was done")
COLLECTION_GONE = Cause(
    NoRelativeCollection, "the collection was deleted before the image was done"
)
UNEXPECTED = Cause(
    BrokenBase64OrUrl, "the download failed by a fault of the service", is_retryable=True
)
GIVEN_UP = Cause(
    InsertImageError, "the service failed at this image again and again", is_retryable=True
)

#: By the message of the error: what is told of an image whose row, which has the cause, is gone. Of
#: other errors there are several causes.
BY_MESSAGE = {
    cause.error.message: cause
    for cause in (DUPLICATE, DELETED, PRODUCT_GONE, COLLECTION_GONE, FEATURE, GIVEN_UP)
}

#: Every row, by its name.
CAUSES = {name: value for name, value in list(globals().items()) if isinstance(value, Cause)}
