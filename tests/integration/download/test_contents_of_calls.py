"""The API takes image_content in every spelling of docs/what-is-accepted.md, over a real socket."""

from __future__ import annotations

import textwrap
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from contract.errors import BrokenBase64OrUrl, NotSupportImage
from tests.accepted import kinds
from tests.integration.download.loopback import examples
from tests.integration.operations.programs import serving
from tests.integration.operations.raw_client import Served
from tests.servers import Servers
from tests.unit.app.standins import image_file, in_base64

#: Its Base64 holds "+", "/" and "=", for bytes may follow a picture.
PICTURE = image_file() + b"\xfb\xff\xbf" * 4 + bytes(-len(image_file()) % 3 + 1)
BASE64 = in_base64(PICTURE)
ESCAPED = BASE64.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D")

WEBP = in_base64(image_file("WEBP") + b"\xfb\xff\xbf")

TAKEN: dict[str, list[str]] = {
    "blanks, line breaks or a byte order mark around it": [
        f"\ufeff {BASE64}\r\n",
        " https://shop.example/a.jpg\n",
        "\ufeffHTTPS://shop.example/a b.jpg",
        f" data:image/jpeg;base64,{BASE64} ",
    ],
    "Base64 with white space in it": [
        "\r\n".join(textwrap.wrap(BASE64, 76)),
        "data:image/jpeg;base64,\n " + "\n\t".join(textwrap.wrap(BASE64, 60)),
    ],
    "Base64 of the URL-safe alphabet, or without padding": [
        BASE64.replace("+", "-").replace("/", "_"),
        BASE64.rstrip("="),
        "data:;base64," + BASE64.replace("+", "-").replace("/", "_").rstrip("="),
    ],
    "`data:` with any parameters, or none": [
        f"data:;base64,{BASE64}",
        f"DATA:image/jpeg;charset=utf-8;name=a%2Cb.jpg;BASE64,{BASE64}",
        f'data:image/jpeg;name="a, b;base64,.jpg";base64,{BASE64}',
        f"data:text/plain;base64,{BASE64}",
    ],
    "`data:` with `%2B`, `%2F`, `%3D` in its Base64": [
        f"data:image/jpeg;base64,{ESCAPED}",
        f"data:image/jpeg;base64,{ESCAPED}%0D%0A",
    ],
}
REFUSED: dict[str, list[str]] = {
    "one of these spellings, and no picture": [
        "hello_",
        "AA",
        "data:text/plain;base64,aGVsbG8",
        "data:text/plain;base64,aGVsbG8%3D",
    ],
    "escapes without `data:`, `data:` without `;base64,`, Base64 that does not decode": [
        ESCAPED,
        f"data:image/jpeg,{BASE64}",
        "data:image/jpeg;base64,",
        BASE64 + "*",
        "A",
    ],
}


OF_ANOTHER_FORMAT: dict[str, list[str]] = {
    "one of these spellings, of a format that is not taken": [
        WEBP,
        WEBP.replace("+", "-").replace("/", "_").rstrip("="),
        f"data:image/webp;base64,{WEBP.rstrip('=')}",
        f"data:;base64,{WEBP.replace('=', '%3D')}",
    ],
}


@pytest.fixture(scope="module")
def served(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(servers, tmp_path_factory.mktemp("api")) as (found, _):
        yield found


def call(served: Served, operation: str, **body: Any) -> dict[str, Any]:
    answer = requests.post(f"{served.url}/v1/{operation}", json=body, timeout=60).json()
    assert answer["code"] == "10000", answer
    result: dict[str, Any] = answer["result"]
    return result


@pytest.fixture(scope="module")
def collection(served: Served) -> str:
    name = uuid.uuid4().hex
    product = {"product_id": "p", "product_name": "n", "category": "其他"}
    call(served, "create_product", collection_name=name, product_list=[product])
    return name


def added(served: Served, collection: str, content: str) -> dict[str, Any]:
    image = {"product_id": "p", "image_id": uuid.uuid4().hex, "image_content": content}
    return call(served, "add_image", collection_name=collection, image_list=[image])


@pytest.mark.parametrize("content", examples(TAKEN))
def test_the_spelling_is_taken(served: Served, collection: str, content: str) -> None:
    result = added(served, collection, content)
    assert result["failed_list"] == []
    assert result["task_id"]


@pytest.mark.parametrize("content", examples(REFUSED))
def test_the_spelling_is_2006(served: Served, collection: str, content: str) -> None:
    (failed,) = added(served, collection, content)["failed_list"]
    assert failed["message"] == [BrokenBase64OrUrl.message]


@pytest.mark.parametrize("content", examples(OF_ANOTHER_FORMAT))
def test_the_spelling_of_another_format_is_3054(
    served: Served, collection: str, content: str
) -> None:
    (failed,) = added(served, collection, content)["failed_list"]
    assert failed["message"] == [NotSupportImage.message]


def test_the_page_has_a_row_for_each_kind_and_no_other() -> None:
    assert set(kinds("Base64 and `data:`")) == {*TAKEN, *REFUSED, *OF_ANOTHER_FORMAT}
