"""GET /v1/picture: the small JPEG that is kept of an image, for the user of its collection.

It is no `Operation`: it answers a GET with bytes, has no business codes of its own, and counts
against no quota. `app.server` adds it.
"""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.exceptions import NotFound

from app.http.fields import CollectionName, Identifier, RequestModel, judge
from app.services import Services
from catalog.flows.lookup import labels_of

#: Seconds for which a browser may show a picture again without asking.
CACHE_SECONDS = 600


class PictureRequest(RequestModel):
    """The query of a GET of a picture."""

    collection_name: CollectionName
    product_id: Identifier
    image_id: Identifier


def add_pictures(flask_app: Flask, services: Services) -> None:
    """Add the path /v1/picture.

    It passes the same gate as the operations. The answer is 404 for an invalid or missing name, an
    image of another user, and one without a kept picture (setting `keep_pictures`).
    """

    @flask_app.get("/v1/picture")
    def picture() -> Response:
        user = services.gate.admit(request).user
        if missing := [name for name in PictureRequest.model_fields if name not in request.args]:
            raise NotFound(f"the query has no {', no '.join(missing)}")
        asked, _ = judge(PictureRequest, request.args.to_dict(), services.settings)
        data = None if asked is None else _find(services, user, asked)
        if data is None:
            raise NotFound("no such picture, or it was not kept")
        return Response(
            data,
            content_type="image/jpeg",
            headers={"Cache-Control": f"private, max-age={CACHE_SECONDS}"},
        )


def _find(services: Services, user: str, asked: PictureRequest) -> bytes | None:
    """Return the JPEG of an image, or None if there is no such image or it has no kept picture.

    An image of a collection of another user is not found, and a deleted image neither.
    """
    collection = services.catalog.collections.find(user, asked.collection_name)
    if collection is None:
        return None
    name = (asked.product_id, asked.image_id)
    labels = list(labels_of(services.catalog, collection.generation, [name]).values())
    return next(iter(services.catalog.pictures.get(labels).values()), None)
