"""GET /v1/picture: a kept picture, for the user of its collection."""

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
    """Add the path /v1/picture."""

    @flask_app.get("/v1/picture")
    def picture() -> Response:
        user = services.gate.admit(request).user
        asked, _ = judge(PictureRequest, request.args.to_dict(), services.settings)
        data = None if asked is None else _find(services, user, asked)
        if data is None:
            raise NotFound
        return Response(
            data,
            content_type="image/jpeg",
            headers={"Cache-Control": f"private, max-age={CACHE_SECONDS}"},
        )


def _find(services: Services, user: str, asked: PictureRequest) -> bytes | None:
    """Return the JPEG of an image, or None if there is no such image or it has no kept picture."""
    collection = services.catalog.collections.find(user, asked.collection_name)
    if collection is None:
        return None
    name = (asked.product_id, asked.image_id)
    labels = list(labels_of(services.catalog, collection.generation, [name]).values())
    return next(iter(services.catalog.pictures.get(labels).values()), None)
