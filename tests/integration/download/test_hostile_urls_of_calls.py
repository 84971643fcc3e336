"""add_image refuses what can be judged without a look-up, and looks nothing up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from app.server import create_app
from app.services import make_services
from catalog.store import Catalog
from config.settings import settings
from contract.errors import BrokenBase64OrUrl
from tests.integration.download.hostile_urls import IPV4, IPV6, OTHER_FORMS

#: The trap's port is open at the trap's address, and the public port everywhere.
PORTS = {"PORT": "80", "TRAP": "81", "OTHER": "8080"}
FAULT = BrokenBase64OrUrl.message
LOOK_UPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
_looked_up: ContextVar[list[str] | None] = ContextVar("_looked_up", default=None)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in LOOK_UPS and (looked_up := _looked_up.get()) is not None:
        looked_up.append(str(arguments[0]))


sys.addaudithook(_hook)


@pytest.fixture
def client(catalog: Catalog, redis_client: redis.Redis) -> Iterator[FlaskClient]:
    services = make_services(settings().model_copy(update={"fetch_allow": "127.0.0.1:81"}))
    yield create_app(services).test_client()
    services.catalog.client.close()
    services.redis.close()


def call(client: FlaskClient, operation: str, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.post(f"/v1/{operation}", json=body).get_json()
    assert answer["code"] == "10000", answer
    result: dict[str, Any] = answer["result"]
    return result


def test_every_form_is_2006_at_once_and_no_name_is_looked_up(client: FlaskClient) -> None:
    forms = {
        **{f"IPv4: {title}": f"http://{host}:PORT/" for title, host in IPV4.items()},
        **{f"IPv6: {title}": f"http://[{host}]:PORT/" for title, host in IPV6.items()},
        **OTHER_FORMS,
    }
    # A data URL of Base64 is a picture here, and this one is judged as such.
    del forms["scheme data"]
    for word, port in PORTS.items():
        forms = {title: url.replace(word, port) for title, url in forms.items()}
    product = {"product_id": "p", "product_name": "n", "category": "其他"}
    call(client, "create_product", collection_name="c", product_list=[product])
    images = [
        {"product_id": "p", "image_id": title, "image_content": url}
        for title, url in {**forms, "a name": "http://inside.test/"}.items()
    ]
    looked_up: list[str] = []
    token = _looked_up.set(looked_up)
    try:
        result = call(client, "add_image", collection_name="c", image_list=images)
    finally:
        _looked_up.reset(token)
    failed = {image["image_id"]: image["message"] for image in result["failed_list"]}
    assert failed.keys() == forms.keys()
    assert {title for title, faults in failed.items() if FAULT not in faults} == set()
    assert result["task_id"], "a name is for the worker to judge"
    # The catalogue and Redis of the test listen on loopback.
    assert set(looked_up) <= {"127.0.0.1", "localhost"}
