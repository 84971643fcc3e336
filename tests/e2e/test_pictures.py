"""The kept picture of an image: there for those who look, gone with the image."""

from __future__ import annotations

import io

import requests
from PIL import Image

from tests.e2e.client import Api
from tools.demo.manifest import load

SAMPLE = load().images[0]


def _get(api: Api, **query: str) -> requests.Response:
    return requests.get(f"{api.base_url}/v1/picture", params=query, timeout=10)


def test_a_kept_picture_is_a_small_jpeg_until_its_image_is_deleted(
    api: Api, collection: str
) -> None:
    api.create(collection, [SAMPLE])
    api.finish(api.add_samples(collection, [SAMPLE]))
    names = {"product_id": SAMPLE.product_id, "image_id": SAMPLE.image_id}
    response = _get(api, collection_name=collection, **names)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "image/jpeg"
    with Image.open(io.BytesIO(response.content)) as picture:
        assert picture.format == "JPEG"
        assert max(picture.size) <= 640
    for wrong in ({"image_id": "other"}, {"product_id": "other"}, {"collection_name": "other"}):
        missing = _get(api, **{"collection_name": collection, **names, **wrong})
        assert missing.status_code == 404
        assert missing.json()["result"]["code"] == 5001
    assert _get(api).status_code == 404
    api.ok("delete_image", collection_name=collection, image_id_list=[names])
    assert _get(api, collection_name=collection, **names).status_code == 404
