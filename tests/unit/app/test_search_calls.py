"""product_search: how many may wait, and what each reply or its absence becomes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fakeredis
import pytest
import redis
from kombu.exceptions import OperationalError
from pydantic import SecretStr
from pymongo import MongoClient
from redis.exceptions import ConnectionError as RedisConnectionError

import app.services
from app.operations import search
from app.server import create_app
from app.services import Services
from app.services import make_services as services_of
from broker.availability import BrokerUnreachableError
from broker.search_exchange import Exchange, Query
from config.settings import Settings
from tests.unit.app.standins import (
    assert_busy,
    business_code,
    catalog_with_collection,
    envelope,
    image_file,
    in_base64,
)

MakeServices = Callable[..., Services]

PICTURE = image_file()
CALL: dict[str, Any] = {"collection_name": "c", "image_content": in_base64(PICTURE)}
FOUND: dict[str, Any] = {
    "rectangle": [{"left": 0, "top": 0, "right": 201, "bottom": 201}],
    "images": [{"product_id": "p", "similarity": 1.0}],
}


class ScriptedExchange:
    """An exchange whose every wait ends with the same answer, or raises it."""

    def __init__(self, answer: dict[str, Any] | Exception | None) -> None:
        self.answer = answer
        self.left: dict[str, Any] = {}
        self.forgotten: list[str] = []
        self.seconds = 0.0

    def leave(self, query_id: str, fields: dict[str, Any], seconds: float) -> None:
        self.left[query_id] = fields
        self.seconds = seconds

    def wait(self, query_id: str, seconds: float) -> dict[str, Any] | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def forget(self, query_id: str) -> None:
        self.forgotten.append(query_id)

    def query(self) -> Query:
        (fields,) = self.left.values()
        return Query.unpack(fields)


class BlockedExchange(ScriptedExchange):
    """An exchange whose answers come when the test says so."""

    def __init__(self) -> None:
        super().__init__(FOUND)
        self.waiting = threading.Semaphore(0)
        self.go_on = threading.Event()

    def wait(self, query_id: str, seconds: float) -> dict[str, Any] | None:
        self.waiting.release()
        assert self.go_on.wait(10)
        return super().wait(query_id, seconds)


@pytest.fixture
def sent(environment: pytest.MonkeyPatch) -> list[str]:
    """The searches that were sent; nothing leaves the process."""
    messages: list[str] = []
    environment.setattr(search, "send_search", messages.append)
    return messages


def search_with(make_services: MakeServices, exchange: Any, **body: Any) -> Any:
    services = make_services(catalog_with_collection(), exchange)
    response = create_app(services).test_client().post("/v1/product_search", json=CALL | body)
    assert_all_places_free(services, services.settings.api_threads // 2)
    return response


def assert_all_places_free(services: Services, places: int) -> None:
    assert [services.searches.acquire(blocking=False) for _ in range(places + 1)] == [
        *[True] * places,
        False,
    ]


def test_the_answer_of_the_worker_is_passed_on(
    make_services: MakeServices, sent: list[str]
) -> None:
    exchange = ScriptedExchange(FOUND)
    response = search_with(make_services, exchange, category="鞋靴", topk=7)
    assert envelope(response)["result"] == {"code": 0, "message": "SUCCESS", **FOUND}
    query = exchange.query()
    assert (query.picture, query.url) == (PICTURE, None)
    assert (query.generation, query.category, query.topk) == ("g1", "鞋靴", 7)
    assert query.request_id == response.headers["X-Request-Id"]
    (query_id,) = sent
    assert exchange.forgotten == [query_id] == list(exchange.left)
    assert exchange.seconds == 10


def test_a_url_goes_to_the_worker_unfetched(make_services: MakeServices, sent: list[str]) -> None:
    exchange = ScriptedExchange(FOUND)
    search_with(make_services, exchange, image_content="https://shop.example/a.jpg")
    assert (exchange.query().picture, exchange.query().url) == (b"", "https://shop.example/a.jpg")


def test_an_absent_topk_is_the_default_one(make_services: MakeServices, sent: list[str]) -> None:
    exchange = ScriptedExchange(FOUND)
    search_with(make_services, exchange)
    assert (exchange.query().topk, exchange.query().category) == (50, None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"collection_name": ""}, 2010),
        ({"topk": 201}, 3041),
        ({"topk": "1"}, 3040),
        ({"topk": 1.5}, 3040),
        ({"category": "衣"}, 3005),
        ({"image_content": None}, 3014),
        ({"image_content": "*"}, 2006),
        ({"image_content": in_base64(image_file("GIF"))}, 3054),
    ],
    ids=str,
)
def test_a_call_that_is_not_valid_asks_no_worker(
    make_services: MakeServices, sent: list[str], body: dict[str, Any], code: int
) -> None:
    exchange = ScriptedExchange(FOUND)
    assert business_code(search_with(make_services, exchange, **body)) == code
    assert (exchange.left, sent) == ({}, [])


@pytest.mark.parametrize(
    ("rectangle", "end"),
    [
        ({"left": 1}, "; rectangle.top is missing or null"),
        ({"left": 1.5, "top": 1, "right": 3, "bottom": 3}, "; rectangle.left is 1.5"),
        ({"left": 1, "top": 1, "right": 1, "bottom": 3}, "integers of 0 or more"),
        ([1, 1, 3, 3], "; rectangle is a list"),
    ],
)
def test_a_wrong_rectangle_is_told_by_what_is_wrong_in_it(
    make_services: MakeServices, sent: list[str], rectangle: Any, end: str
) -> None:
    response = search_with(make_services, ScriptedExchange(FOUND), rectangle=rectangle)
    assert envelope(response)["result"]["detail"].endswith(end)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("NO_MATCHED_PRODUCT", 3009),
        ("NOT_SUPPORT_IMAGE", 3054),
        ("SEARCH_PRODUCT_IMAGE_ERROR", 3031),
        ("BROKEN_BASE64_OR_URL", 2006),
        ("IMAGE_TOO_SMALL", 2005),
    ],
)
def test_a_fault_that_the_worker_names_is_answered(
    make_services: MakeServices, sent: list[str], fault: str, code: int
) -> None:
    told = {"fault": fault, "detail": "why it is so"}
    response = search_with(make_services, ScriptedExchange(told))
    result = {"code": code, "message": fault, "detail": "why it is so"}
    assert envelope(response)["result"] == result
    assert response.status_code == 200


def test_a_fault_of_a_worker_of_an_older_release_has_the_sentence_of_its_code(
    make_services: MakeServices, sent: list[str]
) -> None:
    response = search_with(make_services, ScriptedExchange({"fault": "IMAGE_TOO_SMALL"}))
    assert envelope(response)["result"]["detail"] == "a side of the picture needs 201 pixels"


def test_a_picture_without_a_feature_is_answered_with_a_number_of_the_contract(
    make_services: MakeServices, sent: list[str]
) -> None:
    response = search_with(make_services, ScriptedExchange({"fault": "NO_AVAILABLE_FEATURE"}))
    (operation,) = search.OPERATIONS
    assert business_code(response) in [error.code for error in operation.all_codes]


@pytest.mark.parametrize("answer", [None, {"busy": True}], ids=["no reply", "busy"])
def test_no_reply_and_a_busy_worker_are_busy(
    make_services: MakeServices, sent: list[str], answer: Any
) -> None:
    exchange = ScriptedExchange(answer)
    assert_busy(search_with(make_services, exchange))
    assert len(exchange.forgotten) == 1


def test_a_redis_that_is_lost_while_waiting_is_busy(
    make_services: MakeServices, sent: list[str]
) -> None:
    assert_busy(search_with(make_services, ScriptedExchange(RedisConnectionError("gone"))))


def test_an_answer_that_nobody_understands_is_a_fault_of_ours(
    make_services: MakeServices, sent: list[str]
) -> None:
    assert business_code(search_with(make_services, ScriptedExchange({}))) == 3031


def test_a_redis_that_is_down_is_busy(
    make_services: MakeServices,
    sent: list[str],
    redis_server: fakeredis.FakeServer,
    redis_client: fakeredis.FakeRedis,
) -> None:
    redis_server.connected = False
    assert_busy(search_with(make_services, Exchange(redis_client)))
    assert sent == []


def test_a_broker_that_is_down_is_busy(
    environment: pytest.MonkeyPatch, make_services: MakeServices
) -> None:
    def refuse(*message: object) -> None:
        raise BrokerUnreachableError from OperationalError("gone")

    environment.setattr(search, "send_search", refuse)
    assert_busy(search_with(make_services, ScriptedExchange(FOUND)))


def test_a_worker_that_replies_through_redis_is_heard(
    environment: pytest.MonkeyPatch,
    make_services: MakeServices,
    redis_client: fakeredis.FakeRedis,
) -> None:
    exchange = Exchange(redis_client)

    def work(query_id: str) -> None:
        question = exchange.take(query_id)
        assert question is not None
        assert 9 < question.seconds_left <= 10
        assert Query.unpack(question.fields).picture == PICTURE
        exchange.reply(query_id, FOUND)

    environment.setattr(search, "send_search", work)
    response = search_with(make_services, exchange)
    assert envelope(response)["result"] == {"code": 0, "message": "SUCCESS", **FOUND}
    assert redis_client.keys() == []


def test_searches_wait_in_half_of_the_threads_and_the_rest_of_the_api_answers(
    make_services: MakeServices, sent: list[str]
) -> None:
    exchange = BlockedExchange()
    services = make_services(catalog_with_collection(), exchange, api_threads=6)
    flask_app = create_app(services)

    def ask() -> Any:
        return flask_app.test_client().post("/v1/product_search", json=CALL)

    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(ask) for _ in range(3)]
        try:
            for _ in waiting:
                assert exchange.waiting.acquire(timeout=10)
            assert_busy(ask())
            status = {"task_id": "default/c/1581417512.274598"}
            answer = flask_app.test_client().post("/v1/task_status", json=status)
            assert business_code(answer) == 1004
            assert len(sent) == 3
        finally:
            exchange.go_on.set()
        assert [business_code(search.result()) for search in waiting] == [0, 0, 0]
    assert business_code(ask()) == 0


@pytest.fixture
def unconnected(environment: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings with servers that are never connected to."""
    clients: list[MongoClient[Any]] = []

    def connect(url: str, seconds: float) -> MongoClient[Any]:
        clients.append(MongoClient(url, connect=False))
        return clients[-1]

    environment.setattr(app.services, "connect", connect)
    yield Settings(
        api_threads=7,
        mongo_url=SecretStr("mongodb://127.0.0.1:1/"),
        redis_url=SecretStr("redis://127.0.0.1:1/0"),
    )
    for client in clients:
        client.close()


@pytest.mark.parametrize(("threads", "places"), [(2, 1), (7, 3), (16, 8)])
def test_an_api_process_gives_searches_half_of_its_threads(
    unconnected: Settings, threads: int, places: int
) -> None:
    chosen = unconnected.model_copy(update={"api_threads": threads})
    assert_all_places_free(services_of(chosen), places)


def test_a_wait_for_a_reply_is_not_cut_short_by_the_timeout_of_the_connection(
    environment: pytest.MonkeyPatch, unconnected: Settings
) -> None:
    waiting: list[redis.Redis] = []
    environment.setattr(app.services, "Exchange", waiting.append)
    services = services_of(unconnected)
    read_seconds = waiting[0].get_connection_kwargs()["socket_timeout"]
    assert read_seconds > unconnected.search_seconds
    assert services.redis.get_connection_kwargs()["socket_timeout"] == 2.0
