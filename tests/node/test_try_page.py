"""/docs/try in a browser: it sends calls to this service alone, and its policy stops nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.client import Api, as_base64, collection_name
from tests.e2e.stack import Stack
from tests.node.conftest import Run
from tools.demo.manifest import load

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.mark.timeout(900)
def test_a_person_tries_calls_in_a_browser(
    stack: Stack, api: Api, run: Run, tmp_path: Path
) -> None:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: install one of {', '.join(BROWSERS)}")
    collection = collection_name()
    product = {"product_id": "p1", "product_name": "One", "category": "其他"}
    api.ok("create_product", collection_name=collection, product_list=[product])
    image = {
        "product_id": "p1",
        "image_id": "i1",
        "image_content": as_base64(load().images[0].path),
    }
    api.finish(api.add(collection, [image]))

    screenshot = tmp_path / "page.png"
    told = json.loads(
        run("node", "try_page.js", found, stack.base_url, collection, str(screenshot))
    )
    assert told["complaints"] == []
    assert told["overflow"] <= 0
    others = [
        url for url in told["asked"] if not url.startswith((f"{stack.base_url}/", "data:", "blob:"))
    ]
    assert others == []
    assert told["operations"][:4] == [
        *("/v1/create_product", "/v1/add_image", "/v1/task_status", "/v1/product_search")
    ]
    assert told["created"]["status"].startswith("200")
    assert "SUCCESS" in told["created"]["body"]
    assert set(told["keys"]) == {"Bearer a-key"}
    assert told["kept"].startswith("200")
    assert told["width"] > 100
    listed = api.ok("list_products", collection_name=collection)["product_list"]
    assert [one["product_id"] for one in listed] == ["p1", "by browser"]
