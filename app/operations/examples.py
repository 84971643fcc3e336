"""An example of each operation, in an order in which they can be run one after the other.

The reference shows them; a test sends them, with a collection and a task of its own.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw


@dataclass(frozen=True)
class Example:
    """A request, and the result that it gets."""

    request: dict[str, Any]
    result: dict[str, Any]


def _drawing() -> str:
    """Return a PNG of the smallest size allowed, in Base64: a red box on white."""
    picture = Image.new("P", (201, 201), 0)
    picture.putpalette([255, 255, 255, 200, 30, 30])
    ImageDraw.Draw(picture).rectangle((50, 70, 150, 140), fill=1)
    file = io.BytesIO()
    picture.save(file, "PNG", bits=1, optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _result(**fields: Any) -> dict[str, Any]:
    return {"code": 0, "message": "SUCCESS", **fields}


COLLECTION = "XX小店"
TASK_ID = f"default/{COLLECTION}/1581417512.274598"
PICTURE = _drawing()
_IMAGE = {"product_id": "boot-1", "image_id": "front"}
_TIMES = {"created_at": "2026-11-20T09:58:32.274Z", "finished_at": "2026-11-20T09:58:33.011Z"}

CREATE_PRODUCT = Example(
    {
        "collection_name": COLLECTION,
        "product_list": [
            {"product_id": "boot-1", "product_name": "Hiking boot", "category": "鞋靴"},
            {"product_id": "boot-1", "product_name": "Rubber boot", "category": "鞋靴"},
        ],
    },
    _result(
        successful_list=["boot-1"],
        failed_list=[{"product_id": "boot-1", "message": "DUPLICATE_PRODUCT"}],
    ),
)
ADD_IMAGE = Example(
    {
        "collection_name": COLLECTION,
        "image_list": [
            {**_IMAGE, "image_content": PICTURE, "image_info": "studio"},
            {"product_id": "boot-9", "image_id": "side", "image_content": "ftp://x/side.jpg"},
        ],
    },
    _result(
        task_id=TASK_ID,
        failed_list=[
            {
                "image_id": "side",
                "product_id": "boot-9",
                "message": ["BROKEN_BASE64_OR_URL", "NOT_EXISTING_PRODUCT"],
            }
        ],
    ),
)
TASK_STATUS = Example(
    {"task_id": TASK_ID},
    _result(task_status="FINISHED", succeeded_list=[_IMAGE], failed_list=[], pending_list=[]),
)
LIST_TASKS = Example(
    {"collection_name": COLLECTION, "task_status": "FINISHED", "limit": 10},
    _result(
        task_list=[
            {
                "task_id": TASK_ID,
                "task_status": "FINISHED",
                "succeeded": 1,
                "failed": 0,
                "pending": 0,
                **_TIMES,
            }
        ],
        next_cursor=None,
    ),
)
PRODUCT_SEARCH = Example(
    {
        "collection_name": COLLECTION,
        "image_content": PICTURE,
        "category": "鞋靴",
        "topk": 5,
        "rectangle": {"left": 40, "top": 60, "right": 160, "bottom": 150},
        "min_similarity": 0.2,
        "group_by_product": True,
    },
    _result(
        rectangle=[{"left": 40, "top": 60, "right": 160, "bottom": 150}],
        images=[
            {
                "product_id": "boot-1",
                "product_name": "Hiking boot",
                "image_id": "front",
                "image_info": "studio",
                "info": "studio",
                "similarity": 0.981245,
            }
        ],
    ),
)
IMAGE_INFO = Example(
    {"collection_name": COLLECTION, "product_id": "boot-1"},
    _result(image_list=[{"image_id": "front", "image_info": "studio"}]),
)
UPDATE_IMAGE = Example(
    {"collection_name": COLLECTION, **_IMAGE, "image_info": "studio, spring"}, _result()
)
UPDATE_PRODUCT = Example(
    {
        "collection_name": COLLECTION,
        "product_id": "boot-1",
        "product_name": "Hiking boot, brown",
        "category": "其他",
    },
    _result(),
)
LIST_PRODUCTS = Example(
    {"collection_name": COLLECTION, "limit": 50},
    _result(
        product_list=[
            {
                "product_id": "boot-1",
                "product_name": "Hiking boot, brown",
                "category": "其他",
                "image_count": 1,
            }
        ],
        next_cursor=None,
    ),
)
LIST_COLLECTIONS = Example(
    {"limit": 200},
    _result(
        collection_list=[
            {
                "collection_name": COLLECTION,
                "product_count": 1,
                "image_count": 1,
                "created_at": "2026-11-20T09:57:01.500Z",
            }
        ],
        next_cursor=None,
    ),
)
DELETE_IMAGE = Example(
    {
        "collection_name": COLLECTION,
        "image_id_list": [_IMAGE, {"product_id": "boot-1", "image_id": "back"}],
    },
    _result(
        successful_list=[_IMAGE],
        failed_list=[{"product_id": "boot-1", "image_id": "back", "message": "NO_RELATIVE_IMAGE"}],
    ),
)
DELETE_PRODUCT = Example(
    {"collection_name": COLLECTION, "product_id_list": ["boot-1", "boot-9"]},
    _result(
        successful_list=["boot-1"],
        failed_list=[{"product_id": "boot-9", "message": "NOT_EXISTING_PRODUCT"}],
    ),
)
DELETE_COLLECTION = Example({"collection_name": COLLECTION}, _result())
