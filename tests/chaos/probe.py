"""Asks the service itself whether it knows the header Idempotency-Key yet."""

from __future__ import annotations

import base64
import random
import uuid

from tests.chaos.client import ChaosClient
from tests.chaos.pictures import Kind, make_picture


def knows_idempotency_key(base_url: str) -> bool:
    """Return whether the same call under the same key gives the same task; leave nothing behind."""
    client = ChaosClient(base_url)
    collection = {"collection_name": "货架-probe"}
    product = {"product_id": "probe", "product_name": "probe", "category": "其他"}
    client.call("create_product", {**collection, "product_list": [product]})
    data = make_picture("probe", Kind.GOOD, random.Random("probe")).data
    image = {"product_id": "probe", "image_id": "probe"}
    content = {"image_content": base64.b64encode(data).decode()}
    body = {**collection, "image_list": [{**image, **content}]}
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    answers = [client.call("add_image", body, headers=headers).result or {} for _ in range(2)]
    client.call("delete_collection", collection)
    client.close()
    first, second = (answer.get("task_id") for answer in answers)
    return first is not None and first == second
