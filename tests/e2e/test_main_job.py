"""Pictures go in over HTTP and are found again."""

from __future__ import annotations

from tests.e2e.client import Api, as_base64, ids
from tools.demo.manifest import load

MANIFEST = load()


def test_what_went_in_as_url_or_base64_is_found_first_by_the_next_search(
    api: Api, collection: str, file_server: str
) -> None:
    first, second = MANIFEST.images[0], MANIFEST.images[20]
    created = api.ok(
        "create_product",
        collection_name=collection,
        product_list=[
            {"product_id": s.product_id, "product_name": s.product_name, "category": s.category}
            for s in (first, second)
        ],
    )
    assert created["successful_list"] == [first.product_id, second.product_id]
    task_id = api.add(
        collection,
        [
            {
                "product_id": first.product_id,
                "image_id": "by-url",
                "image_content": f"{file_server}/{first.path.name}",
                "image_info": "正面",
            },
            {
                "product_id": second.product_id,
                "image_id": "by-base64",
                "image_content": as_base64(second.path),
            },
        ],
    )
    status = api.finish(task_id)
    assert status["failed_list"] == []
    assert set(ids(status["succeeded_list"])) == {"by-url", "by-base64"}
    found = api.ok(
        "product_search", collection_name=collection, image_content=as_base64(first.path)
    )
    best = found["images"][0]
    assert best["image_id"] == "by-url"
    assert best["similarity"] >= 0.999
    assert best["info"] == best["image_info"] == "正面"
    box = found["rectangle"][0]
    assert 0 <= box["left"] < box["right"]
    assert 0 <= box["top"] < box["bottom"]
