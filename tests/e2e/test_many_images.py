"""Many images in ten tasks at once: each ends once, counts agree, each is found.

TEST_IMAGES_PER_TASK=200 makes them two thousand.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.e2e.client import Api, collection_name, ids
from tests.e2e.many_pictures import variant
from tools.demo.fileserver import serve
from tools.demo.manifest import load

MANIFEST = load()
TASKS = 10
IMAGES_PER_TASK = int(os.environ.get("TEST_IMAGES_PER_TASK", "60"))
SECONDS = 600.0

#: Images searched for by their own picture, spread over all tasks.
SEARCHED = 40


@pytest.mark.timeout(SECONDS + 120)
def test_the_images_of_ten_tasks_at_once_all_end_and_are_found(api: Api, tmp_path: Path) -> None:
    collection = collection_name()
    total = TASKS * IMAGES_PER_TASK
    for number in range(total):
        (tmp_path / f"{number}.jpg").write_bytes(variant(number))
    samples = list(MANIFEST.first_images().values())
    # Thirty images a product at most, so some products come more than once.
    products = [(f"{sample.product_id}-{n}", sample) for n in range(2) for sample in samples]
    api.ok(
        "create_product",
        collection_name=collection,
        product_list=[
            {"product_id": i, "product_name": s.product_name, "category": s.category}
            for i, s in products
        ],
    )
    started = time.perf_counter()
    with serve(tmp_path) as port:
        tasks = [
            api.add(
                collection,
                [
                    {
                        "product_id": products[number % len(products)][0],
                        "image_id": f"image-{number}",
                        "image_content": f"http://127.0.0.1:{port}/{number}.jpg",
                    }
                    for number in range(task * IMAGES_PER_TASK, (task + 1) * IMAGES_PER_TASK)
                ],
            )
            for task in range(TASKS)
        ]
        statuses = [api.finish(task_id, SECONDS, pause=0.5) for task_id in tasks]
    seconds = time.perf_counter() - started
    print(f"\n{total} images in {seconds:.0f} s: {total / seconds:.1f} images a second")

    assert all(status["failed_list"] == [] for status in statuses)
    succeeded = [image_id for status in statuses for image_id in ids(status["succeeded_list"])]
    assert sorted(succeeded) == sorted(f"image-{number}" for number in range(total))

    listed = api.ok("list_tasks", collection_name=collection)["task_list"]
    assert [task["task_id"] for task in listed] == tasks[::-1]
    assert {(task["task_status"], task["succeeded"]) for task in listed} == {
        ("FINISHED", IMAGES_PER_TASK)
    }
    counted = api.ok("list_products", collection_name=collection, limit=200)["product_list"]
    assert sum(product["image_count"] for product in counted) == total

    for number in range(0, total, total // SEARCHED):
        best = api.search(collection, tmp_path / f"{number}.jpg", topk=1)[0]
        assert (best["image_id"], best["similarity"] >= 0.999) == (f"image-{number}", True)
    api.ok("delete_collection", collection_name=collection)
