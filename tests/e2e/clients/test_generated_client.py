"""A Python client that openapi-python-client makes of the document works, without a warning."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from tests.e2e.client import FINISH_SECONDS, as_base64
from tests.e2e.stack import Stack
from tools.demo.manifest import load

PACKAGE = "generated_snapsku_client"

#: What docs/api.md says that it needs to be told; and no formatting, which would only take time.
CONFIG = {
    "content_type_overrides": {"image/jpeg": "application/octet-stream"},
    "post_hooks": [],
}

SAMPLE = load().images[0]

#: Calls an operation, a path of the document, by the generated code.
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def generated(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which the package of the client is, and can be imported from."""
    folder = tmp_path_factory.mktemp("client")
    config = folder / "config.json"
    config.write_text(json.dumps(CONFIG), encoding="utf-8")
    told = ["--url", f"{stack.base_url}/openapi.json", "--config", str(config)]
    into = ["--meta", "none", "--output-path", str(folder / PACKAGE), "--fail-on-warning"]
    made = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", *told, *into],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture
def models(generated: Path) -> Any:
    return importlib.import_module(f"{PACKAGE}.models")


@pytest.fixture
def call(generated: Path, stack: Stack) -> Iterator[Call]:
    made = importlib.import_module(PACKAGE).Client(
        stack.base_url, timeout=60, httpx_args={"trust_env": False}
    )
    with made as client:

        def calling(operation: str, body: Any = None, tag: str = "operations", **query: Any) -> Any:
            module = importlib.import_module(f"{PACKAGE}.api.{tag}.{operation}")
            given = query if body is None else {"body": body, **query}
            return module.sync(client=client, **given)

        yield calling


def test_every_operation_and_every_other_path_has_an_answer_of_its_own_type(
    generated: Path, stack: Stack
) -> None:
    told = requests.get(f"{stack.base_url}/openapi.json", timeout=10).json()
    for path, item in told["paths"].items():
        for operation in item.values():
            tag = operation["tags"][0].replace(" ", "_")
            module = Path(tag, f"{operation['operationId']}.py")
            code = (generated / PACKAGE / "api" / module).read_text(encoding="utf-8")
            assert "response.status_code == 200" in code, path
            assert "response_200 = " in code, path


def test_products_and_images_are_added_and_found(call: Call, models: Any, collection: str) -> None:
    names = {"collection_name": collection}
    product = models.NewProductItem(
        product_id=SAMPLE.product_id,
        product_name=SAMPLE.product_name,
        category=models.NewProductItemCategory(SAMPLE.category),
    )
    created = call(
        "create_product", models.CreateProductRequest(**names, product_list=[product, product])
    )
    assert isinstance(created.result, models.CreateProductResult)
    assert created.result.successful_list == [SAMPLE.product_id]
    assert [failed.message for failed in created.result.failed_list] == ["DUPLICATE_PRODUCT"]

    picture = as_base64(SAMPLE.path)
    image = models.NewImageItem(
        product_id=SAMPLE.product_id, image_id=SAMPLE.image_id, image_content=picture
    )
    added = call("add_image", models.AddImageRequest(**names, image_list=[image]))
    assert isinstance(added.result, models.AddImageResult)

    task = models.TaskStatusRequest(task_id=added.result.task_id)
    deadline = time.monotonic() + FINISH_SECONDS
    status = call("task_status", task)
    while status.result.task_status != models.TaskStatusResultTaskStatus.FINISHED:
        assert isinstance(status.result, models.TaskStatusResult)
        assert time.monotonic() < deadline
        time.sleep(0.2)
        status = call("task_status", task)
    assert [one.image_id for one in status.result.succeeded_list] == [SAMPLE.image_id]

    found = call("product_search", models.ProductSearchRequest(**names, image_content=picture))
    assert isinstance(found.result, models.ProductSearchResult)
    assert [one.product_id for one in found.result.images] == [SAMPLE.product_id]
    assert found.result.rectangle[0].right > 0

    listed = call("list_collections", models.ListCollectionsRequest(limit=200))
    assert isinstance(listed.result, models.ListCollectionsResult)
    (own,) = [o for o in listed.result.collection_list if o.collection_name == collection]
    assert (own.product_count, own.image_count) == (1, 1)
    assert own.created_at.utcoffset() is not None

    kept = call(
        "picture",
        tag="pictures",
        **names,
        product_id=SAMPLE.product_id,
        image_id=SAMPLE.image_id,
    )
    assert kept.payload.read(3) == b"\xff\xd8\xff"


def test_a_refusal_has_a_type_and_a_code_with_a_name(
    call: Call, models: Any, collection: str
) -> None:
    request = models.ProductSearchRequest(
        collection_name=collection, image_content=as_base64(SAMPLE.path)
    )
    refused = call("product_search", request)
    assert isinstance(refused, models.ProductSearchAnswer)
    assert isinstance(refused.result, models.ProductSearchRefusal)
    assert refused.result.code is models.ProductSearchRefusalCode.NO_RELATIVE_COLLECTION
    assert refused.result.code == 1030


def test_a_fault_of_http_has_a_type_too(call: Call, models: Any) -> None:
    # No model makes a body that is no object.
    fault = call("list_collections", SimpleNamespace(to_dict=list))
    assert isinstance(fault, models.HttpFaultAnswer)
    assert fault.result.code is models.HttpFaultCode.INVALID_PARAMETER_JSON


def test_health_is_read_by_the_same_client(call: Call, models: Any) -> None:
    assert call("healthz", tag="health").status == "ok"
    ready = call("readyz", tag="health")
    assert isinstance(ready, models.Ready)
    assert ready.index.sets_not_ready == 0
