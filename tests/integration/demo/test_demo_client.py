from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.integration.demo.stub_stack import Service
from tools.demo.client import SnapskuClient, SnapskuError


@pytest.fixture
def client(service: Service) -> Iterator[SnapskuClient]:
    with SnapskuClient(service[1] + "/") as opened:
        yield opened


def test_a_success_gives_the_result(client: SnapskuClient, service: Service) -> None:
    product = {"product_id": "a", "product_name": "鞋", "category": "鞋靴"}
    answer = client.create_product("shop", [product])
    assert answer["successful_list"] == ["a"]
    assert service[0].products["a"] == product


def test_a_business_error_raises_its_code_and_message(client: SnapskuClient) -> None:
    with pytest.raises(SnapskuError) as caught:
        client.task_status("default/shop/1.5")
    assert (caught.value.code, caught.value.message) == (1004, "TASK_NOT_EXIST")


def test_a_system_error_raises_its_code_even_though_the_http_status_is_not_200(
    client: SnapskuClient, service: Service
) -> None:
    service[0].override = (503, json.dumps({"code": "10020", "msg": "busy", "result": {}}).encode())
    with pytest.raises(SnapskuError) as caught:
        client.task_status("default/shop/1.5")
    assert (caught.value.code, caught.value.message) == ("10020", "busy")


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b'{"code": "10000"}', b'{"code": "10000", "result": {}}']
)
def test_an_answer_that_is_no_envelope_raises(
    client: SnapskuClient, service: Service, body: bytes
) -> None:
    service[0].override = (502, body)
    with pytest.raises(SnapskuError):
        client.task_status("default/shop/1.5")


def test_no_server_raises_the_transport_error() -> None:
    with SnapskuClient("http://127.0.0.1:9") as opened, pytest.raises(requests.ConnectionError):
        opened.task_status("default/shop/1.5")


def test_a_key_is_sent_as_a_bearer(monkeypatch: pytest.MonkeyPatch) -> None:
    with SnapskuClient("http://127.0.0.1:9", api_key="snapsku_x") as opened:
        sent = []

        def send(request: requests.PreparedRequest, **_: object) -> requests.Response:
            sent.append(request.headers["Authorization"])
            raise requests.ConnectionError

        monkeypatch.setattr(opened._session, "send", send)
        with pytest.raises(requests.ConnectionError):
            opened.task_status("a/b/1.5")
    assert sent == ["Bearer snapsku_x"]


def test_absent_search_options_are_not_sent(
    client: SnapskuClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []

    def product_search(body: dict[str, Any]) -> dict[str, Any]:
        sent.append(body)
        return {"code": 0}

    monkeypatch.setattr(service[0], "product_search", product_search)
    client.product_search("shop", "aGVsbG8=")
    client.product_search("shop", "aGVsbG8=", category="其他", topk=3)
    assert sent[0] == {"collection_name": "shop", "image_content": "aGVsbG8="}
    assert sent[1] == {**sent[0], "category": "其他", "topk": 3}
